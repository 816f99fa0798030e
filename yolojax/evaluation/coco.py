"""COCO's metrics as cocoeval.py of pycocotools computes them, for all images at once.

A crowd is matched by intersection over the detection's area, any number of times, and its matches
are ignored (COCO). A difficult box is COCO's `ignore`: it is matched by IoU, and one match of it is
ignored.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from yolojax.evaluation.average_precision import Matches, count_positives, precision_of_each
from yolojax.evaluation.matches import Pairs, Rows, close_pairs, rows_by_score, rows_of

# cocoeval.py, Params: the thresholds, recall levels and caps of all published COCO results.
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
LEVELS = np.linspace(0, 1, 101)
CAPS = (1, 10, 100)  # detections of one class in one image
MAX_DETECTIONS = CAPS[-1]
AREAS = {
    "": (0, 1e5**2),
    "s": (0, 32**2),
    "m": (32**2, 96**2),
    "l": (96**2, 1e5**2),
}  # of ground-truth boxes, in pixels**2, ends included: a box may have two sizes


class Scene(NamedTuple):
    """D detections in descending score and N ground-truth boxes, to be matched."""

    scores: np.ndarray  # float [D]
    detections: Rows
    boxes: Rows
    ranks: np.ndarray  # int [D], 0 is the best of its image and class
    ignore: np.ndarray  # bool [N], difficult or crowd
    crowd: np.ndarray  # bool [N]
    areas: np.ndarray  # float [N]
    pairs: Pairs  # that may match, ordered by round; of one detection the largest IoU first
    rounds: np.ndarray  # int [P], ascending: the detections of a round differ in image or class


def coco_numbers(ground_truth, detections, num_classes: int) -> tuple[dict, np.ndarray, np.ndarray]:
    """Compute AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm and ARl of pycocotools.

    Args:
        ground_truth: list of evaluator.GroundTruth.
        detections: list of evaluator.ImageDetections, of the same images in the same order.
        num_classes: C.

    Returns:
        ({name: float}, AP of each class [C], AP50 of each class [C]); NaN without ground-truth
        boxes.
    """
    shape = (len(ground_truth), num_classes)
    scene = _scene(ground_truth, detections, IOU_THRESHOLDS.min())
    matches = {area: _match(scene, shape, IOU_THRESHOLDS, AREAS[area]) for area in AREAS}
    precision = {area: precision_of_each(m, LEVELS)[0] for area, m in matches.items()}  # [T, C]
    best = precision[""]
    names = {"AP": best, "AP50": best[0], "AP75": best[5]}
    names |= {f"AP{area}": precision[area] for area in AREAS if area}
    names |= {f"AR{cap}": _recall(matches[""], scene.ranks < cap) for cap in CAPS}
    names |= {f"AR{area}": _recall(matches[area], True) for area in AREAS if area}
    return {name: mean(values) for name, values in names.items()}, best.mean(0), best[0]


def _recall(matches: Matches, counted) -> np.ndarray:
    """Compute the recall of the detections in `counted` bool [D] -> [T, C]."""
    positives = matches.positives.sum(0)
    tp = [
        np.bincount(matches.labels[hits & counted], minlength=len(positives))
        for hits in matches.hits
    ]
    return np.where(positives > 0, tp / np.maximum(positives, 1), np.nan)


def mean(values) -> float:
    """Compute the mean of the values that are not NaN; NaN if there are none."""
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


def match_coco(ground_truth, detections, num_classes: int, thresholds=IOU_THRESHOLDS) -> Matches:
    """Match as cocoeval.py does for objects of all sizes, one row for each IoU threshold.

    Other arguments as in `coco_numbers`.
    """
    thresholds = np.asarray(thresholds)
    scene = _scene(ground_truth, detections, thresholds.min())
    return _match(scene, (len(ground_truth), num_classes), thresholds, AREAS[""])


def _scene(ground_truth, detections, min_iou: float) -> Scene:
    """Collect the pairs with an IoU of at least `min_iou`."""
    scores, rows = rows_by_score(detections)
    ignore, crowd, areas = (
        np.concatenate([getattr(one, name) for one in ground_truth])
        for name in ("ignore", "crowd", "area")
    )
    groups = rows.images * (1 + rows.labels.max(initial=0)) + rows.labels
    order = np.argsort(groups, kind="stable")
    ranks = np.empty(len(order), int)
    ranks[order] = _positions(groups[order])
    boxes = rows_of(ground_truth)
    pairs, rounds = _in_rounds(close_pairs(rows, boxes, min_iou, crowd), groups, ranks)
    return Scene(scores, rows, boxes, ranks, ignore, crowd, areas, pairs, rounds)


def _positions(values) -> np.ndarray:
    """Number each run of equal `values` int [n] >= 0 as 0, 1, ... -> int [n]."""
    starts = _starts(values)
    return np.arange(len(values)) - np.repeat(starts, np.diff(starts, append=len(values)))


def _in_rounds(pairs: Pairs, groups, ranks) -> tuple[Pairs, np.ndarray]:
    """Order the pairs of counted detections by round -> (pairs, rounds int [P]).

    A round holds one detection of each image and class, the best detection in the first round. The
    pairs of a detection are in descending IoU; of equal IoUs the last box is first (cocoeval.py).
    """
    order = np.flatnonzero(ranks[pairs.detections] < MAX_DETECTIONS)
    pairs = Pairs(*(x[order] for x in pairs))
    detection = pairs.detections
    order = np.lexsort((-pairs.boxes, -pairs.iou, ranks[detection], groups[detection]))
    detection = detection[order]
    starts = _starts(detection)
    rounds = np.repeat(_positions(groups[detection[starts]]), np.diff(starts, append=len(order)))
    by_round = np.argsort(rounds, kind="stable")
    return Pairs(*(x[order[by_round]] for x in pairs)), rounds[by_round]


def _match(scene: Scene, shape: tuple[int, int], thresholds, area) -> Matches:
    """Match in `shape` (images, classes), ignoring boxes outside of `area` (low, high) as well.

    A detection without a match is ignored if it is outside of `area` or beyond MAX_DETECTIONS.
    """
    low, high = area
    ignore = scene.ignore | (scene.areas < low) | (scene.areas > high)
    hits, ignored = _match_greedily(scene, ignore, thresholds)
    rows = scene.detections
    size = np.prod(rows.boxes[:, 2:] - rows.boxes[:, :2], axis=1)
    outside = (size < low) | (size > high)
    ignored |= (outside | (scene.ranks >= MAX_DETECTIONS)) & ~hits
    positives = count_positives(scene.boxes, ignore, shape)
    return Matches(scene.scores, rows.labels, rows.images, hits, ignored, positives)


def _match_greedily(scene: Scene, ignore, thresholds) -> tuple[np.ndarray, np.ndarray]:
    """Match each detection to the unmatched box with the largest IoU -> (hits, ignored) [T, D].

    A box in `ignore` bool [N] is matched only if no other box fits. A crowd is matched any number
    of times.
    """
    pairs, rounds = scene.pairs, scene.rounds
    run = np.cumsum(np.diff(pairs.detections, prepend=-1) != 0)
    order = np.argsort(2 * run + ignore[pairs.boxes], kind="stable")
    detection, box, iou = (x[order] for x in pairs)
    reached = iou >= thresholds[:, None]
    hits, ignored = np.zeros((2, len(thresholds), len(scene.scores)), bool)
    taken = np.zeros((len(thresholds), len(ignore)), bool)
    for part in _runs(rounds):
        fits = reached[:, part] & (scene.crowd[box[part]] | ~taken[:, box[part]])
        row, matched, choice = _first_that_fits(fits, detection[part], box[part])
        taken[row, choice] = True
        hits[row, matched], ignored[row, matched] = ~ignore[choice], ignore[choice]
    return hits, ignored


def _runs(values) -> list[slice]:
    """Return the runs of equal `values` int [n] >= 0."""
    starts = _starts(values).tolist()
    return [slice(*ends) for ends in pairwise([*starts, len(values)])]


def _first_that_fits(fits, detections, boxes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (thresholds, detections, boxes), int [m] each, of the matches.

    Args:
        fits: bool [T, P].
        detections, boxes: int [P], of each pair; the pairs of a detection are contiguous.
    """
    starts = _starts(detections)
    positions = np.where(fits, np.arange(len(boxes)), len(boxes))
    first = np.minimum.reduceat(positions, starts, axis=1)
    row, column = np.nonzero(first < len(boxes))
    return row, detections[starts[column]], boxes[first[row, column]]


def _starts(values):
    """Return where each run of equal `values` [n] >= 0 begins."""
    return np.flatnonzero(np.diff(values, prepend=-1))
