"""Average precision (AP): match detections to the ground truth and compute AP from the matches.

AP is the area under the precision-recall curve of the detections in descending score. Between two
hits recall is constant and precision falls, so the curve is stored at its hits only: the number of
hits (`tp`) and of counted detections (`total`) up to each hit.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from yolojax.evaluation.matches import Rows, close_pairs, rows_by_score, rows_of

CHUNK = 1 << 20  # cells (resamples x detections) of one block: 4 MB

# PASCAL VOC 2007, section 3.4.1 of the development kit: recall 0, .1, ..., 1. These are quotients,
# so that 3 hits of 10 reach the level .3 (in floats 3 * .1 is more than .3).
VOC07_LEVELS = np.arange(11) / 10


class Matches(NamedTuple):
    """The outcome of D detections, in descending score, at T IoU thresholds."""

    scores: np.ndarray  # float [D]
    labels: np.ndarray  # int [D]
    images: np.ndarray  # int [D], index of the image
    hits: np.ndarray  # bool [T, D], true positives
    ignored: np.ndarray  # bool [T, D], neither true nor false positives
    positives: np.ndarray  # int [images, classes], ground-truth boxes that count
    ids: tuple[str, ...] = ()  # of the images, where they are known


def match_voc(ground_truth, detections, num_classes: int, iou_threshold: float = 0.5) -> Matches:
    """Match as the VOC development kit does (VOCevaldet.m), with T = 1.

    A detection belongs to the ground-truth box of its class and image with the largest IoU. It is a
    hit if that IoU is at least `iou_threshold` and no detection with a higher score (or an equal
    score and a lower index) belongs to the box. It is ignored if the box is difficult or a crowd.
    Otherwise it is a miss.

    Args:
        ground_truth: list of evaluator.GroundTruth.
        detections: list of evaluator.ImageDetections, of the same images in the same order.
        num_classes: C; labels are 0..C-1.
        iou_threshold: VOC's minoverlap.
    """
    (scores, detected), boxes = rows_by_score(detections), rows_of(ground_truth)
    pairs = close_pairs(detected, boxes, iou_threshold)
    # Of equal IoUs the first box: lexsort is stable and unique returns the first index.
    order = np.lexsort((-pairs.iou, pairs.detections))
    matched, first = np.unique(pairs.detections[order], return_index=True)
    best = pairs.boxes[order[first]]  # in descending score of the detection
    ignore = np.concatenate([one.ignore for one in ground_truth])
    hits, ignored = np.zeros((2, len(scores)), bool)
    ignored[matched[ignore[best]]] = True
    matched, best = matched[~ignore[best]], best[~ignore[best]]
    hits[matched[np.unique(best, return_index=True)[1]]] = True
    positives = count_positives(boxes, ignore, (len(ground_truth), num_classes))
    return Matches(scores, detected.labels, detected.images, hits[None], ignored[None], positives)


def count_positives(boxes: Rows, ignore, shape: tuple[int, int]) -> np.ndarray:
    """Count the ground-truth `boxes` that are not in `ignore` bool [n] -> int [images, classes]."""
    counts = np.zeros(shape, int)
    np.add.at(counts, (boxes.images[~ignore], boxes.labels[~ignore]), 1)
    return counts


def average_precision(tp, total, reached) -> np.ndarray:
    """Compute AP of curves that are given at their hits -> [...], in 0..1.

    The precision at recall r is the largest precision at r or above. AP is its mean over recall.

    Args:
        tp: [..., H] hits up to and including this one.
        total: [..., H] hits and misses up to and including this one.
        reached: [..., H] share of the recall levels that are reached, see `recall_scale`.
    """
    precision = tp / np.maximum(total, 1)
    envelope = np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]
    steps = reached.copy()
    steps[..., 1:] -= reached[..., :-1]
    return (envelope * steps).sum(-1)


def recall_scale(positives, levels=None) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function tp [R, H] -> [R, H], the share of recall levels that `tp` hits reach.

    Args:
        positives: int [R], number of ground-truth boxes.
        levels: ascending recalls (VOC 2007 has 11, COCO 101). The share is that of the levels up to
            the recall. None (VOC 2010 and later): the share is the recall itself.
    """
    positives = np.maximum(positives, 1)
    if levels is None:
        return lambda tp: tp / positives[:, None]
    # Resamples share most numbers of positives, and a table lookup is faster than a search.
    totals, row = np.unique(positives, return_inverse=True)
    starts = np.cumsum(totals + 1) - totals - 1
    hits, total = (np.repeat(x, totals + 1) for x in (starts, totals))
    recalls = (np.arange(len(hits)) - hits) / total
    table = np.searchsorted(levels, recalls, side="right") / len(levels)
    return lambda tp: np.take(table, starts[row][:, None] + tp)


