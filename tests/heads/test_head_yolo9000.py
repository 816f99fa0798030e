from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolojax.heads import yolov2
from yolojax.heads.predictions import scores
from yolojax.heads.yolo9000 import decode, decode_classes
from yolojax.ops.boxes import xyxy_to_cxcywh
from yolojax.wordtree.tree import bucket_layout, leaves, make_tree

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "tree_small.npz")
TREE = GOLDEN["tree_parent"].tolist()
LAYOUT = bucket_layout(make_tree(TREE))
ANCHORS = GOLDEN["anchors"]
BOXES = 36  # 3 rows, 4 columns, 3 anchors
CASES = {"t24_h50": (0.24, 0.5), "t24_h10": (0.24, 0.1), "t05_h50": (0.05, 0.5)}


def channels(array):
    """[B, A, 5 + N, H, W], classes in the order of nodes -> [B, H, W, A * (5 + N)], of channels."""
    order = np.concatenate([np.arange(5), 5 + LAYOUT.node])
    return array[:, :, order].transpose(0, 3, 4, 1, 2).reshape(len(array), 3, 4, -1)


RAW = channels(GOLDEN["raw"])[:1]
every_slot = jax.jit(
    partial(decode, anchors=ANCHORS, tree=TREE, max_tree_boxes=BOXES),
    static_argnames=("nodes", "tree_semantics"),
)


def best_first(rows, objectness):
    """Darknet's rows (anchor, row, column) with an objectness, the best first."""
    order = np.argsort(-objectness, kind="stable")
    return rows[order[: np.count_nonzero(objectness)]]


@pytest.mark.parametrize("case", CASES)
def test_decode_equals_darknets_get_region_detections(case):
    threshold, tree_threshold = CASES[case]
    objectness = GOLDEN[f"dec_{case}_obj"]
    boxes, prob = (best_first(GOLDEN[f"dec_{case}_{x}"], objectness) for x in ("boxes", "prob"))
    out = every_slot(RAW, tree_threshold=tree_threshold, tree_semantics="darknet")

    count = int((out.objectness[0] > threshold).sum())
    assert count == len(prob) > 3
    np.testing.assert_array_equal(out.labels[0, :count, 0], prob.argmax(axis=1))
    assert np.count_nonzero(prob) == count  # one class of each slot
    np.testing.assert_allclose(scores(out)[0, :count, 0], prob.max(axis=1), rtol=1e-5)
    width, height, *_ = GOLDEN["dec_args"]
    relative = GOLDEN["dec_args"][-1]
    ours = xyxy_to_cxcywh(out.boxes[0, :count]) * (1 if relative else [width, height] * 2)
    np.testing.assert_allclose(ours, boxes, rtol=1e-5, atol=1e-6)


def test_in_the_papers_semantics_the_score_is_the_probability_of_the_node():
    act = GOLDEN["dec_t05_h50_act_after"]  # [A, 5 + N, H, W]: Darknet leaves the absolute ones
    act = act.transpose(2, 3, 0, 1).reshape(BOXES, -1)
    act = act[np.argsort(-act[:, 4], kind="stable")]
    out = every_slot(RAW, tree_threshold=0.1)
    nodes = np.asarray(out.labels[0, :, 0])
    np.testing.assert_allclose(
        scores(out)[0, :, 0], act[:, 4] * act[np.arange(BOXES), 5 + nodes], rtol=1e-5
    )
    assert len(set(LAYOUT.tree.depth[nodes])) == 3  # it stops at every level


def test_mapped_classes_have_their_nodes_probability():
    act = GOLDEN["dec_t05_h50_act_after"].transpose(2, 3, 0, 1).reshape(BOXES, -1)
    act = act[np.argsort(-act[:, 4], kind="stable")]
    nodes = tuple(GOLDEN["map"].tolist())
    out = every_slot(RAW, nodes=nodes)
    np.testing.assert_allclose(out.class_probs[0], act[:, 5:][:, nodes], rtol=1e-5)


def test_the_boxes_of_best_objectness_are_decoded():
    flat = yolov2.decode(RAW, ANCHORS)
    order = np.argsort(-flat.objectness[0])[:5]
    out = jax.jit(partial(decode, anchors=ANCHORS, tree=TREE, max_tree_boxes=5))(RAW)
    np.testing.assert_array_equal(out.objectness[0], flat.objectness[0, order])
    np.testing.assert_array_equal(out.boxes[0], flat.boxes[0, order])
    every = every_slot(RAW)
    np.testing.assert_array_equal(out.labels, every.labels[:, :5])
    np.testing.assert_allclose(out.class_probs, every.class_probs[:, :5], rtol=1e-6)


def test_one_level_is_yolov2():
    raw = np.random.default_rng(0).normal(size=(2, 2, 3, 2 * 9)).astype(np.float32)
    anchors, tree = [(1.0, 1.0), (2.0, 1.0)], [-1] * 4
    flat = yolov2.decode(raw, anchors)
    out = jax.jit(partial(decode, anchors=anchors, tree=tree, nodes=range(4)))(raw)
    order = np.argsort(-flat.objectness, axis=1)[..., None]
    wanted = np.take_along_axis(np.asarray(scores(flat)), order, axis=1)
    np.testing.assert_allclose(scores(out), wanted, rtol=1e-5)


def test_a_classifier_has_probabilities_of_leaves():
    probs = decode_classes(GOLDEN["h_logits"][:, LAYOUT.node], TREE)
    np.testing.assert_allclose(probs, GOLDEN["h_abs_leaves"], rtol=1e-5)
    some = decode_classes(GOLDEN["h_logits"][:, None, None, LAYOUT.node], TREE, nodes=[4, 20])
    assert leaves(LAYOUT.tree).tolist().count(4) == 0
    np.testing.assert_allclose(some[:, [4, 20]], GOLDEN["h_abs"][:, [4, 20]], rtol=1e-5)
    assert np.count_nonzero(some) == 2 * len(some)


@pytest.mark.parametrize(
    ("raw", "options", "message"),
    [
        (RAW[..., :-3], {}, "a tree of 26 nodes needs as many class channels, got 25"),
        (RAW[..., :-1], {}, "A = 3 anchors"),
        (RAW, {"nodes": [26]}, "nodes holds 26"),
        (RAW, {"tree_semantics": "v2"}, "tree_semantics is .v2.; known: paper"),
        (RAW, {"tree_threshold": 50.0}, "tree_threshold must be a probability, .* got 50"),
        (RAW, {"tree_threshold": -0.1, "nodes": [3]}, "from 0 to 1; got -0.1"),
        (RAW, {"tree_threshold": float("nan")}, "from 0 to 1; got nan"),
    ],
)
def test_invalid_arguments_are_named(raw, options, message):
    with pytest.raises(ValueError, match=message):
        decode(raw, ANCHORS, TREE, **options)


def test_a_classifier_of_another_tree_is_named():
    with pytest.raises(ValueError, match=r"a tree of 26 nodes .* got 7"):
        decode_classes(jnp.zeros((1, 7)), TREE)
