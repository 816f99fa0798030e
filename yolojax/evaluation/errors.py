"""Error analysis of the top detections, as in the YOLOv1 paper (section 4.2 and figure 4).

The method is that of Hoiem, Chodpathumwan and Dai, "Diagnosing Error in Object Detectors" (ECCV
2012), as implemented in analyzeFalsePositives.m. It classifies the top N detections of each class,
where N is the number of ground-truth boxes that are neither difficult nor a crowd:

    correct       IoU >= .5 with a box of its class that no better detection has matched; it then
                  matches the box with the largest IoU (difficult boxes and crowds included)
    localisation  else, IoU >= .1 with a box of its class; also a second detection of a box
    similar       else, IoU >= .1 with a box of another class; the largest IoU has a similar class
    other         the same, where the largest IoU has a class that is not similar
    background    else

Shares are of the classified detections, which are fewer than N if a class has fewer. The paper's
chart is the mean over the classes: on VOC 2007, YOLO has 65.5, 19.0, 6.75, 4.0 and 4.75 %, Fast
R-CNN 71.6, 8.6, 4.3, 1.9 and 13.6 %.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from yolojax.data.class_names import VOC_CLASSES
from yolojax.evaluation.average_precision import Matches, match_voc
from yolojax.evaluation.matches import overlap, rows_by_score
from yolojax.text_table import text_table

KINDS = ("correct", "localisation", "similar", "other", "background")
CORRECT, LOCALISATION, SIMILAR, OTHER, BACKGROUND = range(5)
STRONG, WEAK = 0.5, 0.1  # IoU of a correct detection, and of one that overlaps an object at all
CONFIDENT = 0.25  # score threshold of `recall_sure`, the default of `yolojax predict`

# setDatasetParameters.m of Hoiem et al.; bottle, pottedplant and tvmonitor are in no group.
VOC_GROUPS = (
    ("bird", "cat", "cow", "dog", "horse", "person", "sheep"),
    ("aeroplane", "bicycle", "boat", "bus", "car", "motorbike", "train"),
    ("chair", "diningtable", "sofa"),
    ("aeroplane", "bird"),
)


def error_mix(
    ground_truth, detections, classes: Sequence[str], *, groups: Iterable | None = None
) -> dict:
    """Compute the error mix of every class, their mean and all classes together; ready for JSON.

    Args:
        ground_truth: list of evaluator.GroundTruth.
        detections: list of evaluator.ImageDetections, of the same images in the same order.
        classes: names, in the order of the labels.
        groups: groups of names of similar classes; a class may be in several. Default: the groups
            of Hoiem et al. if all classes are VOC's, else none.

    Returns:
        {"per_class": {name: row}, "mean": row, "all": row, "groups": [[name, ...], ...]}. A row has
        the share of each of KINDS in 0..1, `recall` (at IoU >= .5 by VOC's matching) and
        `recall_sure` (the same for detections with a score > .25). All rows but the mean also have
        `objects` (N), `detections` (classified) and `counts` {kind: number}. Values without a
        denominator are None and not in the mean.

    Raises:
        ValueError: the two lists are not of the same images, or a group has an unknown class.
    """
    ids, detected = ([one.image_id for one in items] for items in (ground_truth, detections))
    if not ids or ids != detected:
        raise ValueError(
            "ground_truth and detections must be of the same images in the same order, at least "
            f"one, got {len(ids)} and {len(detected)}; give an image without detections an empty "
            "entry."
        )
    groups = _default_groups(classes) if groups is None else tuple(map(tuple, groups))
    matches = match_voc(ground_truth, detections, len(classes))
    counts = _count_kinds(ground_truth, detections, matches, similar_classes(classes, groups))
    columns = counts, *_true_positives(matches), matches.positives.sum(0)
    rows = [_row(*values) for values in zip(*columns, strict=True)]
    return {
        "per_class": dict(zip(classes, rows, strict=True)),
        "mean": {k: _mean(row[k] for row in rows) for k in (*KINDS, "recall", "recall_sure")},
        "all": _row(*(column.sum(0) for column in columns)),
        "groups": [list(group) for group in groups],
    }


def _default_groups(classes) -> tuple[tuple[str, ...], ...]:
    """Return VOC_GROUPS reduced to `classes`; () unless all of them are VOC's."""
    if not set(classes) <= set(VOC_CLASSES):
        return ()
    reduced = (tuple(name for name in group if name in classes) for group in VOC_GROUPS)
    return tuple(group for group in reduced if len(group) > 1)


def similar_classes(classes: Sequence[str], groups) -> np.ndarray:
    """Return which classes share a group, bool [C, C].

    Raises:
        ValueError: a group has a name that is not in `classes`.
    """
    index = {name: label for label, name in enumerate(classes)}
    similar = np.zeros((len(classes), len(classes)), bool)
    for group in groups:
        if unknown := [name for name in group if name not in index]:
            raise ValueError(f"groups must have names of classes, got {unknown[0]!r} in {group}.")
        members = [index[name] for name in group]
        similar[np.ix_(members, members)] = True
    return similar


def _count_kinds(ground_truth, detections, matches: Matches, similar) -> np.ndarray:
    """Count the top N detections of each class by kind -> int [C, 5]."""
    _, (boxes, labels, images) = rows_by_score(detections)
    top = _top(labels, matches.positives.sum(0))
    top = top[np.argsort(images[top], kind="stable")]  # by image, then in descending score
    counts = np.zeros((len(similar), len(KINDS)), int)
    for mine in np.split(top, np.flatnonzero(np.diff(images[top])) + 1):
        if len(mine):
            kinds = _kinds(boxes[mine], labels[mine], ground_truth[images[mine[0]]], similar)
            np.add.at(counts, (labels[mine], kinds), 1)
    return counts


def _top(labels, positives) -> np.ndarray:
    """Return the first positives[c] indices of each class c in `labels` (in descending score)."""
    first = [np.flatnonzero(labels == label)[:count] for label, count in enumerate(positives)]
    return np.sort(np.concatenate(first))


def _kinds(boxes, labels, ground_truth, similar) -> np.ndarray:
    """Classify k detections of one image, in descending score -> kinds int [k]."""
    if not len(ground_truth.labels):
        return np.full(len(labels), BACKGROUND)
    iou = overlap(boxes, ground_truth.boxes_pixels)  # [k, n]
    same_class = labels[:, None] == np.asarray(ground_truth.labels)
    same, other = np.where(same_class, iou, 0), np.where(same_class, 0, iou)
    nearest = np.asarray(ground_truth.labels)[other.argmax(1)]
    conditions = [
        _matched(same),
        same.max(1) >= WEAK,
        other.max(1) < WEAK,
        similar[labels, nearest],
    ]
    return np.select(conditions, [CORRECT, LOCALISATION, BACKGROUND, SIMILAR], OTHER)


def _matched(iou) -> np.ndarray:
    """Match each detection to the unmatched box of largest IoU [k, n] -> whether it has one [k]."""
    free, matched = np.ones(iou.shape[1], bool), np.zeros(len(iou), bool)
    for i in np.flatnonzero(iou.max(1) >= STRONG):
        candidate = np.argmax(iou[i] * free)
        matched[i] = iou[i, candidate] * free[candidate] >= STRONG
        free[candidate] &= not matched[i]
    return matched


def _true_positives(matches: Matches) -> tuple[np.ndarray, np.ndarray]:
    """Count the hits of each class, of all detections and of those above CONFIDENT -> int [C]."""
    hits, count = matches.hits[0], matches.positives.shape[1]
    masks = hits, hits & (matches.scores > CONFIDENT)
    return tuple(np.bincount(matches.labels[mask], minlength=count) for mask in masks)


def _row(counts, tp, tp_confident, positives) -> dict:
    classified = int(counts.sum())
    return {
        **{kind: _share(n, classified) for kind, n in zip(KINDS, counts, strict=True)},
        "recall": _share(tp, positives),
        "recall_sure": _share(tp_confident, positives),
        "objects": int(positives),
        "detections": classified,
        "counts": dict(zip(KINDS, map(int, counts), strict=True)),
    }


def _share(part, whole) -> float | None:
    return float(part / whole) if whole else None


def _mean(values) -> float | None:
    values = [value for value in values if value is not None]
    return float(np.mean(values)) if values else None


def format_errors(result: dict) -> str:
    """Format the result of `error_mix` as a table in percent, with a row for each class."""
    heads = [*KINDS, "recall", "R > .25", "objects", "detections"]
    keys = [*KINDS, "recall", "recall_sure", "objects", "detections"]
    rows = [*result["per_class"].items(), ("mean", result["mean"]), ("all", result["all"])]
    lines = ([name, *(_cell(row.get(key, "")) for key in keys)] for name, row in rows)
    return text_table(["class", *heads], lines)


def _cell(value) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.1f}" if isinstance(value, float) else str(value)
