"""Average precision: which detections hit a truth, and the number that follows from it.

A detection list in descending score gives a curve; AP is its area. Precision falls between two hits
and recall stands still, so the curve is kept at the hits alone: `found` hits and `seen` counted
detections up to each one.
"""

from typing import NamedTuple

import numpy as np

# PASCAL VOC 2007, section 3.4.1 of the development kit: recall 0, .1, ..., 1. As quotients, so that
# 3 truths found of 10 reach the level .3 (in floats 3 * .1 is more than .3).
VOC07_LEVELS = np.arange(11) / 10


class Matches(NamedTuple):
    """What became of every detection, in descending score; T IoU thresholds, D detections."""

    scores: np.ndarray  # float [D]
    labels: np.ndarray  # int [D]
    images: np.ndarray  # int [D], index of the image
    hits: np.ndarray  # bool [T, D], found a truth that nothing better had found
    ignored: np.ndarray  # bool [T, D], neither hit nor miss
    positives: np.ndarray  # int [images, classes], truths that are to be found
    ids: tuple[str, ...] = ()  # of the images, where it is known which these are


def overlap(boxes, truths, crowd=None) -> np.ndarray:
    """IoU of pixel boxes [k, 4] with truths [n, 4], xyxy -> float64 [k, n].

    For truths marked in `crowd` bool [n] it is the intersection over the area of the detection
    (COCO). In numpy rather than with ops.boxes: every image has another shape, which JAX would
    compile anew.
    """
    a = np.asarray(boxes, np.float64).reshape(-1, 1, 4)
    b = np.asarray(truths, np.float64).reshape(1, -1, 4)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.prod(np.maximum(sides, 0), axis=-1)
    area_a, area_b = (np.prod(x[..., 2:] - x[..., :2], axis=-1) for x in (a, b))
    whole = area_a + area_b - shared
    if crowd is not None:
        whole = np.where(crowd, area_a, whole)
    return np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)


def match_voc(truths, detections, num_classes: int, iou_threshold: float = 0.5) -> Matches:
    """Matches as the VOC development kit makes them (VOCevaldet.m), with T = 1.

    A detection belongs to the truth of its class and image that it overlaps most. It is a hit if
    IoU >= `iou_threshold` and no detection with a higher score (on a tie: an earlier one) belongs
    to that truth; it is ignored if the truth is difficult or a crowd; else it is a miss.

    Args:
        truths: list of evaluator.ImageTruth.
        detections: list of evaluator.ImageDetections, one for each of `truths`, in that order.
        num_classes: C; labels are 0..C-1.
        iou_threshold: VOC's minoverlap.
    """
    pairs = [_best_truth(t, d) for t, d in zip(truths, detections, strict=True)]
    first = np.cumsum([0] + [len(t.labels) for t in truths])
    best = np.concatenate([index + start for (index, _), start in zip(pairs, first, strict=False)])
    iou = np.concatenate([value for _, value in pairs])
    scores, labels, images, order = by_score(detections)
    best, matched = best[order], iou[order] >= iou_threshold
    excused = np.concatenate([t.difficult | t.crowd for t in truths] + [[False]])
    ignored = matched & excused[best]
    candidates = np.flatnonzero(matched & ~ignored)
    hits = np.zeros_like(matched)
    hits[candidates[np.unique(best[candidates], return_index=True)[1]]] = True
    positives = count_positives(truths, num_classes)
    return Matches(scores, labels, images, hits[None], ignored[None], positives)


def _best_truth(truth, detection):
    """For each detection the truth of its class with the largest IoU: (index [k], IoU [k])."""
    iou = overlap(detection.boxes_pixels, truth.boxes_pixels)
    iou = np.where(np.asarray(truth.labels) == np.asarray(detection.labels)[:, None], iou, 0)
    if not iou.size:
        return np.zeros(len(iou), int), np.zeros(len(iou))
    return iou.argmax(1), iou.max(1)


def by_score(detections):
    """(scores [D], labels [D], images [D], order [D]): all detections in descending score.

    `order` indexes their concatenation; detections of equal score keep their order.
    """
    scores = np.concatenate([d.scores for d in detections])
    labels = np.concatenate([d.labels for d in detections]).astype(int)
    images = np.repeat(np.arange(len(detections)), [len(d.scores) for d in detections])
    order = np.argsort(-scores, kind="stable")
    return scores[order], labels[order], images[order], order


def count_positives(truths, num_classes: int) -> np.ndarray:
    """Truths that are neither difficult nor crowds -> int [images, classes]."""
    counts = [
        np.bincount(np.asarray(t.labels, int)[~(t.difficult | t.crowd)], minlength=num_classes)
        for t in truths
    ]
    return np.stack(counts)


def average_precision(found, seen, positives, levels=None) -> np.ndarray:
    """AP of curves given at their hits -> [...], in 0..1, NaN where there are no positives.

    The precision of a recall r is the largest that is reached at r or beyond. AP is its integral
    over recall (`levels` None: VOC 2010 and later) or its mean over `levels` of recall (VOC 2007:
    11, COCO: 101).

    Args:
        found: [..., H] hits so far, this one included.
        seen: [..., H] hits and misses so far.
        positives: [...] truths to be found.
        levels: ascending recalls, or None.
    """
    precision = found / np.maximum(seen, 1)
    envelope = np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]
    reached = found / np.maximum(positives, 1)[..., None]
    if levels is not None:
        reached = np.searchsorted(levels, reached, side="right") / len(levels)
    area = (envelope * np.diff(reached, axis=-1, prepend=0)).sum(-1)
    return np.where(positives > 0, area, np.nan)


def class_average_precision(matches: Matches, levels, weights=None) -> np.ndarray:
    """AP of every class, averaged over the T thresholds -> float [R, C], NaN without positives.

    Args:
        matches: of C classes in I images.
        levels: as in `average_precision`.
        weights: int [R, I], how often each image counts, R times over; default once, R = 1.
    """
    weights = np.ones((1, len(matches.positives)), np.int32) if weights is None else weights
    positives = weights @ matches.positives
    columns = []
    for label in range(matches.positives.shape[1]):
        mine = matches.labels == label
        images, hits, ignored = (
            matches.images[mine],
            matches.hits[:, mine],
            matches.ignored[:, mine],
        )
        curves = [hit_curve(images, h, i, weights) for h, i in zip(hits, ignored, strict=True)]
        columns.append(
            np.mean([average_precision(*c, positives[:, label], levels) for c in curves], axis=0)
        )
    return np.stack(columns, axis=-1)


def hit_curve(images, hits, ignored, weights):
    """(found [R, H], seen [R, H]) at the H hits of one class; `images` [D] holds their images."""
    images, hits = images[~ignored], hits[~ignored]
    found = np.cumsum(weights[:, images[hits]], axis=1)
    seen = np.cumsum(weights[:, images], axis=1)[:, hits]
    return found, seen
