from functools import cache
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from yolojax.losses.region import region_loss
from yolojax.ops.boxes import cxcywh_to_xyxy
from yolojax.wordtree.tree import bucket_layout, make_tree

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "tree_small.npz")
TREE = tuple(GOLDEN["tree_parent"].tolist())
ANCHORS = tuple(map(tuple, GOLDEN["anchors"].tolist()))
UNIT = ((1.0, 1.0),)
ANIMALS = (-1, -1, 0, 0)  # 0 animal (2 dog, 3 cat), 1 thing
NODES = 5 + bucket_layout(make_tree(ANIMALS)).position  # their channels in a cell of one anchor


def in_layout(array, tree=TREE):
    """[B, A, 5 + N, H, W], classes in the order of nodes -> [B, H, W, A * (5 + N)], of channels."""
    order = np.concatenate([np.arange(5), 5 + bucket_layout(make_tree(tree)).node])
    batch, anchors, values, height, width = array.shape
    array = array[:, :, order].transpose(0, 3, 4, 1, 2)
    return array.reshape(batch, height, width, anchors * values)


def golden_batch(truth):
    """Darknet writes 999999 for the box of an image that has a label alone."""
    truth = truth.astype(np.float64)
    real = (truth[..., 0] != 0) & (truth[..., 0] < 1e5)
    alone = truth[:, 0, 0] > 1e5
    return {
        "boxes": cxcywh_to_xyxy(truth[..., :4]).astype(np.float32),
        "labels": truth[..., 4].astype(np.int32),
        "mask": real,
        "label": np.where(alone, truth[:, 0, 4], -1).astype(np.int32),
    }


def batch_of(boxes=(), labels=(), label=-1, places=2):
    """One image; its boxes are padded to `places`."""
    count = len(boxes)
    batch = {
        "boxes": np.zeros((1, places, 4), np.float32),
        "labels": np.zeros((1, places), np.int32),
        "mask": (np.arange(places) < count)[None],
        "label": np.array([label], np.int32),
    }
    batch["boxes"][0, :count], batch["labels"][0, :count] = np.reshape(boxes, (-1, 4)), labels
    return batch


@cache
def compiled(anchors, tree, **options):
    loss = region_loss(anchors=anchors, tree=tree, **options)
    return jax.jit(jax.value_and_grad(loss, has_aux=True))


def run(raw, batch, seen=20000, anchors=UNIT, tree=ANIMALS, **options):
    """(scalar, metrics, gradient) on the host."""
    (total, metrics), slope = compiled(anchors, tree, **options)(raw, batch, seen)
    return jax.device_get((total, metrics, slope))


