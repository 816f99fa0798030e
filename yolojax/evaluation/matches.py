"""Detections beside the truths of their image and class, of all images at once."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

CHUNK = 1 << 17  # pairs looked at together: 4 MB of boxes on either side, which a cache can hold


class Rows(NamedTuple):
    """The boxes of all images, one image after the other."""

    boxes: np.ndarray  # float64 [n, 4], xyxy in pixels
    labels: np.ndarray  # int [n]
    images: np.ndarray  # int [n], index of the image


class Pairs(NamedTuple):
    """Of every two boxes that overlap enough; ascending by detection, then by truth."""

    detections: np.ndarray  # int [P], rows
    truths: np.ndarray  # int [P], rows
    iou: np.ndarray  # float64 [P]


def rows_of(items) -> Rows:
    """All of a list of evaluator.GroundTruth or evaluator.ImageDetections."""
    boxes = np.concatenate([np.reshape(x.boxes_pixels, (-1, 4)) for x in items])
    labels = np.concatenate([x.labels for x in items]).astype(int)
    images = np.repeat(np.arange(len(items)), [len(x.labels) for x in items])
    return Rows(boxes.astype(np.float64), labels, images)


def rows_by_score(detections) -> tuple[np.ndarray, Rows]:
    """(scores [n], rows) of all detections in descending score; equals keep their order."""
    scores = np.concatenate([d.scores for d in detections])
    order = np.argsort(-scores, kind="stable")
    return scores[order], Rows(*(x[order] for x in rows_of(detections)))


def iou(a, b, crowd=False) -> np.ndarray:
    """IoU of boxes float64 [..., 4] with truths [..., 4], xyxy -> [...], broadcast.

    For truths marked in `crowd` bool [...] it is the intersection over the area of the detection
    (COCO). In numpy rather than with ops.boxes: every set of images has another shape, which JAX
    would compile anew.
    """
    x1, y1, x2, y2 = np.moveaxis(a, -1, 0)
    u1, v1, u2, v2 = np.moveaxis(b, -1, 0)
    width = np.maximum(np.minimum(x2, u2) - np.maximum(x1, u1), 0)
    shared = width * np.maximum(np.minimum(y2, v2) - np.maximum(y1, v1), 0)
    area = (x2 - x1) * (y2 - y1)
    whole = np.where(crowd, area, area + (u2 - u1) * (v2 - v1) - shared)
    return np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)


def overlap(boxes, truths, crowd=False) -> np.ndarray:
    """IoU of pixel boxes [k, 4] with truths [n, 4], xyxy -> float64 [k, n].

    For truths marked in `crowd` bool [n] it is the intersection over the area of the detection.
    """
    boxes, truths = (np.asarray(x, np.float64).reshape(-1, 4) for x in (boxes, truths))
    return iou(boxes[:, None], truths, crowd)


def close_pairs(detections: Rows, truths: Rows, least: float, crowd=None) -> Pairs:
    """All pairs of one image and class with an IoU of at least `least`.

    `crowd` bool [truths]: as in `iou`; none by default.
    """
    crowd = np.zeros(len(truths.labels), bool) if crowd is None else crowd
    found = []
    for detection, truth in _candidates(detections, truths):
        overlap = iou(detections.boxes[detection], truths.boxes[truth], crowd[truth])
        close = overlap >= least
        found.append((detection[close], truth[close], overlap[close]))
    nothing = np.zeros(0, int), np.zeros(0, int), np.zeros(0)
    return Pairs(*(np.concatenate(x) for x in zip(nothing, *found, strict=True)))


def _candidates(detections: Rows, truths: Rows) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(rows of detections [p], rows of truths [p]) of one image and class, CHUNK by CHUNK."""
    classes = 1 + max(x.labels.max(initial=0) for x in (detections, truths))
    group, theirs = (x.images * classes + x.labels for x in (detections, truths))
    order = np.argsort(theirs, kind="stable")
    first, end = (np.searchsorted(theirs[order], group, side) for side in ("left", "right"))
    ends = np.cumsum(end - first)
    total = ends[-1] if len(ends) else 0
    bounds = np.searchsorted(ends, np.arange(0, max(total, 1), CHUNK))
    for start, stop in zip(bounds, [*bounds[1:], len(ends)], strict=True):
        part = slice(start, stop)
        count = (end - first)[part]
        detection = np.repeat(np.arange(start, stop), count)
        within = np.arange(len(detection)) - np.repeat(np.cumsum(count) - count, count)
        yield detection, order[np.repeat(first[part], count) + within]
