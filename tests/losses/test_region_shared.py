"""Several ground-truth boxes at one anchor position, beside the rule of region_layer.c in NumPy."""

import jax
import numpy as np
import pytest

from yolojax.losses.region import region_loss
from yolojax.wordtree.tree import bucket_layout, make_tree

ANCHORS = ((1.0, 1.0), (2.0, 1.0))
SIDE, CLASSES, WEIGHT = 2, 5, 0.7
TREE = (-1, -1, 0, 0, 0)
LATE = 20000
KINDS = {
    "softmax": {"class_activation": "softmax"},
    "sigmoid": {"class_activation": "sigmoid"},
    "tree": {"tree": TREE},
}


def shared_batch():
    """Three boxes at position 1 (of column 0 and row 0), two at 0 and one at 6; then padding.

    The first class of a box at position 0 is class 0, whose delta the rule looks at.
    """
    wide, tall = (0.05, 0.1, 0.85, 0.5), (0.1, 0.05, 0.4, 0.45)
    far = (0.6, 0.6, 0.9, 0.9)
    boxes = [wide, wide, tall, wide, tall, far, (0, 0, 1, 1)]
    return {
        "boxes": np.array([boxes], np.float32),
        "labels": np.array([[3, 1, 0, 3, 4, 2, 1]], np.int32),
        "mask": np.array([[True] * 6 + [False]]),
    }


PLACES = ((1, 3), (1, 1), (0, 0), (1, 3), (0, 4), (6, 2))  # (position, label) of each box, in order


def activated(logits, kind):
    if kind == "sigmoid":
        return 1 / (1 + np.exp(-logits))
    groups = [[0, 1], [2, 3, 4]] if kind == "tree" else [list(range(CLASSES))]
    probs = np.zeros_like(logits)
    for group in groups:
        odds = np.exp(logits[:, group])
        probs[:, group] = odds / odds.sum(axis=1, keepdims=True)
    return probs


def class_deltas(probs, kind):
    """The deltas [N, C] that the boxes leave, one after the other."""
    delta = np.zeros_like(probs)
    for place, label in PLACES:
        p, row = probs[place], delta[place]
        if kind == "tree":
            node = label
            while node >= 0:
                siblings = [i for i in range(CLASSES) if TREE[i] == TREE[node]]
                row[siblings] = -WEIGHT * p[siblings]
                row[node] = WEIGHT * (1 - p[node])
                node = TREE[node]
        elif kind == "sigmoid" and row[0] != 0:  # the position has a label: only its own class
            row[label] = WEIGHT * (1 - p[label])
        else:
            row[:] = -WEIGHT * p
            row[label] = WEIGHT * (1 - p[label])
    return delta


@pytest.mark.parametrize("kind", KINDS)
def test_class_deltas_equal_darknets(kind):
    values = np.random.default_rng(1).normal(size=(SIDE * SIDE * 2, 5 + CLASSES))
    order = bucket_layout(make_tree(TREE)).node if kind == "tree" else np.arange(CLASSES)
    raw = values[:, np.concatenate([np.arange(5), 5 + order])].reshape(1, SIDE, SIDE, -1)
    loss = region_loss(
        anchors=ANCHORS, class_weight=WEIGHT, object_weight=0, noobject_weight=0, coord_weight=0,
        **KINDS[kind],
    )  # fmt: skip
    run = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (_, metrics), slope = run(raw.astype(np.float32), shared_batch(), LATE)
    wanted = class_deltas(activated(values[:, 5:], kind), kind)
    found = np.zeros_like(wanted)
    found[:, order] = -np.asarray(slope).reshape(len(values), -1)[:, 5:]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    assert metrics["darknet_cost"] == pytest.approx((wanted**2).sum(), rel=1e-4)
