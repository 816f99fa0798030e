from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolojax.heads.predictions import scores
from yolojax.heads.yolov2 import class_probs, decode, decode_boxes, offset_target, split
from yolojax.ops.boxes import xyxy_to_cxcywh
from yolojax.ops.nms import nms

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "region_v2.npz")
LOCATIONS = ("sigmoid", "anchor")


def channels_last(array):
    """[B, A, 5 + C, H, W] of the golden files -> [B, H, W, A * (5 + C)]."""
    batch, anchors, values, height, width = array.shape
    return array.transpose(0, 3, 4, 1, 2).reshape(batch, height, width, anchors * values)


def slots_in_our_order(rows):
    """Rows ordered by (anchor, row, column) -> by (row, column, anchor)."""
    return rows.reshape(5, 13, 13, -1).transpose(1, 2, 0, 3).reshape(845, -1)


def test_a_zero_output_is_the_anchor_in_the_middle_of_its_cell():
    # 1 row of 2 columns, anchors of 1x1 and 2x0.5 cells, 2 classes
    out = decode(jnp.zeros((1, 1, 2, 14)), [(1.0, 1.0), (2.0, 0.5)])
    wanted = [[0, 0, 0.5, 1], [-0.25, 0.25, 0.75, 0.75], [0.5, 0, 1, 1], [0.25, 0.25, 1.25, 0.75]]
    np.testing.assert_allclose(out.boxes[0], wanted, atol=1e-6)
    np.testing.assert_array_equal(out.objectness, np.full((1, 4), 0.5))
    np.testing.assert_array_equal(out.class_probs, np.full((1, 4, 2), 0.5))
    np.testing.assert_array_equal(scores(out), np.full((1, 4, 2), 0.25))


def test_activations_equal_darknets():
    outputs = split(channels_last(GOLDEN["raw"]), 5)
    act = GOLDEN["act"].transpose(0, 3, 4, 1, 2)
    parts = (outputs.offset, outputs.log_scale, outputs.objectness[..., None])
    ours = np.concatenate([*parts, jax.nn.softmax(outputs.logits)], axis=-1)
    np.testing.assert_allclose(ours, act, rtol=1e-5, atol=1e-6)


def test_decode_equals_darknets_get_region_detections():
    out = decode(channels_last(GOLDEN["raw"])[:1], GOLDEN["anchors"])
    boxes = slots_in_our_order(GOLDEN["decode_rel_square_boxes"])
    objectness = slots_in_our_order(GOLDEN["decode_rel_square_obj"])[:, 0]
    prob = slots_in_our_order(GOLDEN["decode_rel_square_prob"])
    threshold = GOLDEN["decode_rel_square_args"][4]  # Darknet writes 0 for what is not above it

    np.testing.assert_allclose(xyxy_to_cxcywh(out.boxes[0]), boxes, rtol=1e-5, atol=1e-6)
    above = np.asarray(out.objectness[0] > threshold)
    np.testing.assert_allclose(np.where(above, out.objectness[0], 0), objectness, rtol=1e-5)
    ours = np.asarray(scores(out)[0])
    ours = np.where(above[:, None] & (ours > threshold), ours, 0)
    np.testing.assert_allclose(ours, prob, rtol=1e-5)
    assert np.count_nonzero(prob) > 50


def test_decode_then_nms_equals_darknets():
    """On the network's input; Darknet undoes the letterbox first, which leaves IoU as it is."""
    out = decode(channels_last(GOLDEN["raw"])[:1], GOLDEN["anchors"])
    wanted = slots_in_our_order(GOLDEN["decode_abs_letter_prob_after_nms_sort45"])
    kept = nms(
        out.boxes,
        scores(out),
        iou_threshold=0.45,
        score_threshold=float(GOLDEN["decode_abs_letter_args"][4]),
        top_k=1000,
        max_detections=1000,
    )
    count = int(kept.count[0])
    assert count == np.count_nonzero(wanted) < np.count_nonzero(GOLDEN["decode_abs_letter_prob"])
    box, label = np.nonzero(wanted)
    order = np.argsort(-wanted[box, label])
    np.testing.assert_allclose(kept.scores[0, :count], wanted[box, label][order], rtol=1e-5)
    np.testing.assert_array_equal(kept.labels[0, :count], label[order])
    np.testing.assert_array_equal(kept.boxes[0, :count], out.boxes[0][box[order]])


