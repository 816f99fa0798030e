"""Compute the VOC 2007, VOC 2010 and COCO metrics of detections and ground truth in one dict."""

import math
from typing import NamedTuple

import numpy as np

from yolojax.data.records import BadRecord, Source, name_of
from yolojax.evaluation import coco
from yolojax.evaluation.average_precision import (
    VOC07_LEVELS,
    Matches,
    class_average_precision,
    hit_curves,
    match_voc,
    of_classes,
)
from yolojax.evaluation.significance import bootstrap_interval

# Metrics that can be the headline: (matching, recall levels).
METRICS = {
    "voc07_11pt": (match_voc, VOC07_LEVELS),
    "voc10": (match_voc, None),
    "coco_AP": (coco.match_coco, coco.LEVELS),
    "coco_AP50": (lambda *args: coco.match_coco(*args, thresholds=[0.5]), coco.LEVELS),
    "coco_AP75": (lambda *args: coco.match_coco(*args, thresholds=[0.75]), coco.LEVELS),
}
PROTOCOL = {
    "voc07_11pt": "VOC devkit: IoU >= 0.5, 11-point interpolation; difficult and crowd ignored",
    "voc10": "VOC devkit: IoU >= 0.5, area under the curve; difficult and crowd ignored",
    "coco": "cocoeval: IoU 0.50:0.95, 101 recall levels, 100 detections of a class in an image; "
    "crowds by intersection over detection; one detection of a difficult box is ignored",
    "duplicates": "a second detection of a ground-truth box is a false positive",
    "mean": "over the classes with ground-truth boxes; the others are null",
}


class GroundTruth(NamedTuple):
    """The ground truth of one image.

    Pixels are continuous and start at 0; right and bottom are exclusive.

    A VOC box (1-based, inclusive) is (xmin - 1, ymin - 1, xmax, ymax): its plain IoU is then the
    development kit's, which adds 1 to every side.
    """

    image_id: str
    width: int
    height: int
    boxes_pixels: np.ndarray  # float [n, 4], xyxy
    labels: np.ndarray  # int [n]
    difficult: np.ndarray  # bool [n]
    crowd: np.ndarray  # bool [n]
    area: np.ndarray  # float [n], pixels**2: small, medium or large in COCO's metrics

    @property
    def ignore(self) -> np.ndarray:
        """Boxes that are not counted, bool [n]: difficult ones and crowds."""
        return self.difficult | self.crowd


def unreadable_ground_truth(source: Source, index: int) -> tuple[GroundTruth, str]:
    """Return the ground truth of a picture that cannot be read, and what messages call it.

    Its boxes are in pixels of the size that the annotation states, or else of 1000 x 1000. They are
    matched with no detection, so that the size does not matter. If the annotation is bad too, there
    are no boxes.
    """
    try:
        record = source[index]
    except BadRecord:
        name, no = f"record {index}", np.zeros(0)
        return GroundTruth(name, 1, 1, no.reshape(0, 4), *[no.astype(t) for t in "i??d"]), name
    width, height = record.size or (1000, 1000)
    return ground_truth_from_record(record, (height, width)), str(name_of(record))


class ImageDetections(NamedTuple):
    """The detections in one image, in the pixels of GroundTruth, in any order."""

    image_id: str
    boxes_pixels: np.ndarray  # float [k, 4], xyxy
    scores: np.ndarray  # float [k]
    labels: np.ndarray  # int [k]


def no_detections(image_id: str) -> ImageDetections:
    """Return the entry of an image without detections."""
    return ImageDetections(image_id, np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))


def ground_truth_from_record(record, size) -> GroundTruth:
    """Convert a data.records.Record whose image has `size` (height, width) pixels."""
    height, width = map(int, size)
    pixels = np.asarray(record.boxes, np.float64).reshape(-1, 4) * [width, height, width, height]
    return GroundTruth(
        record.image_id,
        width,
        height,
        pixels,
        np.asarray(record.labels, int),
        np.asarray(record.difficult, bool),
        np.asarray(record.crowd, bool),
        np.asarray(record.area, np.float64),
    )


def evaluate(
    ground_truth: list[GroundTruth],
    detections: list[ImageDetections],
    classes,
    *,
    metric: str = "voc10",
    bootstrap: int = 1000,
    seed: int = 0,
    protocol: dict | None = None,
) -> dict:
    """Compute all metrics, ready for JSON: fractions in 0..1, None where undefined.

    Args:
        ground_truth: one entry for each image.
        detections: at most one entry for each image; an image without an entry has no detections.
        classes: names, in the order of the labels.
        metric: the headline, a key of METRICS.
        bootstrap: resamples of the images for the headline's 95 % interval; 0 = no interval.
        seed: of the resamples.
        protocol: further settings of the evaluation (thresholds, input size), added to the result.

    Returns:
        metric, interval ([low, high] or None), voc07_11pt, voc10, coco_AP, coco_AP50, coco_AP75,
        coco_APs/m/l, coco_AR1/10/100, coco_ARs/m/l; images, objects (ground-truth boxes that are
        not ignored), detections; per_class {name: voc07_11pt, voc10, coco_AP, coco_AP50, images,
        objects, detections and, at the largest F1 under VOC's matching, precision, recall, score};
        protocol.

    Raises:
        ValueError: unknown metric, no ground truth, a duplicate or unknown image, a label that is
            not a class, a score that is not finite, or a box with x2 < x1 or y2 < y1.
    """
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}.")
    detections = _in_order_of(ground_truth, detections)
    _check_arrays([*ground_truth, *detections], len(classes))
    numbers, columns = _numbers(ground_truth, detections, len(classes))
    matching, levels = METRICS[metric]
    spread = None
    if bootstrap:
        matches = matching(ground_truth, detections, len(classes))
        spread = bootstrap_interval(matches, levels, resamples=bootstrap, seed=seed)
    counts = {name: int(columns[name].sum()) for name in ("objects", "detections")}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return _jsonable(
        {"metric": metric, "interval": spread}
        | numbers
        | {"images": len(ground_truth)}
        | counts
        | {"per_class": dict(zip(classes, rows, strict=True))}
        | {"protocol": PROTOCOL | _interval_protocol(bootstrap, seed) | (protocol or {})}
    )


