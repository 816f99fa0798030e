"""What the surest detections get wrong: the error mix of the YOLOv1 paper (4.2 and figure 4).

The method is that of Hoiem, Chodpathumwan and Dai, "Diagnosing Error in Object Detectors" (ECCV
2012), as their program counts it (analyzeFalsePositives.m). Of each class the N detections with the
highest scores are looked at, N being its truths that are neither difficult nor a crowd. One is

    correct       if a truth of its class, taken by no better detection, has IoU >= .5 (of several
                  the one with the largest IoU is then taken; difficult ones and crowds are too)
    localisation  else, if a truth of its class has IoU >= .1; a second detection of a truth, too
    similar       else, if its largest IoU with any truth is >= .1, and that is of a similar class
    other         the same with a class that is not similar
    background    else

The shares are those of the detections looked at, fewer than N where a class has fewer. The paper's
chart is the plain mean over the classes: on VOC 2007 YOLO has 65.5, 19.0, 6.75, 4.0 and 4.75 %,
Fast R-CNN 71.6, 8.6, 4.3, 1.9 and 13.6 %.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from yolojax.data.sources.voc import VOC_CLASSES
from yolojax.evaluation.average_precision import Matches, match_voc
from yolojax.evaluation.matches import overlap, rows_by_score
from yolojax.text_table import text_table

KINDS = ("correct", "localisation", "similar", "other", "background")
CORRECT, LOCALISATION, SIMILAR, OTHER, BACKGROUND = range(5)
STRONG, WEAK = 0.5, 0.1  # IoU of a correct detection, and of one that means an object at all
SURE = 0.25  # score of `recall_sure`: what `yolojax predict` shows

# setDatasetParameters.m of Hoiem et al.; the rest of VOC (bottle, pottedplant, tvmonitor) has none.
VOC_GROUPS = (
    ("bird", "cat", "cow", "dog", "horse", "person", "sheep"),
    ("aeroplane", "bicycle", "boat", "bus", "car", "motorbike", "train"),
    ("chair", "diningtable", "sofa"),
    ("aeroplane", "bird"),
)


def error_mix(
    truths, detections, classes: Sequence[str], *, groups: Iterable[Sequence[str]] | None = None
) -> dict:
    """The error mix of every class, their mean and all together; ready for JSON.

    Args:
        truths: list of evaluator.GroundTruth.
        detections: list of evaluator.ImageDetections, one for each of `truths`, in that order.
        classes: names, in the order of the labels.
        groups: names of classes that are similar to one another; a class may be in several. By
            default those of Hoiem et al. where all classes are VOC's, else none.

    Returns:
        {"per_class": {name: row}, "mean": row, "all": row, "groups": [[name, ...], ...]}. A row has
        the share of each of KINDS in 0..1; `recall`: truths found at IoU >= .5 by VOC's matching,
        and `recall_sure`: the same by detections with a score > .25; all but the mean `truths` (N),
        `detections` (looked at) and `counts` {kind: number}. None where there is nothing to
        divide by; such a class is not in the mean.

    Raises:
        ValueError: the two lists are not of the same images, or a group names an unknown class.
    """
    ids, found = [t.image_id for t in truths], [d.image_id for d in detections]
    if not ids or ids != found:
        raise ValueError(
            f"truths and detections must be of the same images in the same order, at least one, "
            f"got {len(ids)} and {len(found)}; give an image without detections an empty entry."
        )
    groups = _default_groups(classes) if groups is None else tuple(map(tuple, groups))
    matches = match_voc(truths, detections, len(classes))
    counts = _count_kinds(truths, detections, matches, similar_classes(classes, groups))
    columns = counts, *_found(matches), matches.positives.sum(0)
    rows = [_row(*values) for values in zip(*columns, strict=True)]
    return {
        "per_class": dict(zip(classes, rows, strict=True)),
        "mean": {k: _mean(row[k] for row in rows) for k in (*KINDS, "recall", "recall_sure")},
        "all": _row(*(column.sum(0) for column in columns)),
        "groups": [list(group) for group in groups],
    }


def _default_groups(classes) -> tuple[tuple[str, ...], ...]:
    """VOC_GROUPS reduced to `classes`, if these are VOC's or some of them."""
    if not set(classes) <= set(VOC_CLASSES):
        return ()
    reduced = (tuple(name for name in group if name in classes) for group in VOC_GROUPS)
    return tuple(group for group in reduced if len(group) > 1)