def test_centres_of_location_anchor_are_in_anchors_from_the_middle_of_the_cell():
    # 1 row of 2 columns, 1 anchor of 2x0.5 cells; t_x of half an anchor, t_y of two less than 0
    raw = jnp.zeros((1, 1, 2, 6)).at[..., 0].set(0.5).at[..., 1].set(-2.0)
    out = decode(raw, [(2.0, 0.5)], location="anchor")
    centres = xyxy_to_cxcywh(out.boxes[0])[:, :2] * np.array([2, 1])  # in cells
    np.testing.assert_allclose(centres, [[1.5, -0.5], [2.5, -0.5]], atol=1e-6)


@pytest.mark.parametrize("location", LOCATIONS)
def test_offset_targets_are_what_decode_boxes_makes_the_centre_of(location):
    anchors = np.array([(2.0, 0.5), (0.7, 3.0)], np.float32)
    inside = np.random.default_rng(0).uniform(size=(1, 3, 2, 2, 2)).astype(np.float32)
    outputs = split(jnp.zeros((1, 3, 2, 12)), 2, location)
    outputs = outputs._replace(offset=offset_target(inside, anchors, location))
    centres = xyxy_to_cxcywh(decode_boxes(outputs, anchors, location))[..., :2] * np.array([2, 3])
    corners = np.stack(np.meshgrid(np.arange(2), np.arange(3)), axis=-1)[None, :, :, None]
    np.testing.assert_allclose(centres - corners, inside, atol=1e-6)


def test_the_objectness_logit_is_the_raw_value():
    raw = jax.random.normal(jax.random.key(0), (1, 2, 3, 14))
    outputs = split(raw, 2)
    np.testing.assert_array_equal(outputs.objectness_logit, np.asarray(raw)[..., [4, 11]])
    np.testing.assert_array_equal(jax.nn.sigmoid(outputs.objectness_logit), outputs.objectness)


def test_classes_by_themselves_are_the_sigmoid_of_their_logits():
    raw = jnp.zeros((1, 1, 1, 8)).at[..., 5:].set(jnp.array([0.0, np.log(3.0), -np.log(3.0)]))
    out = decode(raw, [(1.0, 1.0)], class_activation="sigmoid")
    np.testing.assert_allclose(out.class_probs[0, 0], [0.5, 0.75, 0.25], rtol=1e-6)


def test_unknown_names_are_those_of_the_config():
    with pytest.raises(
        ValueError, match=r"config\.model\.location is 'cell'; known: sigmoid, anch"
    ):
        decode(jnp.zeros((1, 1, 1, 6)), [(1.0, 1.0)], location="cell")
    with pytest.raises(ValueError, match=r"config\.model\.class_activation is 'relu'"):
        class_probs(jnp.zeros(3), "relu")


def area_and_place(raw, location):
    boxes = xyxy_to_cxcywh(decode(raw, [(16.62, 11.88)], location=location).boxes)
    return jnp.sum(boxes[..., 2] * boxes[..., 3]) + jnp.sum(boxes[..., :2])


@pytest.mark.parametrize("location", LOCATIONS)
@pytest.mark.parametrize("value", [1e3, 1e30, -1e3, -1e30])
def test_huge_outputs_give_finite_boxes_areas_and_gradients(value, location):
    raw = jnp.full((1, 1, 1, 7), value)
    found = jax.tree.leaves(decode(raw, [(16.62, 11.88)], location=location))
    gradient = jax.jit(jax.grad(area_and_place), static_argnums=1)(raw, location)
    for part in (*found, area_and_place(raw, location), gradient):
        assert jnp.isfinite(part).all()


@pytest.mark.parametrize("shape", [(1, 13, 13, 125), (1, 13, 13, 15), (13, 13, 75)])
def test_an_output_that_does_not_fit_the_anchors_is_named(shape):
    with pytest.raises(ValueError, match="A = 3 anchors"):
        decode(jnp.zeros(shape), np.ones((3, 2)))
