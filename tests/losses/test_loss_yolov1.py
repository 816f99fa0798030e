from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cell_truths import batch_of_cells
from hypothesis import given, settings
from hypothesis import strategies as st

from yolojax.heads.yolov1 import decode_boxes, split
from yolojax.losses.yolov1 import assign_cells, yolov1_loss
from yolojax.ops.boxes import cxcywh_to_xyxy, iou, xyxy_to_cxcywh

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = {
    "main": {},
    "norescore": {"rescore": False},
    "nosqrt": {"square_root": False},
    "softmax": {"class_softmax": True},
}


def golden_of(boxes):
    golden = np.load(GOLDEN / f"detection_v1_n{boxes}.npz")
    return golden, batch_of_cells(golden["truth"], 7)


def batch_of(*boxes, labels=None, mask=None):
    """One image with boxes xyxy."""
    boxes = np.array(boxes, np.float32).reshape(1, -1, 4)
    labels = np.zeros(boxes.shape[1]) if labels is None else labels
    mask = np.ones(boxes.shape[1]) if mask is None else mask
    return {
        "boxes": boxes,
        "labels": np.array(labels, np.int32)[None],
        "mask": np.array(mask, bool)[None],
    }


def raw_of(side, classes, *boxes):
    """All 0 but for (confidence, x, y, w, h) of `boxes`, those of each cell."""
    boxes = np.tile(np.array(boxes, np.float32), (side**2, 1))
    return jnp.asarray(np.r_[np.zeros(side**2 * classes), boxes[:, 0], boxes[:, 1:].ravel()][None])


@cache
def compiled(side, boxes, **options):
    return jax.jit(jax.value_and_grad(yolov1_loss(side=side, boxes=boxes, **options), has_aux=True))


def run(raw, batch, side=1, boxes=1, **options):
    """(metrics, gradient) on the host."""
    (total, metrics), slope = compiled(side, boxes, **options)(raw, batch, 0)
    assert total == metrics["loss"]
    return jax.device_get((metrics, slope))


@partial(jax.jit, static_argnames=("side", "boxes"))
def assigned(raw, batch, side, boxes):
    return assign_cells(decode_boxes(split(raw, side, boxes), True), batch)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("boxes", [2, 3])
def test_gradient_and_cost_equal_darknets(boxes, case):
    golden, batch = golden_of(boxes)
    metrics, slope = run(golden["raw"], batch, 7, boxes, **CASES[case])
    # atol: the boxes passed through the corners of their boxes in float32.
    np.testing.assert_allclose(-slope * 2, golden[f"{case}_delta"], rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(metrics["darknet_cost"] * 2, golden[f"{case}_cost"], rtol=1e-6)
    assert metrics["count"] == 7


@pytest.mark.parametrize("boxes", [2, 3])
def test_the_responsible_boxes_are_darknets(boxes):
    golden, batch = golden_of(boxes)
    found = jax.device_get(assigned(golden["raw"], batch, 7, boxes))
    assert (found.responsible.sum(-1) == found.has_box).all()
    ours = np.where(found.has_box, found.responsible.argmax(-1), -1)
    np.testing.assert_array_equal(ours.reshape(2, 49), golden["responsible"])


def equation_3(raw, truths, side, boxes, classes):
    """The paper's loss of one image, cell by cell; truths {cell: (box, label)}."""
    logits, confidence, shapes = np.split(
        raw.astype(np.float64), [side**2 * classes, side**2 * (classes + boxes)]
    )
    confidence, shapes = confidence.reshape(-1, boxes), shapes.reshape(-1, boxes, 4)
    total = 0.5 * np.sum(confidence**2)
    for cell, (box, label) in truths.items():
        row, column = divmod(cell, side)
        truth = xyxy_to_cxcywh(box)
        predicted = np.concatenate(
            [(shapes[cell, :, :2] + [column, row]) / side, shapes[cell, :, 2:] ** 2], axis=-1
        )
        ious = iou(cxcywh_to_xyxy(predicted), box)
        nearness = -np.sum((predicted - truth) ** 2, axis=-1)
        best = max(range(boxes), key=lambda i: (ious[i], nearness[i]))
        place = np.sum((truth[:2] * side - [column, row] - shapes[cell, best, :2]) ** 2)
        size = np.sum((truth[2:] ** 0.5 - shapes[cell, best, 2:]) ** 2)
        score = confidence[cell, best]
        total += 5 * (place + size) + (score - ious[best]) ** 2 - 0.5 * score**2
        total += np.sum((logits.reshape(-1, classes)[cell] - np.eye(classes)[label]) ** 2)
    return total


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 2), min_size=3, max_size=3))
def test_paper_semantics_is_equation_3(seed, labels):
    random = np.random.default_rng(seed)
    raw = random.uniform(-0.2, 0.9, (1, 4 * (3 + 2 * 5))).astype(np.float32)
    boxes = np.sort(random.uniform(size=(3, 2, 2)), axis=1).reshape(3, 4).astype(np.float32)
    truths = {}
    for box, label in zip(boxes, labels, strict=True):
        column, row = (xyxy_to_cxcywh(box)[:2] * 2).astype(int)
        truths.setdefault(int(row * 2 + column), (box, label))
    metrics, _ = run(raw, batch_of(*boxes, labels=labels), 2, 2, semantics="paper")
    assert metrics["loss"] == pytest.approx(equation_3(raw[0], truths, 2, 2, 3), rel=1e-5)


