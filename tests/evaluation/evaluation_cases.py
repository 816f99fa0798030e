"""Small cases of ground truth and detections for the tests of this folder."""

import numpy as np

from yolojax.evaluation.evaluator import GroundTruth, ImageDetections

SQUARE = (0, 0, 10, 10)
ELSEWHERE = (50, 50, 60, 60)


def image(image_id, boxes, labels=None, difficult=None, crowd=None):
    boxes = np.array(boxes, float).reshape(-1, 4)
    none = np.zeros(len(boxes), bool)
    return GroundTruth(
        image_id,
        500,
        500,
        boxes,
        np.zeros(len(boxes), int) if labels is None else np.array(labels, int),
        none if difficult is None else np.array(difficult, bool),
        none if crowd is None else np.array(crowd, bool),
        np.prod(boxes[:, 2:] - boxes[:, :2], axis=1),
    )


def detections(image_id, boxes, scores, labels=None):
    boxes = np.array(boxes, float).reshape(-1, 4)
    labels = np.zeros(len(boxes), int) if labels is None else np.array(labels, int)
    return ImageDetections(image_id, boxes, np.array(scores, float), labels)


def random_case(seed, images=12, classes=4, difficult=0.15, crowd=0.1, whole_pixels=False):
    """Ground truth, about two inexact detections of each box and as much noise; unique scores.

    The last class has no boxes. Some images have no boxes, some have no detections.
    """
    draw = np.random.default_rng(seed)
    cases = [_random_image(draw, i, classes, difficult, crowd) for i in range(images)]
    if whole_pixels:
        cases = [[x._replace(boxes_pixels=np.round(x.boxes_pixels)) for x in c] for c in cases]
    return [c[0] for c in cases], [c[1] for c in cases]


def _random_image(draw, index, classes, difficult, crowd):
    n = draw.integers(0, 7)
    boxes, labels = _random_boxes(draw, n), draw.integers(0, max(1, classes - 1), n)
    t = image(str(index), boxes, labels, draw.random(n) < difficult, draw.random(n) < crowd)
    near = np.tile(boxes, (2, 1)) + draw.normal(0, 4, (2 * n, 4))
    near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 2)
    k = 2 * n + 3 if draw.random() < 0.85 else 0
    found = np.concatenate([near, _random_boxes(draw, 3)])[:k]
    their = np.concatenate([labels, labels, draw.integers(0, classes, 3)])[:k]
    return t, detections(str(index), found, draw.random(k), their)


def _random_boxes(draw, count):
    """Draw boxes, half of them below 32 pixels, so that all of COCO's sizes occur."""
    corner = draw.uniform(0, 300, (count, 2))
    return np.concatenate([corner, corner + 6 + 180 * draw.random((count, 2)) ** 3], axis=1)
