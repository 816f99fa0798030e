"""What a loss does to one picture, taken apart: jitted programs, then plain arrays."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from yolojax.config import Config, ModelConfig
from yolojax.data.loader import Batch
from yolojax.data.transforms import to_uint8
from yolojax.evaluation import detection
from yolojax.heads import yolov1, yolov2
from yolojax.losses import yolov1 as yolov1_loss
from yolojax.losses.assign import Assignment
from yolojax.losses.kept import Kept, taken_apart
from yolojax.losses.targets import prior_boxes
from yolojax.ops.boxes import xyxy_to_cxcywh
from yolojax.tasks import Task
from yolojax.visual.loss_figure import LossView, Responsible

THRESHOLD, IOU = 0.25, 0.45  # of the detections that are drawn, as `yolojax predict` has them
ORDER = {"coord": 0, "object": 1, "noobject": 2, "class": 3}  # jit gives them by the alphabet


class Programs(NamedTuple):
    """Jitted, for batches of one picture."""

    detection: detection.Programs
    loss: Callable  # (raw, batch, seen) -> Parts
    drawn_as: str  # what Parts.boxes are


class Parts(NamedTuple):
    """A loss at work on one picture, with H, W and A of its grid."""

    kept: Kept
    objectness: jax.Array  # [1, H, W, A]
    boxes: jax.Array  # [H, W, A, 4] xyxy: anchors, or the predicted boxes of YOLOv1


def make_programs(task: Task, config: Config) -> Programs:
    """The programs that `observe` runs.

    Raises:
        ValueError: the network is a classifier.
    """
    if task.is_classifier:
        raise ValueError(
            f"{config.model.name} is a classifier: its loss has no grid, cells or boxes to look "
            "into; explain a detector (and set config.explain_every to 0 in a classifier's run)."
        )
    look = taken_apart(task.loss)

    def loss(raw, batch, seen) -> Parts:
        return Parts(look(raw, batch, seen), *_slots(raw, config.model, task.head))

    drawn_as = "predicted box" if task.head == "yolov1" else "anchor"
    return Programs(detection.make_programs(task, config.eval), jax.jit(loss), drawn_as)


def _slots(raw, model: ModelConfig, head: str):
    """Objectness [1, H, W, A] and the boxes [H, W, A, 4] that are drawn of responsible slots."""
    if head == "yolov1":
        cells = yolov1.split(raw, model.side, model.boxes)
        return cells.confidence, yolov1.cell_boxes(cells, model.square_root)[0]
    slots = yolov2.split(raw, len(model.anchors), model.location)
    return slots.objectness, prior_boxes(slots, np.asarray(model.anchors, np.float32))


def observe(
    programs: Programs, variables: dict, batch: Batch, seen: int, classes: tuple[str, ...]
) -> tuple[float, LossView]:
    """The loss of one picture, and what can be drawn of it (without a title).

    Args:
        programs: of `make_programs`.
        variables: on one device.
        batch: a training batch of one picture.
        seen: images trained on, which the loss is told.
        classes: the names that are shown.
    """
    raw = programs.detection.network(variables, batch["image"])
    found = programs.detection.detect(raw, THRESHOLD, IOU).detections
    rest = {name: value for name, value in batch.items() if name != "image"}
    parts = programs.loss(raw, rest, np.int32(seen))
    parts, found = jax.device_get((parts, found))
    view = _to_view(parts, found, batch)
    return float(parts.kept.scalar), view._replace(classes=classes, drawn_as=programs.drawn_as)


def _to_view(parts: Parts, found, batch: Batch) -> LossView:
    mask = np.asarray(batch["mask"][0], bool)
    boxes, labels = np.asarray(batch["boxes"][0])[mask], np.asarray(batch["labels"][0])[mask]
    assigned = parts.kept.found
    valid = found.valid[0]
    return LossView(
        title="",
        image=to_uint8(np.asarray(batch["image"][0])),
        classes=(),
        boxes=boxes,
        labels=labels,
        drawn_as="",
        responsible=_responsible(assigned, parts.boxes, boxes, labels),
        terms=_terms(parts, assigned),
        objectness=parts.objectness[0].max(axis=-1),
        found=(found.boxes[0][valid], found.labels[0][valid], found.scores[0][valid]),
    )


def _responsible(assigned, drawn, boxes, labels) -> Responsible | None:
    """Which slots answer for which of the truths `boxes` [n, 4] xyxy with `labels` [n]."""
    if not isinstance(assigned, Assignment | yolov1_loss.Assignment):
        return None
    on = assigned.responsible[0]
    where = np.nonzero(on)
    target, label = assigned.boxes_cxcywh[0], assigned.labels[0]
    if target.ndim == 3:  # YOLOv1: one truth for all boxes of a cell
        target, label = target[:, :, None], label[:, :, None]
    target = np.broadcast_to(target, (*on.shape, 4))[where]
    label = np.broadcast_to(label, on.shape)[where]
    apart = np.abs(target[:, None] - xyxy_to_cxcywh(boxes)).max(axis=-1, initial=0)
    apart = apart + (label[:, None] != labels)
    return Responsible(
        truth=apart.argmin(axis=1) if len(boxes) else np.zeros(0, int),
        cell=np.stack(where[:2], axis=1),
        number=where[2],
        boxes=drawn[where],
        iou=assigned.iou[0][where],
    )


def _terms(parts: Parts, assigned) -> dict[str, tuple[float, np.ndarray | None]]:
    """{name: (sum, its part [H, W] in each cell or None)} of what entered `reduce_terms`."""
    terms, grid = parts.kept.terms, parts.objectness.shape[1:]
    names = sorted(terms, key=lambda name: ORDER.get(name, len(ORDER)))
    return {k: (float(terms[k].sum()), cells_of(terms[k], grid, assigned)) for k in names}


def cells_of(term, grid: tuple[int, int, int], assigned) -> np.ndarray | None:
    """A term [1, ...] summed in each cell of `grid` (H, W, A) -> [H, W]; None: it has no places.

    The places are those of [1, H, W, ...] or, of the classes of a tree, of the truths' slots.
    """
    rows, columns, anchors = grid
    if term.shape[1:3] == (rows, columns):
        return term[0].reshape(rows, columns, -1).sum(axis=-1)
    if not isinstance(assigned, Assignment) or term.size != assigned.slots.slot.size:
        return None
    if term.any() and not assigned.truth_mask.any():
        return None  # the picture has a label alone, whose slot the assignment does not know
    cells = np.zeros(rows * columns, term.dtype)
    np.add.at(cells, assigned.slots.slot.ravel() // anchors, term.ravel())
    return cells.reshape(rows, columns)
