"""Average precision: which detections hit a truth, and the number that follows from it.

A detection list in descending score gives a curve; AP is its area. Precision falls between two hits
and recall stands still, so the curve is kept at the hits alone: `found` hits and `seen` counted
detections up to each one.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from yolojax.evaluation.matches import Rows, close_pairs, rows_by_score, rows_of

CHUNK = 1 << 20  # cells (resamples x detections) worked on at once: 4 MB

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


def match_voc(truths, detections, num_classes: int, iou_threshold: float = 0.5) -> Matches:
    """Matches as the VOC development kit makes them (VOCevaldet.m), with T = 1.

    A detection belongs to the truth of its class and image that it overlaps most. It is a hit if
    IoU >= `iou_threshold` and no detection with a higher score (on a tie: an earlier one) belongs
    to that truth; it is ignored if the truth is difficult or a crowd; else it is a miss.

    Args:
        truths: list of evaluator.GroundTruth.
        detections: list of evaluator.ImageDetections, one for each of `truths`, in that order.
        num_classes: C; labels are 0..C-1.
        iou_threshold: VOC's minoverlap.
    """
    (scores, found), theirs = rows_by_score(detections), rows_of(truths)
    pairs = close_pairs(found, theirs, iou_threshold)
    # The first of the largest: lexsort leaves equals in their order, unique takes the first.
    order = np.lexsort((-pairs.iou, pairs.detections))
    matched, first = np.unique(pairs.detections[order], return_index=True)
    best = pairs.truths[order[first]]  # of the truths, in descending score of the detection
    excused = np.concatenate([t.difficult | t.crowd for t in truths])
    hits, ignored = np.zeros((2, len(scores)), bool)
    ignored[matched[excused[best]]] = True
    matched, best = matched[~excused[best]], best[~excused[best]]
    hits[matched[np.unique(best, return_index=True)[1]]] = True
    positives = count_positives(theirs, excused, (len(truths), num_classes))
    return Matches(scores, found.labels, found.images, hits[None], ignored[None], positives)


def count_positives(truths: Rows, excused, shape: tuple[int, int]) -> np.ndarray:
    """Truths that are to be found, those not `excused` bool [n] -> int [*shape].

    `shape` is (images, classes).
    """
    counts = np.zeros(shape, int)
    np.add.at(counts, (truths.images[~excused], truths.labels[~excused]), 1)
    return counts


def average_precision(found, seen, reached) -> np.ndarray:
    """AP of curves given at their hits -> [...], in 0..1.

    The precision of a recall r is the largest that is reached at r or beyond; AP is its mean over
    recall.

    Args:
        found: [..., H] hits so far, this one included.
        seen: [..., H] hits and misses so far.
        reached: [..., H] share of the recalls, as of `recall_scale`.
    """
    precision = found / np.maximum(seen, 1)
    envelope = np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]
    steps = reached.copy()
    steps[..., 1:] -= reached[..., :-1]
    return (envelope * steps).sum(-1)


def recall_scale(positives, levels=None) -> Callable[[np.ndarray], np.ndarray]:
    """found [R, H] -> [R, H], the share of all recalls that so many hits of `positives` [R] reach.

    That is the recall itself (`levels` None: VOC 2010 and later) or the share of `levels`,
    ascending recalls, that it is not below (VOC 2007: 11, COCO: 101).
    """
    positives = np.maximum(positives, 1)
    if levels is None:
        return lambda found: found / positives[:, None]
    # Resamples share most numbers of positives, and a look into a table is faster than a search.
    totals, row = np.unique(positives, return_inverse=True)
    starts = np.cumsum(totals + 1) - totals - 1
    hits, total = (np.repeat(x, totals + 1) for x in (starts, totals))
    recalls = (np.arange(len(hits)) - hits) / total
    table = np.searchsorted(levels, recalls, side="right") / len(levels)
    return lambda found: np.take(table, starts[row][:, None] + found)


def class_average_precision(matches: Matches, levels, weights=None) -> np.ndarray:
    """AP of every class, averaged over the T thresholds -> float [R, C], NaN without positives.

    Arguments as of `precision_of_each`.
    """
    return precision_of_each(matches, levels, weights).mean(axis=1)


def precision_of_each(matches: Matches, levels, weights=None) -> np.ndarray:
    """AP at every threshold of every class -> float [R, T, C], NaN without positives.

    Args:
        matches: of C classes in I images.
        levels: as of `recall_scale`.
        weights: int [R, I], how often each image counts, R times over; default once, R = 1.
    """
    weights = np.ones((1, len(matches.positives)), np.int32) if weights is None else weights
    positives = (weights.astype(float) @ matches.positives).astype(int)  # a product of ints is slow
    result = np.empty((len(weights), len(matches.hits), positives.shape[1]))
    for label, mine in enumerate(of_classes(matches)):
        part = matches.images[mine], matches.hits[:, mine], matches.ignored[:, mine]
        rows = max(1, CHUNK // max(1, len(mine)))
        for start in range(0, len(weights), rows):
            some = slice(start, start + rows)
            reached = recall_scale(positives[some, label], levels)
            for t, (found, seen) in enumerate(hit_curves(*part, weights[some])):
                result[some, t, label] = average_precision(found, seen, reached(found))
    return np.where(positives[:, None] > 0, result, np.nan)


def of_classes(matches: Matches) -> list[np.ndarray]:
    """Which detections are of each class, in descending score: int [D] of each.

    Without those that all thresholds ignore.
    """
    order = np.argsort(matches.labels, kind="stable")
    order = order[~matches.ignored.all(0)[order]]
    bounds = np.arange(1, matches.positives.shape[1])
    return np.split(order, np.searchsorted(matches.labels[order], bounds))


def hit_curves(images, hits, ignored, weights) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(found [R, H], seen [R, H]) at the H hits of one class, for each threshold.

    Between detections that some threshold hits or ignores, all thresholds have the same misses, so
    each such stretch is summed once.

    Args:
        images: int [D], of detections in descending score.
        hits, ignored: bool [T, D].
        weights: int [R, I].
    """
    special = np.flatnonzero((hits | ignored).any(0))
    each = np.take(weights, images[: special.max(initial=-1) + 1], axis=1)
    own = np.take(each, special, axis=1)
    starts = np.append(0, special[:-1] + 1)  # of stretches that end with their special detection
    stretches = np.add.reduceat(each, starts, axis=1) if len(special) else own
    for hit, out in zip(hits[:, special], ignored[:, special], strict=True):
        counted = stretches.copy()
        counted[:, out] -= own[:, out]
        hit = np.flatnonzero(hit)
        seen = np.cumsum(counted, axis=1, dtype=np.int32)
        yield (
            np.cumsum(np.take(own, hit, axis=1), axis=1, dtype=np.int32),
            np.take(seen, hit, axis=1),
        )
