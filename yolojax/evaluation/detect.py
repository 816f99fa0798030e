"""Images -> detections: the programs that evaluation and prediction share."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from yolojax.config import Config, EvalConfig
from yolojax.data.transforms import blank
from yolojax.distributed.processes import meet
from yolojax.distributed.sharding import fetch, to_devices
from yolojax.heads.predictions import scores as class_scores
from yolojax.ops.images import to_float
from yolojax.ops.nms import Detections, nms
from yolojax.tasks import Task


class Programs(NamedTuple):
    """Jitted functions, apart so that each can be timed; no threshold compiles anything."""

    network: Callable  # (variables, image [B, h, w, 3]) -> raw
    detect: Callable  # (raw, score_threshold, iou_threshold) -> Found
    descend: Callable | None = None  # the same down a tree, where `detect` tells nodes apart


class Found(NamedTuple):
    """What is in a batch."""

    detections: Detections  # boxes in 0..1 of the network's input
    best_score: jax.Array  # [B] of any box and class, below the threshold too
    best_label: jax.Array  # int32 [B] its class


def make_programs(task: Task, settings: EvalConfig, nodes: tuple[int, ...] = ()) -> Programs:
    """The programs of `task` with `settings`, which may be others than it was built with.

    `nodes` are those of a tree that are told apart, where `settings` leaves it open.
    """

    def network(variables, image):
        return task.model.apply(variables, to_float(image), train=False)

    def detect(decode, raw, score_threshold, iou_threshold) -> Found:
        predicted = decode(raw)
        scores = class_scores(predicted)
        detections = nms(
            predicted.boxes,
            scores,
            iou_threshold=iou_threshold,
            score_threshold=score_threshold,
            top_k=settings.top_k,
            max_detections=settings.max_detections,
            class_agnostic=settings.class_agnostic,
            labels=predicted.labels,
        )
        return Found(detections, *_best(scores, predicted.labels))

    decode = decode_at(task, settings, nodes)
    descend = jax.jit(partial(detect, partial(decode, nodes=()))) if nodes else None
    return Programs(jax.jit(network), jax.jit(partial(detect, decode)), descend)


def decode_at(task: Task, settings: EvalConfig, nodes: tuple[int, ...]) -> Callable:
    """The decoder of `task` with what `settings` say of a tree, and `nodes` if they name none."""
    given = vars(settings) | {"nodes": settings.nodes or nodes}
    names = inspect.signature(task.decode).parameters
    return partial(task.decode, **{name: given[name] for name in names if name in given})


def _best(scores, labels):
    """The best score [B] of all boxes and classes, and its class int32 [B]."""
    flat = scores.reshape(len(scores), -1)
    index = flat.argmax(axis=1)[:, None]
    if labels is None:
        label = index % scores.shape[-1]
    else:
        label = jnp.take_along_axis(labels.reshape(len(labels), -1), index, axis=1)
    return jnp.take_along_axis(flat, index, axis=1)[:, 0], label[:, 0]


def warm_up(programs: Programs, variables: dict, config: Config, mesh: Mesh) -> None:
    """Compile the programs for the evaluation batches of `config`, by running each once."""
    rows = blank_batch(config, mesh, affine=((4,), np.float32), size=((2,), np.int32))
    raw = programs.network(variables, rows.pop("image"))
    found = programs.detect(raw, 0.5, 0.5).detections
    below = programs.descend(raw, 0.5, 0.5).detections if programs.descend else None
    jax.block_until_ready((found, below))
    meet()
    fetch((found, rows), mesh)
    fetch(below, mesh)


def blank_batch(config: Config, mesh: Mesh, **more: tuple) -> dict[str, jax.Array]:
    """An evaluation batch of `config` without pictures: image, image_id, and `more` of a row.

    `more` are {name: (shape, dtype)}.
    """
    count = batch_size(config, mesh) // jax.process_count()
    rows = {name: np.zeros((count, *shape), dtype) for name, (shape, dtype) in more.items()}
    rows["image_id"] = np.full(count, -1, np.int32)
    rows["image"] = blank(config.data.resize, (count, *config.data.image_size, 3))
    return to_devices(rows, mesh)


def batch_size(config: Config, mesh: Mesh) -> int:
    """config.eval.batch_size, rounded up so that all devices of `mesh` get the same share."""
    return -(-config.eval.batch_size // mesh.size) * mesh.size
