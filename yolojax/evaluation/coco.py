"""COCO's numbers, by faster_coco_eval, in memory and silent.

Policy: a crowd is matched by intersection over detection, any number of times, and excuses what it
matches (COCO). A difficult truth is COCO's `ignore`: plain IoU, it excuses one detection.
"""

import faster_coco_eval
import numpy as np

from yolojax.evaluation.average_precision import Matches, by_score, count_positives, overlap

# cocoeval.py, Params: the thresholds, recall levels and cap of every published COCO number.
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
LEVELS = np.linspace(0, 1, 101)
MAX_DETECTIONS = 100  # of one class in one image
AREAS = ("", "s", "m", "l")  # all, below 32**2, below 96**2, above


def coco_numbers(truths, detections, num_classes: int) -> tuple[dict, np.ndarray, np.ndarray]:
    """AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm, ARl as pycocotools has them.

    Args:
        truths: list of evaluator.ImageTruth.
        detections: list of evaluator.ImageDetections, one for each of `truths`, in that order.
        num_classes: C.

    Returns:
        ({name: float}, AP of each class [C], AP50 of each class [C]); NaN where there are no
        truths.
    """
    dataset = _dataset(len(truths), num_classes)
    truth = _quiet_coco(dataset | {"annotations": _truth_annotations(truths)})
    found = _quiet_coco(dataset | {"annotations": _detection_annotations(detections)})
    run = faster_coco_eval.COCOeval_faster(truth, found, "bbox", print_function=_silent)
    run.evaluate()
    run.accumulate()
    precision, recall = (
        np.where(run.eval[name] < 0, np.nan, run.eval[name]) for name in ("precision", "recall")
    )
    return _summary(precision, recall), *_per_class(precision)


def _summary(precision, recall) -> dict:
    """The twelve numbers from precision [T, levels, C, areas, caps] and recall [T, C, areas, caps].

    The caps are 1, 10 and 100 detections.
    """
    best = precision[..., -1]
    names = {"AP": best[..., 0], "AP50": best[0, ..., 0], "AP75": best[5, ..., 0]}
    names |= {f"AP{area}": best[..., i] for i, area in enumerate(AREAS) if area}
    names |= {f"AR{cap}": recall[:, :, 0, i] for i, cap in enumerate((1, 10, MAX_DETECTIONS))}
    names |= {f"AR{area}": recall[:, :, i, -1] for i, area in enumerate(AREAS) if area}
    return {name: mean(values) for name, values in names.items()}


def _per_class(precision):
    """AP and AP50 of each class [C]: a class has all its levels, or none."""
    return precision[..., 0, -1].mean((0, 1)), precision[0, ..., 0, -1].mean(0)


def mean(values) -> float:
    """Mean of what is not NaN; NaN of nothing."""
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


def _silent(*_):
    pass


def _quiet_coco(dataset: dict):
    return faster_coco_eval.COCO(dataset, print_function=_silent)


def _dataset(images: int, num_classes: int) -> dict:
    """Numbers start at 1: as an annotation's id, 0 means "unmatched" in cocoeval."""
    return {
        "images": [{"id": i + 1} for i in range(images)],
        "categories": [{"id": c + 1} for c in range(num_classes)],
    }


def _truth_annotations(truths) -> list[dict]:
    # cocoeval overwrites `ignore` with `iscrowd`; an area outside all ranges is ignored as well.
    areas = np.concatenate([np.where(t.difficult, -1, t.area) for t in truths])
    crowds = np.concatenate([t.crowd for t in truths]).astype(int)
    return [
        row | {"area": area, "iscrowd": crowd}
        for row, area, crowd in zip(
            _annotations(truths), areas.tolist(), crowds.tolist(), strict=True
        )
    ]


def _detection_annotations(detections) -> list[dict]:
    scores = np.concatenate([d.scores for d in detections]).tolist()
    return [
        row | {"score": score, "area": row["bbox"][2] * row["bbox"][3], "iscrowd": 0}
        for row, score in zip(_annotations(detections), scores, strict=True)
    ]


def _annotations(items) -> list[dict]:
    boxes = np.concatenate([np.reshape(x.boxes_pixels, (-1, 4)) for x in items]).astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    images = np.repeat(np.arange(len(items)), [len(x.labels) for x in items]) + 1
    labels = np.concatenate([x.labels for x in items]).astype(int) + 1
    rows = zip(images.tolist(), labels.tolist(), boxes.tolist(), strict=True)
    return [
        {"id": i, "image_id": image, "category_id": label, "bbox": box}
        for i, (image, label, box) in enumerate(rows, 1)
    ]


def match_coco(truths, detections, num_classes: int, thresholds=IOU_THRESHOLDS) -> Matches:
    """Matches as cocoeval.py makes them for objects of all sizes, one row for each threshold.

    faster_coco_eval keeps its matches to itself; the bootstrap needs them. Arguments as in
    `coco_numbers`.
    """
    flags = [
        _match_image(t, d, np.asarray(thresholds)) for t, d in zip(truths, detections, strict=True)
    ]
    scores, labels, images, order = by_score(detections)
    hits, ignored = (np.concatenate(x, axis=1)[:, order] for x in zip(*flags, strict=True))
    positives = count_positives(truths, num_classes)
    return Matches(scores, labels, images, hits, ignored, positives)


def _match_image(truth, detection, thresholds):
    """(hits [T, k], ignored [T, k]) of one image."""
    shape = len(thresholds), len(detection.labels)
    hits, ignored = np.zeros(shape, bool), np.zeros(shape, bool)
    for label in np.unique(detection.labels):
        mine = np.flatnonzero(detection.labels == label)
        mine = mine[np.argsort(-detection.scores[mine], kind="stable")]
        ignored[:, mine[MAX_DETECTIONS:]] = True
        mine, theirs = mine[:MAX_DETECTIONS], np.flatnonzero(truth.labels == label)
        if len(theirs):
            crowd = truth.crowd[theirs]
            iou = overlap(detection.boxes_pixels[mine], truth.boxes_pixels[theirs], crowd)
            excused = crowd | truth.difficult[theirs]
            hits[:, mine], ignored[:, mine] = _match_greedily(iou, excused, crowd, thresholds)
    return hits, ignored


def _match_greedily(iou, excused, crowd, thresholds):
    """(hits [T, k], ignored [T, k]) for `iou` [k, n] of one class, rows in descending score.

    Each detection takes the free truth it overlaps most, an excused one only if no other will do;
    a crowd is always free. Of equals the last is taken, as in cocoeval.py.
    """
    rows = np.arange(len(thresholds))
    hits, ignored = np.zeros((2, len(thresholds), len(iou)), bool)
    taken = np.zeros((len(thresholds), iou.shape[1]), bool)
    for k in np.flatnonzero((iou >= thresholds.min()).any(1)):
        fits = (iou[k] >= thresholds[:, None]) & (~taken | crowd)
        better = fits & ~excused
        fits = np.where(better.any(1, keepdims=True), better, fits)
        choice = iou.shape[1] - 1 - np.where(fits, iou[k], -1)[:, ::-1].argmax(1)
        matched = fits.any(1)
        taken[rows[matched], choice[matched]] = True
        ignored[:, k] = matched & excused[choice]
        hits[:, k] = matched & ~excused[choice]
    return hits, ignored
