from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from yolojax.losses.matcher import assign
from yolojax.ops.boxes import cxcywh_to_xyxy, iou, shape_iou, xyxy_to_cxcywh

ANCHORS = np.array([[1.0, 1.0], [2.0, 1.0], [1.0, 3.0]], np.float32)
ROWS, COLUMNS = 2, 3


def one_image(boxes_cxcywh, labels=None, mask=None):
    boxes = np.asarray(boxes_cxcywh, np.float32)
    return {
        "boxes": cxcywh_to_xyxy(boxes)[None],
        "labels": np.asarray(labels if labels else range(len(boxes)), np.int32)[None],
        "mask": np.ones((1, len(boxes)), bool) if mask is None else np.asarray([mask]),
    }


@partial(jax.jit, static_argnames=("rule",))
def jitted(predicted, anchors, batch, rule):
    return assign(predicted, anchors, batch, rule=rule)


def run(batch, predicted=None, anchors=ANCHORS, rule="prior"):
    if predicted is None:
        predicted = np.tile(np.array([0, 0, 1, 1], np.float32), (1, ROWS, COLUMNS, 3, 1))
    return jax.device_get(jitted(predicted, anchors, batch, rule))


def responsible(assignment):
    return [tuple(index) for index in np.argwhere(assignment.responsible[0]).tolist()]


def test_a_box_is_assigned_to_its_cell_and_the_anchor_of_its_shape():
    # centre in row 1 of 2 and column 2 of 3; 2 cells wide and 1 high
    assignment = run(one_image([[0.9, 0.6, 2 / 3, 1 / 2]], labels=[7]))
    assert responsible(assignment) == [(1, 2, 1)]
    assert assignment.labels[0, 1, 2, 1] == 7
    assert assignment.gt_position[0, 0] == (1 * 3 + 2) * 3 + 1


def test_the_first_of_equally_good_anchors_is_chosen():
    # A box of 1x1 cells: IoU 1/2 with the second and third anchor, less with the first.
    anchors = np.array([[4.0, 4.0], [2.0, 1.0], [1.0, 2.0]], np.float32)
    assignment = run(one_image([[0.1, 0.1, 1 / 3, 1 / 2]]), anchors=anchors)
    assert responsible(assignment) == [(0, 0, 1)]


def test_the_last_of_two_boxes_is_assigned_to_a_shared_position():
    box = [0.1, 0.1, 0.3, 0.4]
    first = run(one_image([box, box], labels=[4, 5]))
    assert responsible(first) == [(0, 0, 0)]
    assert first.labels[0, 0, 0, 0] == 5
    masked = run(one_image([box, box], labels=[4, 5], mask=[True, False]))
    assert masked.labels[0, 0, 0, 0] == 4


def test_a_centre_on_the_far_edge_belongs_to_the_last_cell():
    assignment = run(one_image([[1.0, 1.0, 0.3, 0.4]]))
    assert responsible(assignment) == [(1, 2, 0)]


def test_boxes_without_area_and_padding_are_left_out():
    batch = one_image([[0.1, 0.1, 0.0, 0.4], [0.5, 0.5, 0.3, -0.4], [0.5, 0.5, 0.3, 0.3]])
    batch["mask"][0, 2] = False
    batch["boxes"][0, 2] = np.nan
    assignment = run(batch)
    assert responsible(assignment) == []
    assert not assignment.gt_mask.any()
    assert not assignment.best_iou.any()
    assert np.isfinite(assignment.boxes_cxcywh).all()


def test_without_bias_match_the_predicted_shape_decides():
    predicted = np.tile(np.array([0, 0, 0.1, 0.1], np.float32), (1, ROWS, COLUMNS, 3, 1))
    predicted[0, 0, 0, 2] = [0.5, 0.5, 0.8, 0.9]  # the shape of the box, elsewhere
    batch = one_image([[0.15, 0.2, 0.3, 0.4]])
    assert responsible(run(batch, predicted)) == [(0, 0, 0)]
    assert responsible(run(batch, predicted, rule="predicted_shape")) == [(0, 0, 2)]


def oracle(boxes, mask, predicted):
    """Darknet's loop over the boxes of one image: {position: index}, later ones overwrite."""
    owners = {}
    for index, box in enumerate(boxes):
        x, y, w, h = xyxy_to_cxcywh(box)
        if not mask[index] or w <= 0 or h <= 0:
            continue
        column, row = min(int(x * COLUMNS), COLUMNS - 1), min(int(y * ROWS), ROWS - 1)
        size = np.array([w * COLUMNS, h * ROWS])
        fits = [shape_iou(size, anchor) for anchor in ANCHORS]
        owners[row, column, int(np.argmax(fits))] = index
    return owners


SIXTEENTHS = st.integers(0, 16).map(lambda i: i / 16)


@settings(deadline=None, max_examples=50)
@given(
    hnp.arrays(np.float32, (2, 6, 2, 2), elements=SIXTEENTHS),
    hnp.arrays(bool, (2, 6)),
    st.integers(0, 2**32 - 1),
)
def test_a_batch_equals_darknets_loop(corners, mask, seed):
    boxes = np.sort(corners, axis=2).reshape(2, 6, 4)
    random = np.random.default_rng(seed)
    predicted = np.sort(random.uniform(size=(2, ROWS, COLUMNS, 3, 2, 2)), axis=-2)
    predicted = predicted.reshape(2, ROWS, COLUMNS, 3, 4).astype(np.float32)
    labels = random.integers(0, 9, (2, 6)).astype(np.int32)
    assignment = run({"boxes": boxes, "labels": labels, "mask": mask}, predicted)
    for image in range(2):
        owners = oracle(boxes[image], mask[image], predicted[image])
        assert {tuple(i) for i in np.argwhere(assignment.responsible[image]).tolist()} == set(
            owners
        )
        for position, index in owners.items():
            box = boxes[image, index]
            assert assignment.labels[image][position] == labels[image, index]
            np.testing.assert_array_equal(
                assignment.boxes_cxcywh[image][position], xyxy_to_cxcywh(box)
            )
            expected = iou(predicted[image][position], box)
            assert assignment.iou[image][position] == pytest.approx(expected, rel=1e-5, abs=1e-7)
        real = boxes[image][mask[image]]
        ious = [iou(predicted[image], box) for box in real]
        best = np.max(ious, axis=0) if len(real) else np.zeros((ROWS, COLUMNS, 3))
        np.testing.assert_allclose(assignment.best_iou[image], best, rtol=1e-5, atol=1e-7)