@pytest.mark.parametrize(("case", "seen"), [("", 20000), ("b_", 0)])
def test_gradient_and_cost_equal_darknets(case, seen):
    """Image 0 has boxes, image 1 a label; case b has one below which the tree goes on."""
    raw, batch = in_layout(GOLDEN["raw"]), golden_batch(GOLDEN[f"{case}truth"])
    # Darknet maps the labels of boxes to nodes; labels of padding may be anything.
    batch["labels"] = np.take(GOLDEN["map"].astype(np.int32), batch["labels"], mode="clip")
    _, metrics, slope = run(raw, batch, seen, ANCHORS, TREE, image_semantics="darknet")
    wanted = in_layout(GOLDEN[f"{case}delta_raw"])
    np.testing.assert_allclose(-slope * len(raw), wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(metrics["darknet_cost"] * len(raw), GOLDEN[f"{case}cost"], rtol=1e-4)
    assert metrics["image_count"] == (GOLDEN[f"{case}truth"][:, 0, 0] > 1e5).sum() > 0


def test_one_level_is_the_flat_softmax():
    key = np.random.default_rng(0)
    raw = key.normal(size=(2, 3, 4, 2 * 12)).astype(np.float32)
    corner, size = key.uniform(0, 0.6, (2, 6, 2)), key.uniform(0.1, 0.4, (2, 6, 2))
    corner[:, 3], size[:, 3] = corner[:, 2], size[:, 2]  # two boxes at one position
    batch = {
        "boxes": np.concatenate([corner, corner + size], axis=-1).astype(np.float32),
        "labels": key.integers(7, size=(2, 6)).astype(np.int32),
        "mask": np.arange(6) < np.array([[6], [4]]),
    }
    anchors = ((1.0, 1.0), (2.0, 1.0))
    flat = jax.jit(jax.value_and_grad(region_loss(anchors=anchors), has_aux=True))
    tree = compiled(anchors, (-1,) * 7)
    for seen in (0, 20000):
        ours, wanted = tree(raw, batch, seen), flat(raw, batch, seen)
        chex.assert_trees_all_close(ours, wanted, rtol=2e-5, atol=1e-6)


def test_a_label_trains_the_groups_on_its_path():
    raw = jnp.zeros((1, 1, 1, 9))
    whole = [[0.0, 0, 1, 1]]
    assert run(raw, batch_of(whole, [0]))[1]["loss_class"] == pytest.approx(np.log(2))
    _, metrics, slope = run(raw, batch_of(whole, [2]))
    assert metrics["loss_class"] == pytest.approx(2 * np.log(2))  # P(animal) = P(dog | animal) = .5
    assert metrics["class_prob"] == pytest.approx(0.25)
    assert metrics["darknet_cost"] == pytest.approx(2 * 0.5 + (5 * 0.5) ** 2)
    np.testing.assert_allclose(slope[0, 0, 0, NODES], [-0.5, 0.5, -0.5, 0.5])
    thing = run(raw, batch_of(whole, [1]))[2][0, 0, 0, NODES]
    np.testing.assert_allclose(thing, [0.5, -0.5, 0, 0])  # dogs and cats have no gradient


def test_the_later_of_two_boxes_at_a_position_decides_in_shared_groups():
    """As delta_region_class; groups of the earlier box alone are still trained."""
    raw, whole = jnp.zeros((1, 1, 1, 9)), [0.0, 0, 1, 1]
    slope = run(raw, batch_of([whole, whole], [2, 1]))[2][0, 0, 0, NODES]
    np.testing.assert_allclose(slope, [0.5, -0.5, -0.5, 0.5])  # a thing; were it an animal, a dog
    slope = run(raw, batch_of([whole, whole], [2, 3]))[2][0, 0, 0, NODES]
    np.testing.assert_allclose(slope, [-0.5, 0.5, 0.5, -0.5])


def two_cells(sure: float):
    """Cell 0 has objectness .5 and says nothing; cell 1 the objectness `sure` and P(dog) = .96."""
    raw = np.zeros((1, 1, 2, 9), np.float32)
    raw[..., 1, 4] = np.log(sure / (1 - sure))
    raw[..., 1, NODES[[0, 2]]] = 4.0
    return raw


@pytest.mark.parametrize(
    ("sure", "semantics", "push"),
    [
        (0.2, "paper", 5 * 0.1),
        (0.2, "darknet9000", 5 * 0.1),
        (0.2, "darknet", 0.0),
        (0.6, "paper", -5 * 0.3),
        (0.6, "darknet9000", 0.0),
        (0.6, "darknet", 0.0),
    ],
)
def test_a_label_alone_trains_the_position_where_it_is_most_probable(sure, semantics, push):
    # .2 * .96 and .6 * .96 are both more than .5 * .25.
    raw, batch = two_cells(sure), batch_of(label=2)
    _, metrics, slope = run(raw, batch, 0, image_semantics=semantics)
    assert metrics["image_objectness"] == pytest.approx(sure)
    assert metrics["image_class_prob"] == pytest.approx(1 / (1 + np.exp(-4)) ** 2)
    assert metrics["image_count"] == 1
    assert metrics["count"] == metrics["loss_coord"] == metrics["class_prob"] == 0
    assert slope[0, 0, 0, 4] == pytest.approx(0.5 * 0.25)  # drawn to 0
    assert slope[0, 0, 1, 4] == pytest.approx(-push * sure * (1 - sure))
    assert not slope[..., :4].any()
    assert not slope[0, 0, 0, 5:].any()
    off = 1 / (1 + np.exp(4))
    np.testing.assert_allclose(slope[0, 0, 1, NODES], [-off, off, -off, off], rtol=1e-5)


def test_the_best_position_has_the_largest_objectness_times_probability():
    raw = two_cells(0.1)  # .1 * .96 is less than .5 * .25
    slope = run(raw, batch_of(label=2))[2]
    assert slope[0, 0, 0, 5:].any()
    assert not slope[0, 0, 1, 5:].any()


@pytest.mark.parametrize("label", [-1, 2])
def test_boxes_come_before_the_label_of_their_image(label):
    raw, boxes = two_cells(0.6), [[0.0, 0, 0.5, 1]]
    plain = batch_of(boxes, [1])
    jax.tree.map(
        np.testing.assert_array_equal,
        run(raw, plain),
        run(raw, plain | {"label": np.array([label])}),
    )


def test_images_of_both_kinds_share_a_batch():
    key = np.random.default_rng(0)
    raw = key.normal(size=(3, 2, 3, 9)).astype(np.float32)
    batches = [batch_of([[0.1, 0.2, 0.5, 0.9]], [3]), batch_of(label=2), batch_of()]
    together = {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}
    for seen in (0, 20000):
        alone = [run(raw[i : i + 1], batch, seen) for i, batch in enumerate(batches)]
        total, _, slope = run(raw, together, seen)
        np.testing.assert_allclose(total, np.mean([a[0] for a in alone]), rtol=1e-5)
        wanted = np.concatenate([a[2] for a in alone]) / 3
        np.testing.assert_allclose(slope, wanted, rtol=1e-5, atol=1e-7)


def test_a_batch_without_the_key_label_has_no_such_images():
    raw, batch = two_cells(0.6), batch_of()
    (total, _), slope = compiled(UNIT, ANIMALS)(
        raw, {name: value for name, value in batch.items() if name != "label"}, 0
    )
    wanted, _, wanted_slope = run(raw, batch, 0)
    assert total == wanted
    np.testing.assert_array_equal(slope, wanted_slope)


def test_autodiff_equals_finite_differences():
    with jax.enable_x64(True):
        raw = np.random.default_rng(0).normal(size=(1, 2, 3, 9))
        loss = jax.jit(region_loss(anchors=UNIT, tree=ANIMALS, rescore=False))
        for batch in (batch_of([[0.1, 0.2, 0.5, 0.9]] * 2, [3, 1]), batch_of(label=3)):
            check_grads(lambda raw: loss(raw, batch, 0)[0], (raw,), 1, ["rev"])


@pytest.mark.parametrize("value", [0.0, 1e3, -1e3, 1e8])
@pytest.mark.parametrize("label", [-1, 3])
def test_loss_and_gradient_stay_finite(value, label):
    raw = jnp.full((1, 1, 2, 9), value)
    for batch in (batch_of(label=label), batch_of([[0.5, 0.5, 0.5, 0.9]], [2])):
        for part in jax.tree.leaves(run(raw, batch, 0)):
            assert np.isfinite(part).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"image_semantics": "Darknet"},
            "loss.image_semantics is .Darknet.; known: paper, darknet9000",
        ),
        ({"tree": [-1, 5]}, "node 1 has parent 5"),
        ({"anchors": []}, "anchors must be pairs"),
    ],
)
def test_invalid_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        region_loss(**({"anchors": UNIT, "tree": ANIMALS} | options))


def test_an_output_of_another_tree_is_named():
    with pytest.raises(ValueError, match=r"a tree of 4 nodes .* got 3"):
        compiled(UNIT, ANIMALS)(jnp.zeros((1, 1, 1, 8)), batch_of(), 0)
