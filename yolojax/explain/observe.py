"""Run a loss on one picture: jitted programs, then plain arrays for the figure."""

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
from yolojax.losses.matcher import Assignment
from yolojax.losses.targets import prior_boxes
from yolojax.losses.terms import LossTerms, terms_of
from yolojax.ops.boxes import xyxy_to_cxcywh
from yolojax.tasks import Task
from yolojax.visual.loss_figure import LossView, Responsible

THRESHOLD, IOU = 0.25, 0.45  # of drawn detections, as in `yolojax predict`
ORDER = {"coord": 0, "object": 1, "noobject": 2, "class": 3}  # jit sorts them by name


class Programs(NamedTuple):
    """Jitted programs for batches of one picture."""

    detection: detection.Programs
    loss: Callable  # (raw, batch, seen) -> LossParts
    drawn_as: str  # meaning of LossParts.boxes


class LossParts(NamedTuple):
    """The loss of one picture, with a grid of H, W and A."""

    scalar: jax.Array
    terms: LossTerms
    objectness: jax.Array  # [1, H, W, A]
    boxes: jax.Array  # [H, W, A, 4] xyxy: anchors, or the predicted boxes of YOLOv1


def make_programs(task: Task, config: Config) -> Programs:
    """Make the programs that `observe` runs.

    Raises:
        ValueError: the network is a classifier.
    """
    if task.is_classifier:
        raise ValueError(
            f"{config.model.name} is a classifier: its loss has no grid, cells or boxes to look "
            "into; explain a detector (and set config.explain_every to 0 in a classifier's run)."
        )

    def loss(raw, batch, seen) -> LossParts:
        scalar, _ = task.loss(raw, batch, seen)
        terms = terms_of(task.loss, raw, batch, seen)._replace(metrics=None)
        return LossParts(scalar, terms, *_grid(raw, config.model, task.head))

    drawn_as = "predicted box" if task.head == "yolov1" else "anchor"
    return Programs(detection.make_programs(task, config.eval), jax.jit(loss), drawn_as)


def _grid(raw, model: ModelConfig, head: str):
    """Return objectness [1, H, W, A], and boxes [H, W, A, 4] to draw: priors or predictions."""
    if head == "yolov1":
        cells = yolov1.split(raw, model.side, model.boxes)
        return cells.confidence, yolov1.decode_boxes(cells, model.square_root)[0]
    outputs = yolov2.split(raw, len(model.anchors), model.location)
    return outputs.objectness, prior_boxes(outputs, np.asarray(model.anchors, np.float32))


def observe(
    programs: Programs, variables: dict, batch: Batch, seen: int, classes: tuple[str, ...]
) -> tuple[float, LossView]:
    """Compute the loss of one picture and its view, without a title.

    Args:
        programs: from `make_programs`.
        variables: on one device.
        batch: a training batch of one picture.
        seen: the number of training images so far.
        classes: the names to show.
    """
    raw = programs.detection.network(variables, batch["image"])
    detections = programs.detection.detect(raw, THRESHOLD, IOU).detections
    rest = {name: value for name, value in batch.items() if name != "image"}
    parts = programs.loss(raw, rest, np.int32(seen))
    parts, detections = jax.device_get((parts, detections))
    view = _to_view(parts, detections, batch)
    return float(parts.scalar), view._replace(classes=classes, drawn_as=programs.drawn_as)


def _to_view(parts: LossParts, detections, batch: Batch) -> LossView:
    mask = np.asarray(batch["mask"][0], bool)
    boxes, labels = np.asarray(batch["boxes"][0])[mask], np.asarray(batch["labels"][0])[mask]
    assignment = parts.terms.assignment
    valid = detections.valid[0]
    return LossView(
        title="",
        image=to_uint8(np.asarray(batch["image"][0])),
        classes=(),
        boxes=boxes,
        labels=labels,
        drawn_as="",
        responsible=_responsible(assignment, parts.boxes, boxes, labels),
        terms=_terms(parts, assignment),
        objectness=parts.objectness[0].max(axis=-1),
        detections=(
            detections.boxes[0][valid],
            detections.labels[0][valid],
            detections.scores[0][valid],
        ),
    )


def _responsible(assignment, drawn, boxes, labels) -> Responsible | None:
    """Match the responsible positions to the ground-truth `boxes` [n, 4] xyxy, `labels` [n]."""
    if not isinstance(assignment, Assignment | yolov1_loss.CellAssignment):
        return None
    on = assignment.responsible[0]
    where = np.nonzero(on)
    target, label = assignment.boxes_cxcywh[0], assignment.labels[0]
    if target.ndim == 3:  # YOLOv1: one for all boxes of a cell
        target, label = target[:, :, None], label[:, :, None]
    target = np.broadcast_to(target, (*on.shape, 4))[where]
    label = np.broadcast_to(label, on.shape)[where]
    apart = np.abs(target[:, None] - xyxy_to_cxcywh(boxes)).max(axis=-1, initial=0)
    apart = apart + (label[:, None] != labels)
    return Responsible(
        gt_index=apart.argmin(axis=1) if len(boxes) else np.zeros(0, int),
        cell=np.stack(where[:2], axis=1),
        anchor=where[2],
        boxes=drawn[where],
        iou=assignment.iou[0][where],
    )


def _terms(parts: LossParts, assignment) -> dict[str, tuple[float, np.ndarray | None]]:
    """Return {name: (sum, values [H, W] of cells or None)} of the terms."""
    terms, grid = parts.terms.terms, parts.objectness.shape[1:]
    names = sorted(terms, key=lambda name: ORDER.get(name, len(ORDER)))
    return {k: (float(terms[k].sum()), cells_of(terms[k], grid, assignment)) for k in names}


def cells_of(term, grid: tuple[int, int, int], assignment) -> np.ndarray | None:
    """Sum a term [1, ...] in each cell of `grid` (H, W, A) -> [H, W]; None if it has no cells.

    Terms are [1, H, W, ...] or, for the classes of a tree, have a value for each candidate position
    of the ground-truth boxes.
    """
    rows, columns, anchors = grid
    if term.shape[1:3] == (rows, columns):
        return term[0].reshape(rows, columns, -1).sum(axis=-1)
    if not isinstance(assignment, Assignment) or term.size != assignment.candidates.position.size:
        return None
    if term.any() and not assignment.gt_mask.any():
        return None  # a picture with a label alone: its position is not in the assignment
    cells = np.zeros(rows * columns, term.dtype)
    np.add.at(cells, assignment.candidates.position.ravel() // anchors, term.ravel())
    return cells.reshape(rows, columns)
