import jax
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from yolojax.data.inspect.statistics import anchor_positions, cells, recall_bound
from yolojax.losses.matcher import assign
from yolojax.ops.anchors import PUBLISHED_PRIORS


def around(*centres, side=0.02):
    return np.array([(x - side, y - side, x + side, y + side) for x, y in centres], np.float32)


def test_the_cell_is_that_of_the_centre():
    boxes = around((0.1, 0.1), (0.9, 0.1), (0.1, 0.9), (0.5, 0.5))
    np.testing.assert_array_equal(cells(boxes, (2, 3)), [0, 2, 3, 4])


def test_a_centre_on_the_far_edge_belongs_to_the_last_cell():
    np.testing.assert_array_equal(cells(around((1, 1)), (7, 7)), [48])


def test_anchors_separate_boxes_of_one_cell():
    tall, wide = (0.4, 0.2, 0.6, 0.8), (0.2, 0.4, 0.8, 0.6)
    pictures = np.zeros(3, int)
    positions = anchor_positions([tall, wide, tall], (1, 1), [(0.2, 0.6), (0.6, 0.2)])
    np.testing.assert_array_equal(positions, [0, 1, 0])
    assert recall_bound(pictures, positions)["assigned"] == 2
    assert recall_bound(pictures, cells([tall, wide, tall], (1, 1)))["assigned"] == 1


def test_pictures_do_not_compete():
    bound = recall_bound(np.array([0, 1, 1, 1]), np.array([5, 5, 5, 6]))
    assert bound == {"objects": 4, "assigned": 3, "recall": 0.75, "pictures": 1}


def test_without_boxes_there_is_no_bound():
    nothing = np.zeros(0, int)
    assert recall_bound(nothing, anchor_positions(np.zeros((0, 4)), (13, 13), [(1, 1)])) == {
        "objects": 0,
        "assigned": 0,
        "recall": None,
        "pictures": 0,
    }


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_positions_are_those_that_the_loss_assigns(seed):
    rows, columns, count = 5, 7, 40
    anchors = np.array(PUBLISHED_PRIORS["yolov2_voc"], np.float32)
    corners = np.sort(np.random.default_rng(seed).uniform(0, 1, (count, 2, 2)), axis=1)
    boxes = corners.reshape(count, 4).astype(np.float32)
    batch = {
        "boxes": boxes[None],
        "labels": np.zeros((1, count), np.int32),
        "mask": np.ones((1, count), bool),
    }
    predicted = np.zeros((1, rows, columns, len(anchors), 4), np.float32)
    assigned = jax.jit(assign)(predicted, anchors, batch)
    positions = anchor_positions(boxes, (rows, columns), anchors)
    np.testing.assert_array_equal(positions, assigned.gt_position[0])
    assert recall_bound(np.zeros(count, int), positions)["assigned"] == assigned.responsible.sum()
