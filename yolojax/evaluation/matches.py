"""IoU of detections and ground-truth boxes of the same image and class, for all images at once."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

CHUNK = 1 << 17  # pairs of one block: 4 MB of boxes on each side, which fits a cache


class Rows(NamedTuple):
    """The boxes of all images, concatenated."""

    boxes: np.ndarray  # float64 [n, 4], xyxy in pixels
    labels: np.ndarray  # int [n]
    images: np.ndarray  # int [n], index of the image


class Pairs(NamedTuple):
    """Pairs of a detection and a ground-truth box, ascending by detection, then by box."""

    detections: np.ndarray  # int [P], rows
    boxes: np.ndarray  # int [P], rows of the ground truth
    iou: np.ndarray  # float64 [P]


def rows_of(items) -> Rows:
    """Concatenate a list of evaluator.GroundTruth or evaluator.ImageDetections."""
    boxes = np.concatenate([np.reshape(x.boxes_pixels, (-1, 4)) for x in items])
    labels = np.concatenate([x.labels for x in items]).astype(int)
    images = np.repeat(np.arange(len(items)), [len(x.labels) for x in items])
    return Rows(boxes.astype(np.float64), labels, images)


def rows_by_score(detections) -> tuple[np.ndarray, Rows]:
    """Return (scores [n], rows) of all detections in descending score; the sort is stable."""
    scores = np.concatenate([d.scores for d in detections])
    order = np.argsort(-scores, kind="stable")
    return scores[order], Rows(*(x[order] for x in rows_of(detections)))


def iou(a, b, crowd=False) -> np.ndarray:
    """Compute IoU of xyxy boxes float64 `a` [..., 4] and `b` [..., 4], broadcast -> [...].

    Where `crowd` bool [...] is set, compute the intersection over the area of `a` (COCO). This is
    NumPy and not ops.boxes because every set of images has another shape, and JAX would compile
    each.
    """
    x1, y1, x2, y2 = np.moveaxis(a, -1, 0)
    u1, v1, u2, v2 = np.moveaxis(b, -1, 0)
    width = np.maximum(np.minimum(x2, u2) - np.maximum(x1, u1), 0)
    shared = width * np.maximum(np.minimum(y2, v2) - np.maximum(y1, v1), 0)
    area = (x2 - x1) * (y2 - y1)
    whole = np.where(crowd, area, area + (u2 - u1) * (v2 - v1) - shared)
    return np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)


def overlap(boxes, gt_boxes, crowd=False) -> np.ndarray:
    """Compute IoU of every box [k, 4] with every ground-truth box [n, 4] -> float64 [k, n].

    `crowd` bool [n] as in `iou`.
    """
    boxes, gt_boxes = (np.asarray(x, np.float64).reshape(-1, 4) for x in (boxes, gt_boxes))
    return iou(boxes[:, None], gt_boxes, crowd)


def close_pairs(detections: Rows, boxes: Rows, min_iou: float, crowd=None) -> Pairs:
    """Return all pairs of the same image and class with an IoU of at least `min_iou`.

    `crowd` bool [n] of the ground-truth `boxes`, as in `iou`; default none.
    """
    crowd = np.zeros(len(boxes.labels), bool) if crowd is None else crowd
    pairs = [(np.zeros(0, int), np.zeros(0, int), np.zeros(0))]
    for detection, box in _candidates(detections, boxes):
        overlap = iou(detections.boxes[detection], boxes.boxes[box], crowd[box])
        close = overlap >= min_iou
        pairs.append((detection[close], box[close], overlap[close]))
    return Pairs(*map(np.concatenate, zip(*pairs, strict=True)))


def _candidates(detections: Rows, boxes: Rows) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (detections [p], boxes [p]), rows with the same image and class, in chunks."""
    classes = 1 + max(x.labels.max(initial=0) for x in (detections, boxes))
    group, box_group = (x.images * classes + x.labels for x in (detections, boxes))
    order = np.argsort(box_group, kind="stable")
    first, end = (np.searchsorted(box_group[order], group, side) for side in ("left", "right"))
    ends = np.cumsum(end - first)
    total = ends[-1] if len(ends) else 0
    bounds = np.searchsorted(ends, np.arange(0, max(total, 1), CHUNK))
    for start, stop in zip(bounds, [*bounds[1:], len(ends)], strict=True):
        part = slice(start, stop)
        count = (end - first)[part]
        detection = np.repeat(np.arange(start, stop), count)
        within = np.arange(len(detection)) - np.repeat(np.cumsum(count) - count, count)
        yield detection, order[np.repeat(first[part], count) + within]
