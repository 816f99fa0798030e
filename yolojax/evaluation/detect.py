"""Images -> detections: the programs that evaluation and prediction share."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from yolojax.config import Config, EvalConfig
from yolojax.data.geometry import blank
from yolojax.heads.predictions import scores as class_scores
from yolojax.ops.nms import Detections, nms
from yolojax.sharding import to_devices
from yolojax.tasks import Task, to_float


class Programs(NamedTuple):
    """Jitted functions; two, so that each can be timed, and no threshold compiles anything."""

    network: Callable  # (variables, image [B, h, w, 3]) -> raw
    detect: Callable  # (raw, score_threshold, iou_threshold) -> Found


class Found(NamedTuple):
    """What is in a batch."""

    detections: Detections  # boxes in 0..1 of the network's input
    best_score: jax.Array  # [B] of any box and class, below the threshold too
    best_label: jax.Array  # int32 [B] its class


def make_programs(task: Task, settings: EvalConfig, nodes: tuple[int, ...] = ()) -> Programs:
    """The programs of `task`; top_k, max_detections and class_agnostic are those of `settings`.

    `nodes` are those of a tree that are told apart, where `settings` leaves it open.
    """
    decode = decode_at(task, settings, nodes)

    def network(variables, image):
        return task.model.apply(variables, to_float(image), train=False)

    def detect(raw, score_threshold, iou_threshold) -> Found:
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

    return Programs(jax.jit(network), jax.jit(detect))


def decode_at(task: Task, settings: EvalConfig, nodes: tuple[int, ...]) -> Callable:
    """The decoder of `task`, for `nodes` where these are given and `settings` has none."""
    return partial(task.decode, nodes=nodes) if nodes and not settings.nodes else task.decode


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
    """Compile both programs for the evaluation batches of `config`, by running them once."""
    image = blank(config.data.resize, (batch_size(config, mesh), *config.data.image_size, 3))
    raw = programs.network(variables, to_devices({"image": image}, mesh)["image"])
    jax.block_until_ready(programs.detect(raw, 0.5, 0.5))


def batch_size(config: Config, mesh: Mesh) -> int:
    """config.eval.batch_size, rounded up so that all devices of `mesh` get the same share."""
    return -(-config.eval.batch_size // mesh.size) * mesh.size