def similar_classes(classes: Sequence[str], groups) -> np.ndarray:
    """bool [C, C], symmetric: whether two classes are together in one of `groups`.

    Raises:
        ValueError: a group has a name that is not among `classes`.
    """
    index = {name: label for label, name in enumerate(classes)}
    similar = np.zeros((len(classes), len(classes)), bool)
    for group in groups:
        if unknown := [name for name in group if name not in index]:
            raise ValueError(f"groups must hold names of classes, got {unknown[0]!r} in {group}.")
        members = [index[name] for name in group]
        similar[np.ix_(members, members)] = True
    return similar


def _count_kinds(truths, detections, matches: Matches, similar) -> np.ndarray:
    """How many of the top N detections of each class are of each kind -> int [C, 5]."""
    _, (boxes, labels, images) = rows_by_score(detections)
    top = _top(labels, matches.positives.sum(0))
    top = top[np.argsort(images[top], kind="stable")]  # image by image, scores still descending
    counts = np.zeros((len(similar), len(KINDS)), int)
    for mine in np.split(top, np.flatnonzero(np.diff(images[top])) + 1):
        if len(mine):
            kinds = _kinds(boxes[mine], labels[mine], truths[images[mine[0]]], similar)
            np.add.at(counts, (labels[mine], kinds), 1)
    return counts


def _top(labels, positives) -> np.ndarray:
    """Indices into `labels` (in descending score) of the first positives[c] of each class c."""
    first = [np.flatnonzero(labels == label)[:count] for label, count in enumerate(positives)]
    return np.sort(np.concatenate(first))


def _kinds(boxes, labels, truth, similar) -> np.ndarray:
    """The kind of each of k detections of one image, in descending score -> int [k]."""
    if not len(truth.labels):
        return np.full(len(labels), BACKGROUND)
    iou = overlap(boxes, truth.boxes_pixels)  # [k, n]
    same = labels[:, None] == np.asarray(truth.labels)
    own, foreign = np.where(same, iou, 0), np.where(same, 0, iou)
    rival = np.asarray(truth.labels)[foreign.argmax(1)]
    conditions = [
        _takes_one(own),
        own.max(1) >= WEAK,
        foreign.max(1) < WEAK,
        similar[labels, rival],
    ]
    return np.select(conditions, [CORRECT, LOCALISATION, BACKGROUND, SIMILAR], OTHER)


def _takes_one(own) -> np.ndarray:
    """Which detections get a truth, each the free one of largest IoU, in turn; own [k, n] IoU."""
    free, takes = np.ones(own.shape[1], bool), np.zeros(len(own), bool)
    for i in np.flatnonzero(own.max(1) >= STRONG):
        candidate = np.argmax(own[i] * free)
        takes[i] = own[i, candidate] * free[candidate] >= STRONG
        free[candidate] &= not takes[i]
    return takes


def _found(matches: Matches) -> tuple[np.ndarray, np.ndarray]:
    """Truths of each class found by all detections, and by those above SURE -> int [C] each."""
    hits, count = matches.hits[0], matches.positives.shape[1]
    found = (matches.labels[mask] for mask in (hits, hits & (matches.scores > SURE)))
    return tuple(np.bincount(labels, minlength=count) for labels in found)


def _row(counts, found, found_sure, positives) -> dict:
    looked_at = int(counts.sum())
    return {
        **{kind: _share(n, looked_at) for kind, n in zip(KINDS, counts, strict=True)},
        "recall": _share(found, positives),
        "recall_sure": _share(found_sure, positives),
        "truths": int(positives),
        "detections": looked_at,
        "counts": dict(zip(KINDS, map(int, counts), strict=True)),
    }


def _share(part, whole) -> float | None:
    return float(part / whole) if whole else None


def _mean(values) -> float | None:
    values = [value for value in values if value is not None]
    return float(np.mean(values)) if values else None


def format_errors(result: dict) -> str:
    """The result of `error_mix` as a table for the console, in percent; a line for each class."""
    heads = [*KINDS, "recall", "R > .25", "truths", "looked at"]
    keys = [*KINDS, "recall", "recall_sure", "truths", "detections"]
    rows = [*result["per_class"].items(), ("mean", result["mean"]), ("all", result["all"])]
    lines = ([name, *(_cell(row.get(key, "")) for key in keys)] for name, row in rows)
    return text_table(["class", *heads], lines)


def _cell(value) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.1f}" if isinstance(value, float) else str(value)
