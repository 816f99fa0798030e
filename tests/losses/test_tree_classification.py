import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolojax.losses.classification import classification_loss
from yolojax.losses.tree_classification import tree_classification_loss
from yolojax.wordtree.tree import bucket_layout, make_tree

# 0 animal (2 dog (4 terrier), 3 cat), 1 thing
ANIMALS = (-1, -1, 0, 0, 2)
LAYOUT = bucket_layout(make_tree(ANIMALS))


def run(logits, labels, tree=ANIMALS, **options):
    """The metrics and the gradient of logits [B, N] in the order of nodes."""
    layout = bucket_layout(make_tree(tree))
    loss = tree_classification_loss(tree=tree, **options)
    program = jax.jit(jax.value_and_grad(loss, has_aux=True))
    raw = jnp.asarray(logits, jnp.float32)[:, layout.node]
    (total, metrics), slope = program(raw, {"label": jnp.array(labels)}, 0)
    assert total == metrics["loss"]
    return {name: float(value) for name, value in metrics.items()}, slope[:, layout.position]


def test_the_loss_is_that_of_the_softmaxes_on_the_path():
    metrics, slope = run(np.zeros((2, 5)), [3, 1])
    assert metrics["loss"] == pytest.approx((2 * np.log(2) + np.log(2)) / 2)
    np.testing.assert_allclose(slope, [[-0.25, 0.25, 0.25, -0.25, 0], [0.25, -0.25, 0, 0, 0]])


def test_one_level_is_the_flat_classifier():
    logits = np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32)
    labels = [int(logits[0].argmax()), int(logits[1].argmin()), -1, 7]
    flat = jax.jit(jax.value_and_grad(classification_loss(label_smoothing=0.1), has_aux=True))
    (_, wanted), wanted_slope = flat(logits, {"label": jnp.array(labels)}, 0)
    metrics, slope = run(logits, labels, tree=(-1,) * 7, label_smoothing=0.1)
    assert metrics.pop("path") == metrics["top1"] == 0.5
    assert metrics == pytest.approx({name: float(value) for name, value in wanted.items()})
    np.testing.assert_allclose(slope, wanted_slope, atol=1e-6)


def test_accuracy_is_counted_among_leaves():
    # P(animal) = .9, P(dog) = .45: the leaves are thing .1, cat .45 - a bit, terrier .45 + a bit
    logits = np.tile([2.2, 0.0, 0.01, 0.0, 0.0], (4, 1))
    metrics, _ = run(logits, [4, 3, 1, 0])
    assert metrics["top1"] == 0.25
    assert metrics["top5"] == 0.75  # all leaves, but never an inner node
    assert metrics["path"] == pytest.approx((1 + 1 / 2 + 0 + 1) / 4)
    assert metrics["count"] == 4


@pytest.mark.parametrize("nothing", [-1, 5])
def test_a_label_that_is_no_node_counts_for_nothing(nothing):
    logits = np.random.default_rng(0).normal(size=(3, 5))
    alone, _ = run(logits[:1], [3])
    filled, slope = run(logits, [3, nothing, nothing])
    assert filled == pytest.approx(alone)
    assert not slope[1:].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_smoothing": 1.0}, "label_smoothing must be in"),
        ({"tree": []}, "a tree needs the parent"),
    ],
)
def test_what_does_not_fit_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        tree_classification_loss(**({"tree": ANIMALS} | options))
