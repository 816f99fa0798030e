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
    outputs = {"boxes": boxes, "scores": scores, "labels": labels, "count": np.array([count])}
    return outputs | {"candidates": candidates(*detections)}


def candidates(*detections):
    """The same as boxes, scores and labels before NMS."""
    scores, labels, boxes = map(np.array, zip(*detections, strict=True)) if detections else 3 * [()]
    return np.reshape(boxes, (-1, 4)), np.reshape(scores, (-1, 1)), np.reshape(labels, (-1, 1))


def largest(ours, theirs, more=()):
    """The largest difference; `more` are candidates of ours besides both ones' detections."""
    both = [
        np.concatenate(pair) for pair in zip(ours["candidates"], candidates(*more), strict=True)
    ]
    return worst(compare_detections(ours | {"candidates": both}, theirs, SETTINGS))


def test_equal_scores_may_have_any_order():
    ours = found((0.7, 1, A), (0.7, 1, C), (0.5, 0, A))
    theirs = found((0.7000001, 1, C), (0.7, 1, A), (0.5, 0, A))
    assert largest(ours, theirs) < 1e-6
    rows = compare_detections(ours, theirs, SETTINGS)
    assert [row.shape for row in rows] == [(3, 4), (3,), (0,)]
    assert largest(found(), found()) == 0


def test_of_equal_scores_either_may_suppress_the_other():
    ours, theirs = found((0.7, 1, A)), found((0.7, 1, B))
    assert largest(ours, theirs, [(0.7, 1, B)]) == 0
    assert largest(ours, theirs) == np.inf  # our network does not predict that box
    assert largest(ours, found((0.6, 1, B)), [(0.6, 1, B)]) == np.inf  # A is better
    assert largest(ours, found((0.7, 1, A), (0.6, 1, B)), [(0.6, 1, B)]) == np.inf  # no NMS


def test_a_detection_at_a_threshold_needs_no_partner():
    one, low = (0.7, 1, A), (0.0050001, 1, C)
    assert largest(found(one, low), found(one)) == largest(found(one), found(one, low), [low]) == 0
    side = 0.4 * 0.45**0.5  # of a box in A with an IoU of 0.45
    inner = (0.6, 1, (0.1, 0.1, 0.1 + side, 0.1 + side))
    assert largest(found(one, inner), found(one)) == 0
    assert largest(found(one), found(one, inner), [inner]) == 0
    full = [(s, 0, (x, 0, x + 0.1, 0.1)) for s, x in ((0.9, 0), (0.8, 0.2), (0.7, 0.4))]
    last = [(0.3, 0, (0.6, 0, 0.7, 0.1)), (0.3000001, 0, (0.8, 0, 0.9, 0.1))]
    assert largest(found(*full, last[0]), found(*full, last[1]), last) == 0


def test_other_detections_differ():
    ours = found((0.7, 1, A), (0.6, 1, C))
    assert largest(ours, found((0.7, 1, A))) == np.inf  # one is missing
    assert largest(ours, found((0.7, 1, A), (0.6, 0, C))) == np.inf  # the class is another
    assert largest(ours, found((0.7, 1, A), (0.65, 1, C))) == np.inf  # the score is another
    assert largest(ours, found((0.7, 1, A), (0.6, 1, (0.6, 0.6, 0.905, 0.9)))) == np.inf
    near = largest(ours, found((0.7, 1, A), (0.6002, 1, (0.6, 0.6, 0.9003, 0.9))))
    np.testing.assert_allclose(near, 0.0003, rtol=1e-6)
