"""COCO's numbers as cocoeval.py of pycocotools has them, of all images at once.

Policy: a crowd is matched by intersection over detection, any number of times, and excuses what it
matches (COCO). A difficult truth is COCO's `ignore`: plain IoU, it excuses one detection.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from yolojax.evaluation.average_precision import Matches, count_positives, precision_of_each
from yolojax.evaluation.matches import Pairs, Rows, close_pairs, rows_by_score, rows_of

# cocoeval.py, Params: the thresholds, recall levels and caps of every published COCO number.
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
LEVELS = np.linspace(0, 1, 101)
CAPS = (1, 10, 100)  # detections of one class in one image
MAX_DETECTIONS = CAPS[-1]
AREAS = {
    "": (0, 1e5**2),
    "s": (0, 32**2),
    "m": (32**2, 96**2),
    "l": (96**2, 1e5**2),
}  # of truths, in pixels**2, ends included: a truth may be of two sizes


class Scene(NamedTuple):
    """What is to be matched: D detections in descending score, N truths."""

    scores: np.ndarray  # float [D]
    detections: Rows
    truths: Rows
    ranks: np.ndarray  # int [D], 0 is the best of its image and class
    excused: np.ndarray  # bool [N], difficult or crowd
    crowd: np.ndarray  # bool [N]
    areas: np.ndarray  # float [N]
    pairs: Pairs  # that may match, in the order of `turns`, the better truth of a detection first
    turns: np.ndarray  # int [P], ascending: what has a turn is of different images or classes


def coco_numbers(truths, detections, num_classes: int) -> tuple[dict, np.ndarray, np.ndarray]:
    """AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm, ARl as pycocotools has them.

    Args:
        truths: list of evaluator.GroundTruth.
        detections: list of evaluator.ImageDetections, one for each of `truths`, in that order.
        num_classes: C.

    Returns:
        ({name: float}, AP of each class [C], AP50 of each class [C]); NaN where there are no
        truths.
    """
    scene, shape = _scene(truths, detections, IOU_THRESHOLDS.min()), (len(truths), num_classes)
    matches = {area: _match(scene, shape, IOU_THRESHOLDS, AREAS[area]) for area in AREAS}
    precision = {area: precision_of_each(m, LEVELS)[0] for area, m in matches.items()}  # [T, C]
    best = precision[""]
    names = {"AP": best, "AP50": best[0], "AP75": best[5]}
    names |= {f"AP{area}": precision[area] for area in AREAS if area}
    names |= {f"AR{cap}": _recall(matches[""], scene.ranks < cap) for cap in CAPS}
    names |= {f"AR{area}": _recall(matches[area], True) for area in AREAS if area}
    return {name: mean(values) for name, values in names.items()}, best.mean(0), best[0]


def _recall(matches: Matches, counted) -> np.ndarray:
    """Share of the truths found by the detections in `counted` bool [D] -> [T, C]."""
    positives = matches.positives.sum(0)
    found = [
        np.bincount(matches.labels[hits & counted], minlength=len(positives))
        for hits in matches.hits
    ]
    return np.where(positives > 0, found / np.maximum(positives, 1), np.nan)


def mean(values) -> float:
    """Mean of what is not NaN; NaN of nothing."""
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


def match_coco(truths, detections, num_classes: int, thresholds=IOU_THRESHOLDS) -> Matches:
    """Matches as cocoeval.py makes them for objects of all sizes, one row for each threshold.

    Other arguments as of `coco_numbers`.
    """
    thresholds = np.asarray(thresholds)
    scene = _scene(truths, detections, thresholds.min())
    return _match(scene, (len(truths), num_classes), thresholds, AREAS[""])


def _scene(truths, detections, least: float) -> Scene:
    """`least`: the smallest IoU that can match."""
    scores, rows = rows_by_score(detections)
    difficult, crowd, areas = (
        np.concatenate([getattr(t, name) for t in truths])
        for name in ("difficult", "crowd", "area")
    )
    groups = rows.images * (1 + rows.labels.max(initial=0)) + rows.labels
    order = np.argsort(groups, kind="stable")
    ranks = np.empty(len(order), int)
    ranks[order] = _places(groups[order])
    theirs = rows_of(truths)
    pairs, turns = _in_turns(close_pairs(rows, theirs, least, crowd), groups, ranks)
    return Scene(scores, rows, theirs, ranks, difficult | crowd, crowd, areas, pairs, turns)


def _places(values) -> np.ndarray:
    """0, 1, ... within each run of equal `values` int [n], none of them negative -> int [n]."""
    starts = _starts(values)
    return np.arange(len(values)) - np.repeat(starts, np.diff(starts, append=len(values)))


def _in_turns(pairs: Pairs, groups, ranks) -> tuple[Pairs, np.ndarray]:
    """The pairs of counted detections in the order of their turns, and the turns int [P].

    Of an image and class one detection has a turn, the best one first; of its truths that with the
    largest IoU comes first, of equals the last, as in cocoeval.py.
    """
    order = np.flatnonzero(ranks[pairs.detections] < MAX_DETECTIONS)
    pairs = Pairs(*(x[order] for x in pairs))
    detection = pairs.detections
    order = np.lexsort((-pairs.truths, -pairs.iou, ranks[detection], groups[detection]))
    detection = detection[order]
    starts = _starts(detection)
    turns = np.repeat(_places(groups[detection[starts]]), np.diff(starts, append=len(order)))
    later = np.argsort(turns, kind="stable")
    return Pairs(*(x[order[later]] for x in pairs)), turns[later]


def _match(scene: Scene, shape: tuple[int, int], thresholds, area) -> Matches:
    """Matches of `shape` (images, classes), where truths outside of `area` are excused too.

    `area` is (low, high).
    What matches nothing is ignored if it is itself outside, or beyond MAX_DETECTIONS.
    """
    low, high = area
    excused = scene.excused | (scene.areas < low) | (scene.areas > high)
    hits, ignored = _match_greedily(scene, excused, thresholds)
    rows = scene.detections
    size = np.prod(rows.boxes[:, 2:] - rows.boxes[:, :2], axis=1)
    outside = (size < low) | (size > high)
    ignored |= (outside | (scene.ranks >= MAX_DETECTIONS)) & ~hits
    positives = count_positives(scene.truths, excused, shape)
    return Matches(scene.scores, rows.labels, rows.images, hits, ignored, positives)


def _match_greedily(scene: Scene, excused, thresholds) -> tuple[np.ndarray, np.ndarray]:
    """(hits [T, D], ignored [T, D]): what matches a truth, and what an `excused` one, bool [N].

    Each detection takes the free truth it overlaps most, an excused one only if no other will do;
    a crowd is always free.
    """
    pairs, turns = scene.pairs, scene.turns
    run = np.cumsum(np.diff(pairs.detections, prepend=-1) != 0)
    order = np.argsort(2 * run + excused[pairs.truths], kind="stable")
    detection, truth, iou = (x[order] for x in pairs)
    reached = iou >= thresholds[:, None]
    hits, ignored = np.zeros((2, len(thresholds), len(scene.scores)), bool)
    taken = np.zeros((len(thresholds), len(excused)), bool)
    for part in _runs(turns):
        mine, theirs = detection[part], truth[part]
        fits = reached[:, part] & (scene.crowd[theirs] | ~taken[:, theirs])
        row, who, choice = _first_that_fits(fits, mine, theirs)
        taken[row, choice] = True
        hits[row, who], ignored[row, who] = ~excused[choice], excused[choice]
    return hits, ignored


def _runs(values) -> list[slice]:
    """The runs of equal `values` int [n], none of them negative."""
    starts = _starts(values).tolist()
    return [slice(*ends) for ends in pairwise([*starts, len(values)])]


def _first_that_fits(fits, detections, truths) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(thresholds, detections, truths), int [m] each, of what is matched.

    Args:
        fits: bool [T, P].
        detections, truths: int [P], of each pair; those of a detection lie side by side.
    """
    starts = _starts(detections)
    places = np.where(fits, np.arange(len(truths)), len(truths))
    first = np.minimum.reduceat(places, starts, axis=1)
    row, column = np.nonzero(first < len(truths))
    return row, detections[starts[column]], truths[first[row, column]]


def _starts(values):
    """Where a run of equals begins in `values` [n], which are at least 0."""
    return np.flatnonzero(np.diff(values, prepend=-1))
