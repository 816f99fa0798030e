from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from yolojax.losses.region import region_loss
from yolojax.ops.boxes import cxcywh_to_xyxy

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "region_v2.npz")
CASES = {
    "warm": ({}, 0),
    "main": ({}, 20000),
    "main_norescore": ({"rescore": False}, 20000),
    "main_nobiasmatch": ({"assignment": "predicted_shape"}, 20000),
}
LATE = 20000  # images: past the warm-up
UNIT = ((1.0, 1.0),)  # one anchor of one cell
HALF = ((0.5, 0.5),)
TWO = ((1.0, 1.0), (2.0, 1.0))
VOC = tuple(map(tuple, GOLDEN["anchors"].tolist()))


def channels_last(array):
    """[B, A, 5 + C, H, W] of the golden files -> [B, H, W, A * (5 + C)]."""
    batch, anchors, values, height, width = array.shape
    return array.transpose(0, 3, 4, 1, 2).reshape(batch, height, width, anchors * values)


def golden_batch():
    truth = GOLDEN["truth"].astype(np.float64)
    return {
        "boxes": cxcywh_to_xyxy(truth[..., :4]).astype(np.float32),
        "labels": truth[..., 4].astype(np.int32),
        "mask": truth[..., 0] != 0,
    }


def batch_of(*boxes, labels=None, images=1):
    """The same xyxy boxes in each image."""
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    labels = np.zeros(len(boxes)) if labels is None else labels
    return {
        "boxes": np.tile(boxes, (images, 1, 1)),
        "labels": np.tile(np.asarray(labels, np.int32), (images, 1)),
        "mask": np.ones((images, len(boxes)), bool),
    }


def no_boxes(images=1, padding=2):
    batch = batch_of(*[[0.0, 0, 0, 0]] * padding, images=images)
    return batch | {"mask": np.zeros((images, padding), bool)}


@cache
def compiled(anchors, **options):
    return jax.jit(jax.value_and_grad(region_loss(anchors=anchors, **options), has_aux=True))


def run(raw, batch, seen=LATE, anchors=UNIT, **options):
    """(scalar, metrics, gradient) on the host."""
    (total, metrics), slope = compiled(anchors, **options)(raw, batch, seen)
    return jax.device_get((total, metrics, slope))


@pytest.mark.parametrize("case", CASES)
def test_gradient_and_cost_equal_darknets(case):
    options, seen = CASES[case]
    raw = channels_last(GOLDEN["raw"])
    _, metrics, slope = run(raw, golden_batch(), seen, VOC, **options)
    wanted = channels_last(GOLDEN[f"{case}_delta_raw"])
    # atol: where a target nearly equals the value, their difference has float32's error of both.
    np.testing.assert_allclose(-slope * len(raw), wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        metrics["darknet_cost"] * len(raw), GOLDEN[f"{case}_cost"], rtol=1e-4
    )


def test_a_perfect_box_of_even_objectness():
    # One cell, raw zeros: the box is the anchor, objectness 1/2, one class.
    raw = jnp.zeros((1, 1, 1, 6))
    total, metrics, _ = run(raw, batch_of([0.25, 0.25, 0.75, 0.75]), anchors=HALF)
    assert metrics["loss_coord"] == 0
    assert metrics["loss_object"] == 0.625  # 5 * (1 - 1/2)**2 / 2
    assert metrics["loss_noobject"] == 0
    assert metrics["loss_class"] == 0
    assert total == metrics["loss"] == 0.625
    assert metrics["darknet_cost"] == 6.25  # (5 * 1/2)**2
    assert metrics["avg_iou"] == metrics["recall50"] == metrics["recall75"] == 1
    assert metrics["objectness_on"] == metrics["objectness_off"] == 0.5
    assert metrics["class_prob"] == metrics["count"] == 1


@pytest.mark.parametrize(("option", "factor"), [(True, 1.75), (False, 1.0)])
def test_small_boxes_weigh_up_to_twice(option, factor):
    # One cell; the ground truth is the predicted box moved by a quarter: (2 - 1/4) * (1/4)**2 / 2
    raw, batch = jnp.zeros((1, 1, 1, 6)), batch_of([0.5, 0.25, 1, 0.75])
    _, metrics, _ = run(raw, batch, anchors=HALF, small_box_weight=option)
    assert metrics["loss_coord"] == pytest.approx(factor / 32)


def test_an_image_without_boxes_has_only_the_noobject_term():
    raw = jnp.zeros((2, 3, 4, 2 * 8))  # H * W * A = 24 positions of objectness 1/2
    total, metrics, _ = run(raw, no_boxes(images=2), anchors=TWO)
    assert total == metrics["loss_noobject"] == 24 * 0.125
    assert metrics["count"] == metrics["avg_iou"] == metrics["objectness_on"] == 0


@pytest.mark.parametrize(("seen", "pulled"), [(12799, True), (12800, False)])
def test_boxes_are_pulled_to_their_priors_until_12800_images(seen, pulled):
    raw = jnp.zeros((1, 1, 2, 6)).at[..., 2].set(3.0)  # t_w = 3 in both cells
    _, metrics, _ = run(raw, no_boxes(), seen)
    assert metrics["loss_coord"] == pytest.approx(2 * 0.01 * 9 / 2 if pulled else 0)


