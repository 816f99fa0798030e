from functools import partial

import jax
import numpy as np
import pytest

from yolojax.losses.matcher import ASSIGNMENTS, assign
from yolojax.ops.boxes import cxcywh_to_xyxy

ANCHORS = np.array([[1.0, 1.0], [2.0, 2.0], [0.5, 2.0]], np.float32)
SIDE = 4
FAR = np.array([0.9, 0.9, 0.99, 0.99], np.float32)


jitted = partial(jax.jit, static_argnames=("rule",))(assign)


def batch_of(*boxes_cxcywh):
    boxes = cxcywh_to_xyxy(np.array(boxes_cxcywh, np.float32) / SIDE)[None]
    labels = np.arange(boxes.shape[1], dtype=np.int32)[None]
    return {"boxes": boxes, "labels": labels, "mask": np.ones(labels.shape, bool)}


def run(rule, *boxes_in_cells, predicted=None, threshold=0.5, compared=None):
    """Return {(row, column, anchor): label} of responsible positions, and the assignment."""
    if predicted is None:
        predicted = np.tile(FAR, (1, SIDE, SIDE, 3, 1))
    assignment = jax.device_get(
        jitted(
            predicted,
            ANCHORS,
            batch_of(*boxes_in_cells),
            rule=rule,
            threshold=threshold,
            compared=compared,
        )
    )
    where = np.argwhere(assignment.responsible[0]).tolist()
    return {tuple(i): int(assignment.labels[0][tuple(i)]) for i in where}, assignment


@pytest.mark.parametrize("rule", ASSIGNMENTS)
def test_a_single_box_is_assigned_to_its_cell_and_the_prior_of_its_shape(rule):
    predicted = np.tile(FAR, (1, SIDE, SIDE, 3, 1))
    predicted[..., 1, :] = [0, 0, 0.5, 0.5]  # the second predicts the shape, and nearer
    positions, assignment = run(rule, [2.6, 1.4, 2, 2], predicted=predicted, threshold=0.99)
    assert (1, 2, 1) in positions
    assert assignment.gt_position[0, 0] == (1 * SIDE + 2) * 3 + 1
    assert assignment.candidates.valid[0, 0, 0]


def test_predicted_iou_ignores_shapes():
    predicted = np.tile(FAR, (1, SIDE, SIDE, 3, 1))
    predicted[0, 1, 2, 0] = cxcywh_to_xyxy(np.array([2.6, 1.4, 1.5, 1.5]) / SIDE)
    box = [2.6, 1.4, 2, 2]
    assert run("predicted_iou", box, predicted=predicted)[0] == {(1, 2, 0): 0}
    assert run("prior", box, predicted=predicted)[0] == {(1, 2, 1): 0}
    # the same shape elsewhere: enough for predicted_shape
    predicted[0, 1, 2, 2] = cxcywh_to_xyxy(np.array([0.5, 0.5, 2, 2]) / SIDE)
    assert run("predicted_shape", box, predicted=predicted)[0] == {(1, 2, 2): 0}
    assert run("predicted_iou", box, predicted=predicted)[0] == {(1, 2, 0): 0}


def test_priors_above_adds_priors_of_similar_shape():
    box = [2.6, 1.4, 1.5, 1.5]  # IoU of shapes: .44, .56, .2
    assert run("priors_above", box, threshold=0.5)[0] == {(1, 2, 1): 0}
    assert run("priors_above", box, threshold=0.4)[0] == {(1, 2, 0): 0, (1, 2, 1): 0}
    assert len(run("priors_above", box, threshold=0.0)[0]) == 3


@pytest.mark.parametrize(
    ("centre", "cells"),
    [
        ((2.6, 1.4), {(1, 2), (1, 3), (0, 2)}),
        ((2.4, 1.6), {(1, 2), (1, 1), (2, 2)}),
        ((0.2, 3.9), {(3, 0)}),  # a corner has no neighbours there
    ],
)
def test_neighbours_adds_the_nearest_cells(centre, cells):
    positions, _ = run("neighbours", [*centre, 2, 2])
    assert {(row, column) for row, column, _ in positions} == cells
    assert {anchor for *_, anchor in positions} == {1}


def test_a_main_position_takes_precedence():
    first, second = [2.6, 1.4, 2, 2], [3.4, 1.5, 2, 2]  # the second's cell is a neighbour of both
    for order, label in (((first, second), 1), ((second, first), 0)):
        positions, assignment = run("neighbours", *order)
        assert positions[1, 3, 1] == label
        own = order.index(second)
        assert assignment.candidates.valid[0, own].tolist() == [
            True,
            False,
            True,
        ]  # (1, 2) is the first's


def test_best_iou_can_be_that_of_priors():
    priors = np.zeros((SIDE, SIDE, 3, 4), np.float32)
    priors[1, 2, 0] = cxcywh_to_xyxy(np.array([2.6, 1.4, 2, 2]) / SIDE)
    _, assignment = run("prior", [2.6, 1.4, 2, 2], compared=priors)
    assert assignment.best_iou[0, 1, 2, 0] == pytest.approx(1, abs=1e-6)
    assert np.count_nonzero(assignment.best_iou) == 1
    _, assignment = run("prior", [2.6, 1.4, 2, 2])
    assert not assignment.best_iou.any()