def test_a_perfect_box_of_half_confidence():
    # One cell and one class; the box of the middle quarter, whose roots are 1/2.
    metrics, _ = run(
        raw_of(1, 1, [0.5, 0.5, 0.5, 0.5, 0.5]), batch_of([0.375, 0.375, 0.625, 0.625])
    )
    assert metrics["loss_coord"] == 0
    assert metrics["loss_object"] == 0.125  # (1 - 1/2)**2 / 2
    assert metrics["loss_noobject"] == 0
    assert metrics["loss_class"] == 0.5  # (1 - 0)**2 / 2
    assert metrics["darknet_cost"] == 1.25
    assert metrics["avg_iou"] == metrics["recall50"] == metrics["recall75"] == 1
    assert metrics["objectness_on"] == metrics["objectness_off"] == 0.5
    assert metrics["class_prob"] == 0
    assert metrics["count"] == 1


def test_the_paper_doubles_the_loss_but_not_the_cost():
    raw, batch = raw_of(2, 3, [0.3, 0.1, 0.2, 0.5, 0.6]), batch_of([0.1, 0.2, 0.7, 0.6])
    (ours, slope), (papers, steeper) = (
        run(raw, batch, 2, semantics=s) for s in ("darknet", "paper")
    )
    np.testing.assert_allclose(steeper, 2 * slope)
    assert papers["darknet_cost"] == ours["darknet_cost"]
    for name in ours:
        if name.startswith("loss"):
            assert papers[name] == 2 * ours[name]


def test_an_image_without_boxes_has_only_the_noobject_term():
    raw = raw_of(3, 2, [0.5, 1, 1, 1, 1], [-1, 0, 0, 0, 0])
    metrics, slope = run(raw, batch_of([0, 0, 1, 1], mask=[False]), 3, 2)
    assert metrics["loss"] == metrics["loss_noobject"] == pytest.approx(9 * 0.5 * (0.25 + 1) / 2)
    assert metrics["count"] == metrics["avg_iou"] == metrics["class_prob"] == 0
    assert not slope[0, :18].any()
    assert not slope[0, 36:].any()


def test_the_first_valid_box_of_a_cell_is_assigned():
    boxes, labels = [[0.1, 0.1, 0.4, 0.4], [0.2, 0.2, 0.5, 0.5]], [1, 0]
    raw = raw_of(1, 2, [0, 0.25, 0.25, 0.3**0.5, 0.3**0.5]).at[0, 1].set(1.0)  # the first box
    metrics, _ = run(raw, batch_of(*boxes, labels=labels))
    assert metrics["loss_coord"] == pytest.approx(0, abs=1e-12)
    assert metrics["loss_class"] == 0
    assert metrics["class_prob"] == metrics["count"] == 1
    for other in (
        batch_of(*boxes, labels=labels, mask=[0, 1]),
        batch_of(*boxes[::-1], labels=[0, 1]),
    ):
        metrics, _ = run(raw, other)
        assert metrics["loss_coord"] == pytest.approx(5 * 2 * 0.1**2 / 2, rel=1e-5)
        assert metrics["loss_class"] == 1


