"""Images -> detections: the programs that evaluation and prediction share."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from yolojax.config import Config, EvalConfig
from yolojax.heads.yolov2 import scores as class_scores
from yolojax.ops.nms import Detections, nms
from yolojax.sharding import to_devices
from yolojax.tasks import Task, to_float


class Programs(NamedTuple):
    """Jitted functions; two, so that each can be timed, and no threshold compiles anything."""

    network: Callable  # (variables, image uint8 [B, h, w, 3]) -> raw
    detect: Callable  # (raw, score_threshold, iou_threshold) -> Found


class Found(NamedTuple):
    """What is in a batch."""

    detections: Detections  # boxes in 0..1 of the network's input
    best_score: jax.Array  # [B] of any box and class, below the threshold too
    best_label: jax.Array  # int32 [B] its class


def make_programs(task: Task, settings: EvalConfig) -> Programs:
    """The programs of `task`; top_k, max_detections and class_agnostic are those of `settings`."""

    def network(variables, image):
        return task.model.apply(variables, to_float(image), train=False)

    def detect(raw, score_threshold, iou_threshold) -> Found:
        predicted = task.decode(raw)
        scores = class_scores(predicted)
        detections = nms(
            predicted.boxes,
            scores,
            iou_threshold=iou_threshold,
            score_threshold=score_threshold,
            top_k=settings.top_k,
            max_detections=settings.max_detections,
            class_agnostic=settings.class_agnostic,
        )
        best = scores.max(axis=1)
        return Found(detections, best.max(axis=1), best.argmax(axis=1))

    return Programs(jax.jit(network), jax.jit(detect))


def warm_up(programs: Programs, variables: dict, config: Config, mesh: Mesh) -> None:
    """Compile both programs for the evaluation batches of `config`, by running them once."""
    image = np.zeros((batch_size(config, mesh), *config.data.image_size, 3), np.uint8)
    raw = programs.network(variables, to_devices({"image": image}, mesh)["image"])
    jax.block_until_ready(programs.detect(raw, 0.5, 0.5))


def batch_size(config: Config, mesh: Mesh) -> int:
    """config.eval.batch_size, rounded up so that all devices of `mesh` get the same share."""
    return -(-config.eval.batch_size // mesh.size) * mesh.size
