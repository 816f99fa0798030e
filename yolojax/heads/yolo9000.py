"""Decode the raw output of networks whose classes form a WordTree (YOLO9000 paper, section 4).

As in YOLOv2, but the class logits are in the order of `bucket_layout`, with one softmax for each
group of siblings.
"""

import jax
import jax.numpy as jnp

from yolojax.heads.classes import flat_logits
from yolojax.heads.predictions import Predictions
from yolojax.heads.yolov2 import decode_boxes, split
from yolojax.wordtree.descent import check_descent, descend
from yolojax.wordtree.softmax import absolute_log_probs, absolute_log_probs_of, group_log_softmax
from yolojax.wordtree.tree import bucket_layout, check_nodes, leaves, make_tree


def decode(
    raw,
    anchors,
    tree,
    *,
    location: str = "sigmoid",
    nodes=(),
    tree_threshold: float = 0.5,
    tree_semantics: str = "paper",
    max_tree_boxes: int = 300,
) -> Predictions:
    """Decode a batch at the `max_tree_boxes` positions of best objectness in each image.

    With `nodes` the classes are these nodes: class_probs [B, K, S] are their absolute
    probabilities. Without, each box has one class, the node that `descend` reaches, with its
    absolute probability. Darknet uses 1 instead, so that the score is the objectness
    (get_region_detections).

    Args:
        raw: [B, H, W, A * (5 + N)], the network's output.
        anchors: [A, 2], (w, h) in grid cells.
        tree: the parent of each node, -1 for a root.
        location: as in heads.yolov2.decode_boxes.
        nodes: the nodes of the classes of a data set, such as those of coco9k.map.
        tree_threshold: 0..1, see `descend`.
        tree_semantics: see `descend`.
        max_tree_boxes: number of boxes whose N probabilities are computed.

    Raises:
        ValueError: `raw` does not fit the number of anchors or of nodes; the tree, the nodes, the
            threshold, the semantics or the location are invalid.
    """
    check_descent(tree_threshold, tree_semantics)
    layout = bucket_layout(make_tree(tree))
    check_nodes(nodes, layout.tree)
    outputs = split(raw, len(anchors), location)
    batch, *_, classes = outputs.logits.shape
    objectness = outputs.objectness.reshape(batch, -1)
    objectness, best = jax.lax.top_k(objectness, min(max_tree_boxes, objectness.shape[1]))
    rows = jnp.take_along_axis(raw.reshape(batch, -1, 5 + classes), best[..., None], axis=1)
    boxes = decode_boxes(outputs, anchors, location).reshape(batch, -1, 4)
    boxes = jnp.take_along_axis(boxes, best[..., None], axis=1)
    conditional = group_log_softmax(rows[..., 5:], layout)
    if len(nodes):
        log_probs = absolute_log_probs_of(conditional, nodes, layout)
        labels = jnp.broadcast_to(jnp.asarray(nodes, jnp.int32), log_probs.shape)
        return Predictions(boxes, objectness, jnp.exp(log_probs), labels)
    labels, log_prob = descend(conditional, tree_threshold, layout, tree_semantics)
    probs = jnp.ones_like(log_prob) if tree_semantics == "darknet" else jnp.exp(log_prob)
    return Predictions(boxes, objectness, probs[..., None], labels[..., None])


def decode_classes(raw, tree, *, nodes=()):
    """Compute absolute probabilities [B, N] from a classifier's raw [B, 1, 1, N] or [B, N].

    They are 0 for all nodes but `nodes`, by default the leaves, so that the best classes are among
    these (tree.c, hierarchy_predictions with only_leaves).

    Raises:
        ValueError: raw has another shape; the tree or the nodes are invalid.
    """
    layout = bucket_layout(make_tree(tree))
    logits = flat_logits(raw)
    shown = check_nodes(nodes, layout.tree) if len(nodes) else leaves(layout.tree)
    probs = jnp.exp(absolute_log_probs(group_log_softmax(logits, layout), layout))
    return jnp.zeros_like(probs).at[:, shown].set(probs[:, shown])
