"""Small problems for the checks of a loss: a batch, and raw outputs that are right answers."""

from typing import NamedTuple

import numpy as np

from yolojax.heads.yolov2 import offset_target
from yolojax.ops.boxes import shape_iou
from yolojax.wordtree.tree import bucket_layout, make_tree

GRID = 3  # cells in a row
PLACES = 6  # M, padded ground-truth boxes
SURE = (3.0, 10.0)  # logits of right answers; smoothed labels have targets of at most .95
ANCHORS = ((0.7, 0.9), (1.6, 1.3))
# (x, y) of the centres in cells. No two boxes of an image share an anchor position, whatever the
# assignment rule.
CENTRES = (((0.45, 0.6), (2.6, 2.3)), ((1.3, 1.6),))


class Problem(NamedTuple):
    """A problem for the losses of one head."""

    raw_shape: tuple[int, ...]
    batch: dict  # without images; detectors: boxes first, then padding
    right: np.ndarray  # [n, *raw_shape], at least one has a small loss


def region_problem(
    *, anchors=ANCHORS, classes: int = 3, location: str = "sigmoid", tree=()
) -> Problem:
    """Make a problem with raw [2, 3, 3, A * (5 + C)], anchors [A, 2] in cells and C = `classes`.

    In its right answers a box is predicted at the best prior, at all priors of its cell, or at the
    best prior of its cell and of the nearest cells.

    The arguments are those of `region_loss`.
    """
    anchors = np.asarray(anchors, np.float32)
    batch = _batch(anchors / GRID, classes)
    right = [_region_answers(batch, anchors, classes, location, tree, sure) for sure in SURE]
    shape = (2, GRID, GRID, len(anchors) * (5 + classes))
    return Problem(shape, batch, np.concatenate(right).reshape(-1, *shape))


def yolov1_problem(
    *,
    side: int = GRID,
    boxes: int = 2,
    classes: int = 3,
    square_root: bool = True,
    class_softmax: bool = False,
) -> Problem:
    """Make a problem with raw [2, S * S * (C + 5 * n)], S = `side`, n = `boxes`, C = `classes`.

    In its right answer the first box of a cell predicts the ground-truth box.

    The arguments are those of `yolov1_loss`.
    """
    batch = _batch(np.array(ANCHORS) / GRID, classes)
    probs = np.zeros((2, side, side, classes), np.float32)
    confidence = np.zeros((2, side, side, boxes), np.float32)
    shapes = np.zeros((2, side, side, boxes, 4), np.float32)
    for image, place in np.argwhere(batch["mask"]):
        centre, size = _in_cells(batch["boxes"][image, place], side)
        column, row = np.floor(centre).astype(int)
        logits = _logits(batch["labels"][image, place], classes, SURE[-1])
        probs[image, row, column] = logits if class_softmax else logits > 0
        confidence[image, row, column, 0] = 1
        size = np.sqrt(size / side) if square_root else size / side
        shapes[image, row, column, 0] = *(centre - (column, row)), *size
    raw = np.concatenate([part.reshape(2, -1) for part in (probs, confidence, shapes)], axis=1)
    return Problem(raw.shape, batch, raw[None])


def classes_problem(*, classes: int = 3, tree=()) -> Problem:
    """Make a problem with logits [4, C], C = `classes`; with a tree in the order of its layout."""
    labels = np.arange(4, dtype=np.int32) % classes
    right = np.stack([[_logits(label, classes, sure, tree) for label in labels] for sure in SURE])
    return Problem(right.shape[1:], {"label": labels}, right)


def _region_answers(batch, anchors, classes, location, tree, sure: float):
    """Return raw [3, 2, 3, 3, A, 5 + C] of the three right answers of `region_problem`."""
    raw = np.zeros((3, len(CENTRES), GRID, GRID, len(anchors), 5 + classes), np.float32)
    raw[..., 4:] = -sure
    for image, place in np.argwhere(batch["mask"]):
        centre, size = _in_cells(batch["boxes"][image, place])
        best = np.argmax(shape_iou(size, anchors))
        values = np.full((len(anchors), 5 + classes), sure, np.float32)
        values[:, 2:4] = np.log(size / anchors)
        values[:, 5:] = _logits(batch["labels"][image, place], classes, sure, tree)
        for row, column in np.ndindex(GRID, GRID):
            inside = centre - (column, row)
            values[:, :2] = _raw_offset(inside, anchors, location)
            across, along = sorted(np.abs(inside - 0.5))  # from the centre of the cell
            if along < 0.5:
                raw[0, image, row, column, best], raw[1, image, row, column] = values[best], values
            if across < 0.5 and along < 1:
                raw[2, image, row, column, best] = values[best]
    return raw


def _batch(sizes, classes: int) -> dict:
    """Return a batch of boxes at CENTRES with a little more than `sizes` [n, 2] in turn."""
    batch = {
        "boxes": np.zeros((len(CENTRES), PLACES, 4), np.float32),
        "labels": np.zeros((len(CENTRES), PLACES), np.int32),
        "mask": np.zeros((len(CENTRES), PLACES), bool),
    }
    for image, centres in enumerate(CENTRES):
        for place, centre in enumerate(np.array(centres) / GRID):
            half = np.minimum(sizes[(image + place) % len(sizes)] * (1.1, 1.0), 0.9) / 2
            batch["boxes"][image, place] = *(centre - half), *(centre + half)
            batch["labels"][image, place] = (image + 2 * place) % classes
            batch["mask"][image, place] = True
    return batch


def _in_cells(box, side: int = GRID):
    """Return centre and size, (x, y) each, of an xyxy box, in cells."""
    return (box[:2] + box[2:]) / 2 * side, (box[2:] - box[:2]) * side


def _raw_offset(inside, anchors, location: str):
    """Return the t_x, t_y [A, 2] of centres `inside` their cell, or at its edge if outside."""
    offset = np.asarray(offset_target(np.broadcast_to(inside, anchors.shape), anchors, location))
    if location != "sigmoid":
        return offset
    offset = np.clip(offset, 0.01, 0.99)
    return np.log(offset / (1 - offset))


def _logits(label: int, classes: int, sure: float, tree=()):
    """Return logits [C] with `sure` at the label or, in a tree, at its path."""
    logits = np.full(classes, -sure, np.float32)
    if len(tree):
        layout = bucket_layout(make_tree(tree))
        path = layout.path[label]
        logits[layout.position[path[path >= 0]]] = sure
    else:
        logits[label] = sure
    return logits