@pytest.mark.parametrize(("threshold", "pushed"), [(0.55, 1), (0.65, 2)])
def test_a_prediction_near_a_ground_truth_box_is_ignored(threshold, pushed):
    # In cells: the ground truth is [1/4, 5/4], assigned to the first of three. The second predicts
    # [1/2, 3/2], with its centre at the left edge of its cell: IoU 3/4 over 5/4 = .6
    raw = jnp.zeros((1, 1, 3, 6)).at[0, 0, 1, 0].set(-50.0)
    truth = [0.25 / 3, 0, 1.25 / 3, 1]
    _, metrics, _ = run(raw, batch_of(truth), ignore_threshold=threshold)
    assert metrics["loss_noobject"] == pytest.approx(pushed * 0.125)


@pytest.mark.parametrize("last_is_right", [True, False])
def test_the_last_box_at_a_position_is_its_target_and_both_are_counted(last_is_right):
    full, near = [0.0, 0, 1, 1], [0.1, 0.1, 0.9, 0.9]
    raw = jnp.zeros((1, 1, 1, 7)).at[0, 0, 0, 5].set(20.0)  # sure of class 0, the box is full
    boxes, labels = ([near, full], [1, 0]) if last_is_right else ([full, near], [0, 1])
    _, metrics, _ = run(raw, batch_of(*boxes, labels=labels))
    assert metrics["loss_class"] == pytest.approx(0 if last_is_right else 20, abs=1e-5)
    assert (metrics["loss_coord"] == 0) == last_is_right
    assert metrics["count"] == 2
    assert metrics["class_prob"] == pytest.approx(0.5)
    assert metrics["avg_iou"] == pytest.approx((1 + 0.64) / 2)
    assert metrics["recall75"] == 0.5


def test_only_the_cell_of_the_centre_is_responsible_on_a_grid_that_is_not_square():
    raw = jnp.zeros((1, 3, 5, 7))
    batch = batch_of([0.7, 0.1, 0.8, 0.2])  # centre (.75, .15): column 3 of 5, row 0 of 3
    _, _, slope = run(raw, batch)
    told = np.argwhere(np.abs(slope[..., [0, 1, 2, 3, 5, 6]]).sum(-1) > 0)
    assert told.tolist() == [[0, 0, 3]]


def test_what_stands_in_the_padding_does_not_matter():
    raw, batch = channels_last(GOLDEN["raw"]), golden_batch()
    padding = ~batch["mask"]
    garbage = batch | {
        "boxes": np.where(padding[..., None], np.float32(np.nan), batch["boxes"]),
        "labels": np.where(padding, np.int32(99), batch["labels"]),
    }
    clean, dirty = (run(raw, b, anchors=VOC) for b in (batch, garbage))
    jax.tree.map(np.testing.assert_array_equal, clean, dirty)


def test_a_batch_is_the_mean_of_its_images():
    raw, batch = channels_last(GOLDEN["raw"]), golden_batch()
    alone = [
        run(raw[[i, i]], {key: value[[i, i]] for key, value in batch.items()}, 0, VOC)[0]
        for i in range(2)
    ]
    np.testing.assert_allclose(run(raw, batch, 0, VOC)[0], np.mean(alone), rtol=1e-5)


@pytest.mark.parametrize("assignment", ["prior", "predicted_shape"])
@pytest.mark.parametrize("seen", [0, LATE])
@pytest.mark.parametrize("value", [0.0, 1e3, -1e3, 1e8])
@pytest.mark.parametrize(
    "batch",
    [
        no_boxes(),
        batch_of([0.5, 0.5, 0.5, 0.9], [0.2, 0.2, 0.1, 0.1]),
        batch_of([0, 0, 1e-5, 1e-5], [0, 0, 1, 1]),
    ],
    ids=["no boxes", "no area", "tiny and full"],
)
def test_loss_and_gradient_stay_finite(batch, value, seen, assignment):
    raw = jnp.full((1, 2, 2, 2 * 7), value)
    for part in jax.tree.leaves(run(raw, batch, seen, TWO, assignment=assignment)):
        assert np.isfinite(part).all()


def test_autodiff_equals_finite_differences():
    """In float64. Without rescore every target stands still while `raw` moves a little."""
    with jax.enable_x64(True):
        raw = np.random.default_rng(0).normal(size=(2, 2, 3, 2 * 8))
        batch = batch_of([0.1, 0.2, 0.5, 0.9], [0.6, 0.1, 0.9, 0.3], labels=[2, 1], images=2)
        loss = jax.jit(region_loss(anchors=TWO, rescore=False))
        check_grads(lambda raw: loss(raw, batch, 0)[0], (raw,), 1, ["rev"])


def test_no_gradient_flows_through_the_iou_target():
    """With the target at the objectness nothing is left to learn, although the box moves it."""
    raw = jnp.zeros((1, 1, 1, 6))
    batch = batch_of([0.0, 0, 1, 0.5])  # IoU 1/2 with the anchor's box, and objectness 1/2
    _, metrics, slope = run(raw, batch, coord_weight=0.0)
    assert metrics["avg_iou"] == 0.5
    assert not slope.any()


def test_the_program_does_not_grow_with_padding():
    loss, raw = region_loss(anchors=UNIT), jnp.zeros((1, 2, 2, 6))

    def equations(padding):
        return str(jax.make_jaxpr(loss)(raw, no_boxes(padding=padding), 0)).count(" = ")

    assert equations(2) == equations(50) > 100


@pytest.mark.parametrize("anchors", [[], [1.0, 2.0], [[1.0, 0.0]], [[1.0, 2.0, 3.0]]])
def test_anchors_must_be_positive_pairs(anchors):
    with pytest.raises(ValueError, match="anchors must be pairs"):
        region_loss(anchors=anchors)
