import jax
import numpy as np
import pytest

from yolojax.losses.assign import assign
from yolojax.losses.candidates import ASSIGNMENTS
from yolojax.ops.boxes import cxcywh_to_xyxy

ANCHORS = np.array([[1.0, 1.0], [2.0, 2.0], [0.5, 2.0]], np.float32)
SIDE = 4
FAR = np.array([0.9, 0.9, 0.99, 0.99], np.float32)


def batch_of(*boxes_cxcywh):
    boxes = cxcywh_to_xyxy(np.array(boxes_cxcywh, np.float32) / SIDE)[None]
    labels = np.arange(boxes.shape[1], dtype=np.int32)[None]
    return {"boxes": boxes, "labels": labels, "mask": np.ones(labels.shape, bool)}


def run(rule, *boxes_in_cells, predicted=None, threshold=0.5, compared=None):
    """(row, column, anchor) of responsible slots -> label, and the assignment."""
    if predicted is None:
        predicted = np.tile(FAR, (1, SIDE, SIDE, 3, 1))
    found = jax.device_get(
        assign(
            predicted,
            ANCHORS,
            batch_of(*boxes_in_cells),
            rule=rule,
            threshold=threshold,
            compared=compared,
        )
    )
    where = np.argwhere(found.responsible[0]).tolist()
    return {tuple(i): int(found.labels[0][tuple(i)]) for i in where}, found


@pytest.mark.parametrize("rule", ASSIGNMENTS)
def test_a_lone_truth_has_its_cell_and_the_prior_of_its_shape(rule):
    predicted = np.tile(FAR, (1, SIDE, SIDE, 3, 1))
    predicted[..., 1, :] = [0, 0, 0.5, 0.5]  # the second predicts the truth's shape, and nearer
    slots, found = run(rule, [2.6, 1.4, 2, 2], predicted=predicted, threshold=0.99)
    assert (1, 2, 1) in slots
    assert found.truth_slot[0, 0] == (1 * SIDE + 2) * 3 + 1
    assert found.slots.valid[0, 0, 0]


def test_the_box_that_overlaps_most_decides_whatever_the_shapes():
    predicted = np.tile(FAR, (1, SIDE, SIDE, 3, 1))
    predicted[0, 1, 2, 0] = cxcywh_to_xyxy(np.array([2.6, 1.4, 1.5, 1.5]) / SIDE)
    truth = [2.6, 1.4, 2, 2]
    assert run("predicted_iou", truth, predicted=predicted)[0] == {(1, 2, 0): 0}
    assert run("prior", truth, predicted=predicted)[0] == {(1, 2, 1): 0}
    # of the same shape, but elsewhere: enough for the shape alone
    predicted[0, 1, 2, 2] = cxcywh_to_xyxy(np.array([0.5, 0.5, 2, 2]) / SIDE)
    assert run("predicted_shape", truth, predicted=predicted)[0] == {(1, 2, 2): 0}
    assert run("predicted_iou", truth, predicted=predicted)[0] == {(1, 2, 0): 0}


def test_more_priors_answer_where_their_shape_is_near():
    truth = [2.6, 1.4, 1.5, 1.5]  # IoU of shapes: .44, .56, .2
    assert run("priors_above", truth, threshold=0.5)[0] == {(1, 2, 1): 0}
    assert run("priors_above", truth, threshold=0.4)[0] == {(1, 2, 0): 0, (1, 2, 1): 0}
    assert len(run("priors_above", truth, threshold=0.0)[0]) == 3


@pytest.mark.parametrize(
    ("centre", "cells"),
    [
        ((2.6, 1.4), {(1, 2), (1, 3), (0, 2)}),
        ((2.4, 1.6), {(1, 2), (1, 1), (2, 2)}),
        ((0.2, 3.9), {(3, 0)}),  # the corner has no cell further on
    ],
)
def test_the_nearest_cells_answer_too(centre, cells):
    slots, _ = run("neighbours", [*centre, 2, 2])
    assert {(row, column) for row, column, _ in slots} == cells
    assert {anchor for *_, anchor in slots} == {1}


def test_a_slot_is_its_own_truths_before_anothers():
    first, second = [2.6, 1.4, 2, 2], [3.4, 1.5, 2, 2]  # the second's cell is a neighbour of both
    for order, label in (((first, second), 1), ((second, first), 0)):
        slots, found = run("neighbours", *order)
        assert slots[1, 3, 1] == label
        own = order.index(second)
        assert found.slots.valid[0, own].tolist() == [True, False, True]  # (1, 2) is the first's


def test_ignored_slots_can_be_those_of_near_priors():
    priors = np.zeros((SIDE, SIDE, 3, 4), np.float32)
    priors[1, 2, 0] = cxcywh_to_xyxy(np.array([2.6, 1.4, 2, 2]) / SIDE)
    _, found = run("prior", [2.6, 1.4, 2, 2], compared=priors)
    assert found.best_iou[0, 1, 2, 0] == pytest.approx(1, abs=1e-6)
    assert np.count_nonzero(found.best_iou) == 1
    _, found = run("prior", [2.6, 1.4, 2, 2])
    assert not found.best_iou.any()