def test_boxes_in_two_cells_are_both_assigned():
    raw = raw_of(2, 1, [0, 0.5, 0.5, 0.5, 0.5])
    metrics, slope = run(raw, batch_of([0.1, 0.1, 0.3, 0.3], [0.1, 0.6, 0.3, 0.8]), 2)
    assert metrics["count"] == 2
    assert np.flatnonzero(slope[0, :4]).tolist() == [0, 2]  # the first cells of both rows


def test_a_centre_on_the_far_edge_belongs_to_the_last_cell():
    _, slope = run(raw_of(2, 1, [0, 0.5, 0.5, 0.5, 0.5]), batch_of([0.9, 0.9, 1.1, 1.1]), 2)
    assert np.flatnonzero(slope[0, :4]).tolist() == [3]


def responsible(truth, *boxes):
    """Which of the boxes (x, y, root w, root h) of a single cell is responsible."""
    raw = raw_of(1, 1, *[(0, *box) for box in boxes])
    found = assigned(raw, batch_of(truth), 1, len(boxes))
    return np.flatnonzero(found.responsible).tolist()


def test_the_box_with_the_largest_iou_is_responsible_and_the_first_of_equals():
    far_but_over, near = (0.5, 0.5, 1, 1), (0.5, 0.5, 0.5, 0.5)
    truth = [0.375, 0.375, 0.625, 0.625]
    assert responsible(truth, far_but_over, near) == [1]
    assert responsible(truth, near, near) == [0]


def test_where_nothing_overlaps_the_nearest_box_is_responsible():
    truth = [0.0, 0.0, 0.1, 0.1]
    far, near = (0.9, 0.9, 0.1, 0.1), (0.5, 0.5, 0.1, 0.1)
    assert responsible(truth, far, near) == [1]
    assert responsible(truth, near, near) == [0]
    # One that overlaps at all is preferred, however little it has of the place and shape.
    assert responsible(truth, near, (0.9, 0.9, 1.3, 1.3)) == [1]


def test_what_stands_in_the_padding_does_not_matter():
    golden, batch = golden_of(2)
    padding = ~batch["mask"]
    garbage = batch | {
        "boxes": np.where(padding[..., None], np.float32(np.nan), batch["boxes"]),
        "labels": np.where(padding, np.int32(99), batch["labels"]),
    }
    clean, dirty = (run(golden["raw"], b, 7, 2) for b in (batch, garbage))
    jax.tree.map(np.testing.assert_array_equal, clean, dirty)


@pytest.mark.parametrize("options", [{}, {"square_root": False}, {"class_softmax": True}])
@pytest.mark.parametrize("value", [0.0, 1e3, -1e3, 1e8])
@pytest.mark.parametrize(
    "batch",
    [
        batch_of([0, 0, 0, 0], [np.nan] * 4, mask=[0, 0]),
        batch_of([0.5, 0.5, 0.5, 0.9], [0.2, 0.2, 0.1, 0.1]),
        batch_of([0, 0, 1e-5, 1e-5], [0, 0, 1, 1]),
    ],
    ids=["no boxes", "no area", "tiny and full"],
)
def test_loss_and_gradient_stay_finite(batch, value, options):
    raw = jnp.full((1, 4 * (3 + 2 * 5)), value)
    for part in jax.tree.leaves(run(raw, batch, 2, 2, **options)):
        assert np.isfinite(part).all()


def test_no_gradient_flows_through_the_iou_target():
    """With confidence at the IoU nothing is left to learn, although the box moves it."""
    raw, batch = raw_of(1, 1, [0.5, 0.5, 0.5, 1, 1]), batch_of([0.0, 0, 1, 0.5])
    metrics, slope = run(raw, batch, coord_weight=0.0, class_weight=0.0)
    assert metrics["avg_iou"] == 0.5
    assert not slope.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side": 0, "boxes": 2}, "side must be at least 1, got 0"),
        ({"side": 7, "boxes": 0}, "boxes must be at least 1, got 0"),
        ({"side": 7, "boxes": 2, "semantics": "Paper"}, "known: darknet, paper"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        yolov1_loss(**options)