def class_average_precision(matches: Matches, levels, weights=None) -> np.ndarray:
    """Compute AP of every class, averaged over the T thresholds -> float [R, C].

    Arguments as in `precision_of_each`.
    """
    return precision_of_each(matches, levels, weights).mean(axis=1)


def precision_of_each(matches: Matches, levels, weights=None) -> np.ndarray:
    """Compute AP of every class at every threshold -> float [R, T, C], NaN without positives.

    Args:
        matches: of C classes in I images.
        levels: as in `recall_scale`.
        weights: int [R, I], how often each image counts in each of R resamples. Default: once, with
            R = 1.
    """
    weights = np.ones((1, len(matches.positives)), np.int32) if weights is None else weights
    positives = (weights.astype(float) @ matches.positives).astype(int)  # int matmul is slow
    result = np.empty((len(weights), len(matches.hits), positives.shape[1]))
    for label, mine in enumerate(of_classes(matches)):
        part = matches.images[mine], matches.hits[:, mine], matches.ignored[:, mine]
        rows = max(1, CHUNK // max(1, len(mine)))
        for start in range(0, len(weights), rows):
            some = slice(start, start + rows)
            reached = recall_scale(positives[some, label], levels)
            for t, (tp, total) in enumerate(hit_curves(*part, weights[some])):
                result[some, t, label] = average_precision(tp, total, reached(tp))
    return np.where(positives[:, None] > 0, result, np.nan)


def of_classes(matches: Matches) -> list[np.ndarray]:
    """Return the detections of each class, in descending score: int [D] per class.

    Detections that are ignored at all thresholds are left out.
    """
    order = np.argsort(matches.labels, kind="stable")
    order = order[~matches.ignored.all(0)[order]]
    bounds = np.arange(1, matches.positives.shape[1])
    return np.split(order, np.searchsorted(matches.labels[order], bounds))


def hit_curves(images, hits, ignored, weights) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (tp [R, H], total [R, H]) at the H hits of one class, for each threshold.

    Between detections that are a hit or ignored at some threshold, all thresholds have the same
    misses, so each such stretch is summed once.

    Args:
        images: int [D], of detections in descending score.
        hits, ignored: bool [T, D].
        weights: int [R, I].
    """
    special = np.flatnonzero((hits | ignored).any(0))
    each = np.take(weights, images[: special.max(initial=-1) + 1], axis=1)
    own = np.take(each, special, axis=1)
    starts = np.append(0, special[:-1] + 1)  # each stretch ends with a special detection
    stretches = np.add.reduceat(each, starts, axis=1) if len(special) else own
    for hit, out in zip(hits[:, special], ignored[:, special], strict=True):
        counted = stretches.copy()
        counted[:, out] -= own[:, out]
        hit = np.flatnonzero(hit)
        total = np.cumsum(counted, axis=1, dtype=np.int32)
        yield (
            np.cumsum(np.take(own, hit, axis=1), axis=1, dtype=np.int32),
            np.take(total, hit, axis=1),
        )
