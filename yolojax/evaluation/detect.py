"""Images -> detections: the programs that evaluation and prediction share."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from yolojax.config import EvalConfig
from yolojax.ops.nms import Detections, nms
from yolojax.tasks import Task, normalise


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
        return task.model.apply(variables, normalise(image), train=False)

    def detect(raw, score_threshold, iou_threshold) -> Found:
        predicted = task.decode(raw)
        scores = predicted.objectness[..., None] * predicted.class_probs
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
