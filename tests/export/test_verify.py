"""Detections of two programs are compared by match."""

import numpy as np

from yolojax.config import EvalConfig
from yolojax.export.verify import compare_detections, worst

A, B, C = (0.1, 0.1, 0.5, 0.5), (0.1, 0.1, 0.5, 0.45), (0.6, 0.6, 0.9, 0.9)
SETTINGS = EvalConfig(score_threshold=0.005, iou_threshold=0.45, max_detections=4)


def found(*detections):
    """The outputs with NMS of (score, label, box), padded to four."""
    count = len(detections)
    scores, labels, boxes = np.zeros((1, 4)), np.full((1, 4), -1), np.zeros((1, 4, 4))
    for i, (score, label, box) in enumerate(detections):
        scores[0, i], labels[0, i], boxes[0, i] = score, label, box
    return {"boxes": boxes, "scores": scores, "labels": labels, "count": np.array([count])}


def largest(ours, theirs):
    assert worst(compare_detections(theirs, ours, SETTINGS)) == worst(
        compare_detections(ours, theirs, SETTINGS)
    )
    return worst(compare_detections(ours, theirs, SETTINGS))


def test_equal_scores_may_have_any_order():
    ours = found((0.7, 1, A), (0.7, 1, C), (0.5, 0, A))
    theirs = found((0.7000001, 1, C), (0.7, 1, A), (0.5, 0, A))
    assert largest(ours, theirs) < 1e-6
    rows = compare_detections(ours, theirs, SETTINGS)
    assert [row.shape for row in rows] == [(3, 4), (3,), (0,)]
    assert largest(found(), found()) == 0


def test_of_equal_scores_either_may_suppress_the_other():
    assert largest(found((0.7, 1, A)), found((0.7, 1, B))) < 1
    assert largest(found((0.7, 1, A)), found((0.6, 1, B))) == np.inf


def test_a_detection_at_a_threshold_needs_no_partner():
    assert largest(found((0.7, 1, A), (0.0050001, 1, C)), found((0.7, 1, A))) == 0
    side = 0.4 * 0.45**0.5  # of a box in A with an IoU of 0.45
    inner = (0.1, 0.1, 0.1 + side, 0.1 + side)
    assert largest(found((0.7, 1, A), (0.6, 1, inner)), found((0.7, 1, A))) == 0
    full = [(s, 0, (x, 0, x + 0.1, 0.1)) for s, x in ((0.9, 0), (0.8, 0.2), (0.7, 0.4))]
    last = [(0.3, 0, (0.6, 0, 0.7, 0.1)), (0.3000001, 0, (0.8, 0, 0.9, 0.1))]
    assert largest(found(*full, last[0]), found(*full, last[1])) == 0


def test_other_detections_differ():
    ours = found((0.7, 1, A), (0.6, 1, C))
    assert largest(ours, found((0.7, 1, A))) == np.inf  # one is missing
    assert largest(ours, found((0.7, 1, A), (0.6, 0, C))) == np.inf  # the class is another
    assert largest(ours, found((0.7, 1, A), (0.65, 1, C))) == np.inf  # the score is another
    moved = largest(ours, found((0.7, 1, A), (0.6, 1, (0.6, 0.6, 0.905, 0.9))))
    np.testing.assert_allclose(moved, 0.005, rtol=1e-6)
