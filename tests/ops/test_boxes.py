import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from yolojax.ops.boxes import (
    area,
    cxcywh_to_xyxy,
    intersection,
    iou,
    pairwise_iou,
    shape_iou,
    xyxy_to_cxcywh,
)

EIGHTHS = st.integers(0, 8).map(lambda i: i / 8)  # exact in float32, and often equal
CORNERS = hnp.arrays(np.float32, (5, 2, 2), elements=EIGHTHS)


def sorted_boxes(corners):
    return np.sort(corners, axis=1).reshape(-1, 4)


def test_iou_of_squares_sharing_a_quarter():
    a, b = np.array([0.0, 0, 2, 2]), np.array([1.0, 1, 3, 3])
    np.testing.assert_allclose(iou(a, b), 1 / 7, rtol=1e-6)  # 1 shared; 4 + 4 - 1 in all


def test_iou_of_boxes_that_only_touch_is_zero():
    assert iou(np.array([0.0, 0, 1, 1]), np.array([1.0, 0, 2, 1])) == 0


def test_iou_does_not_multiply_two_negative_overlaps():
    assert iou(np.array([0.0, 0, 1, 1]), np.array([2.0, 2, 3, 3])) == 0


def test_area_and_intersection_of_a_box_turned_inside_out_are_zero():
    turned = np.array([2.0, 2, 1, 1])
    assert area(turned) == 0
    assert intersection(turned, np.array([0.0, 0, 3, 3])) == 0


def test_centre_format_of_a_known_box():
    np.testing.assert_array_equal(xyxy_to_cxcywh(np.array([1.0, 2, 4, 8])), [2.5, 5, 3, 6])
    np.testing.assert_array_equal(cxcywh_to_xyxy(np.array([2.5, 5, 3, 6])), [1, 2, 4, 8])


def test_shape_iou_ignores_where_the_boxes_are():
    # 2x1 inside 2x3: 2 of 6; the cross of 2x1 and 1x2: 1 of 3
    assert shape_iou(np.array([2.0, 1]), np.array([2.0, 3])) == pytest.approx(1 / 3)
    assert shape_iou(np.array([2.0, 1]), np.array([1.0, 2])) == pytest.approx(1 / 3)


@given(CORNERS)
def test_formats_turn_back(corners):
    boxes = sorted_boxes(corners)
    np.testing.assert_array_equal(cxcywh_to_xyxy(xyxy_to_cxcywh(boxes)), boxes)


@given(CORNERS, CORNERS)
def test_pairwise_iou_is_bounded_symmetric_and_one_on_itself(a, b):
    a, b = sorted_boxes(a), sorted_boxes(b)
    ious = pairwise_iou(a, b)
    assert ious.shape == (5, 5)
    assert ((ious >= 0) & (ious <= 1)).all()
    np.testing.assert_array_equal(ious, pairwise_iou(b, a).T)
    np.testing.assert_array_equal(np.diag(pairwise_iou(a, a)), area(a) > 0)


@given(CORNERS, st.sampled_from([0.25, 2.0, 16.0]))
def test_iou_does_not_change_with_scale_and_place(corners, factor):
    boxes = sorted_boxes(corners)
    moved = boxes * np.float32(factor) + 1
    np.testing.assert_allclose(pairwise_iou(moved, moved), pairwise_iou(boxes, boxes), rtol=1e-6)


def test_numpy_stays_numpy_and_jax_stays_jax():
    boxes = np.array([[0.0, 0, 1, 1]], np.float32)
    assert type(iou(boxes, boxes)) is np.ndarray
    assert isinstance(iou(boxes, jnp.asarray(boxes)), jax.Array)
    assert isinstance(cxcywh_to_xyxy(jnp.asarray(boxes)), jax.Array)


@pytest.mark.parametrize("box", [[0.5, 0.5, 0.5, 0.5], [0.2, 0.2, 0.2, 0.9], [0.9, 0.9, 0.1, 0.1]])
def test_iou_of_a_box_without_area_has_a_finite_gradient(box):
    box = jnp.array(box)
    value, gradient = jax.value_and_grad(iou)(box, box)
    assert value == 0
    assert jnp.isfinite(gradient).all()