def _numbers(ground_truth, detections, num_classes: int) -> tuple[dict, dict]:
    """Return ({metric: mean over classes}, {column: values [C]})."""
    matches = match_voc(ground_truth, detections, num_classes)
    summary, coco_ap, coco_ap50 = coco.coco_numbers(ground_truth, detections, num_classes)
    columns = {
        "voc07_11pt": class_average_precision(matches, VOC07_LEVELS)[0],
        "voc10": class_average_precision(matches, None)[0],
        "coco_AP": coco_ap,
        "coco_AP50": coco_ap50,
        "images": (matches.positives > 0).sum(0),
        "objects": matches.positives.sum(0),
        "detections": np.bincount(matches.labels, minlength=num_classes),
    }
    best = [best_f1(matches, label, mine) for label, mine in enumerate(of_classes(matches))]
    columns |= dict(zip(("precision", "recall", "score"), np.array(best).T, strict=True))
    means = {name: coco.mean(columns[name]) for name in ("voc07_11pt", "voc10")}
    return means | {f"coco_{name}": value for name, value in summary.items()}, columns


def best_f1(matches: Matches, label: int, mine) -> tuple[float, float, float]:
    """Return (precision, recall, score) at the largest F1; NaN without a hit.

    F1 = 2 hits / (detections + ground-truth boxes). `mine` int [D]: the detections of the class,
    see `of_classes`.
    """
    hits, ignored = matches.hits[:1, mine], matches.ignored[:1, mine]
    if not hits.any():
        return math.nan, math.nan, math.nan
    once = np.ones((1, len(matches.positives)), int)
    ((tp, total),) = hit_curves(matches.images[mine], hits, ignored, once)
    positives = matches.positives[:, label].sum()
    best = np.argmax(2 * tp[0] / (total[0] + positives))
    score = matches.scores[mine][hits[0]][best]
    return tp[0, best] / total[0, best], tp[0, best] / positives, score


def _in_order_of(ground_truth, detections) -> list[ImageDetections]:
    """Return one entry for each image of `ground_truth`, empty for an image without detections."""
    if not ground_truth:
        raise ValueError("ground_truth must have at least one image; is the source empty?")
    for name, items in (("ground_truth", ground_truth), ("detections", detections)):
        ids = [x.image_id for x in items]
        if len(set(ids)) < len(ids):
            twice = next(i for i in ids if ids.count(i) > 1)
            raise ValueError(f"{name} must have each image once, got {twice!r} more than once.")
    of = {d.image_id: d for d in detections}
    ids = [one.image_id for one in ground_truth]
    unknown = of.keys() - set(ids)
    if unknown:
        raise ValueError(
            f"detections must be of images in ground_truth, got {min(unknown, key=str)!r} "
            f"({len(unknown)} unknown); evaluate both on the same source."
        )
    return [of.get(image_id, no_detections(image_id)) for image_id in ids]


def _check_arrays(items, num_classes: int):
    for item in items:
        labels = np.asarray(item.labels)
        if ((labels < 0) | (labels >= num_classes)).any():
            raise ValueError(
                f"{item.image_id}: labels must be below {num_classes}, the number of classes, "
                f"got {labels.max()} and {labels.min()} as the largest and smallest."
            )
        boxes = np.reshape(item.boxes_pixels, (-1, 4))
        values = item.scores if isinstance(item, ImageDetections) else item.area
        if not (np.isfinite(values).all() and np.isfinite(boxes).all()):
            raise ValueError(
                f"{item.image_id}: boxes and scores must be finite, got NaN or infinity; "
                "has the training diverged?"
            )
        inverted = (boxes[:, 2:] < boxes[:, :2]).any(1)
        if inverted.any():
            raise ValueError(
                f"{item.image_id}: boxes_pixels must be (x1, y1, x2, y2) with x1 <= x2 and "
                f"y1 <= y2, got {boxes[inverted][0].tolist()}; is it (x, y, w, h)?"
            )


def _interval_protocol(bootstrap: int, seed: int) -> dict:
    if not bootstrap:
        return {}
    text = f"95 % percentile bootstrap over images, {bootstrap} resamples, seed {seed}"
    return {"interval": text}


def _jsonable(value):
    """Convert `value` to plain Python numbers, with None for NaN."""
    if isinstance(value, dict):
        return {key: _jsonable(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(x) for x in value]
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and math.isnan(value) else value
