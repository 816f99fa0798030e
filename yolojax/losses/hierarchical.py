"""Losses of classes that form a WordTree (YOLO9000 paper, section 4; Darknet's region_layer.c).

The class loss of a label is -log of its probability, a cross-entropy in each group on its path;
what lies below the label learns nothing. An image known by its label alone teaches the slot that
finds the label likeliest.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from yolojax.heads.yolov2 import Slots
from yolojax.losses.assign import Assignment
from yolojax.losses.classes import ClassTerm
from yolojax.losses.targets import Aims
from yolojax.suggestions import choose
from yolojax.wordtree.softmax import (
    group_log_softmax,
    group_sum,
    groups_on_path,
    path_log_prob,
    path_log_probs,
)
from yolojax.wordtree.tree import Layout, bucket_layout, check_nodes, make_tree

IMAGE_IOU = 0.3  # paper, section 4: what the box of an image without boxes overlaps "at least"
IMAGE_SEMANTICS = ("paper", "darknet9000", "darknet")


class Examples(NamedTuple):
    """What the classes learn from, M places per image."""

    slot: jax.Array  # int32 [B, M], index in H * W * A
    node: jax.Array  # int32 [B, M]
    mask: jax.Array  # bool [B, M], the places in use


def tree_classes(tree, nodes, image_semantics: str, class_weight: float, object_weight: float):
    """Make the lesson of classes that form a tree; see `losses.classes.flat_classes`.

    The class channels of raw are in the order of `bucket_layout`. An image without boxes has a
    label if its batch has label int32 [B], a node, of 0 or more (-1: it is an image with nothing on
    it). Then

    * its classes are those of the slot with the largest objectness times probability of the label;
    * the objectness of all other slots is drawn to 0, with noobject_weight (Darknet; of them the
      paper says nothing);
    * its boxes learn nothing, during the warm-up neither.

    More metrics, averaged over such images, 0 without any:

    * image_objectness, image_class_prob: of the chosen slot and of the label there;
    * image_count: the number of such images.

    Args:
        tree: the parent of each node, -1 for a root.
        nodes: the node of each label of a box, such as coco9k.map's; () if labels are nodes.
        image_semantics: what the objectness of the chosen slot learns from an image that has a
            label alone:

            * paper: to be IMAGE_IOU, the overlap that is assumed;
            * darknet9000: to be IMAGE_IOU if it is less (Darknet at the time of the paper);
            * darknet: nothing (Darknet since).
        class_weight: of the class term.
        object_weight: of the objectness of a chosen slot.

    Raises:
        ValueError: the tree, the nodes or the semantics are none; or, from the lesson, the tree is
            not that of raw.
    """
    layout = bucket_layout(make_tree(tree))
    nodes = check_nodes(nodes, layout.tree)
    choose("loss.image_semantics", image_semantics, IMAGE_SEMANTICS)

    def lesson(raw, slots: Slots, found: Assignment, aims: Aims, batch):
        labels = jnp.asarray(nodes)[batch["labels"]] if len(nodes) else batch["labels"]
        examples = _of_truths(found, labels)
        if "label" not in batch:
            return aims, _path_term(raw, examples, layout, slots, found, class_weight), {}
        alone = (batch["label"] >= 0) & ~batch["mask"].any(axis=1)
        chosen = _likeliest_slot(slots, batch["label"], layout)
        examples = _with_images(examples, alone, chosen, batch["label"])
        aims = _aim_at_images(aims, slots, alone, chosen, object_weight, image_semantics)
        term = _path_term(raw, examples, layout, slots, found, class_weight)
        return aims, term, _image_quality(slots, alone, chosen, term)

    return lesson


def _of_truths(found: Assignment, labels) -> Examples:
    """The truths at all their slots; M is the number of truths times that of slots each has."""
    slot, mask = found.slots.slot, found.slots.valid & found.truth_mask[..., None]
    node = jnp.broadcast_to(labels[..., None], slot.shape)
    return Examples(*(array.reshape(len(labels), -1) for array in (slot, node, mask)))


def _path_term(
    raw, examples: Examples, layout: Layout, slots: Slots, found: Assignment, weight
) -> ClassTerm:
    """The class term along the paths of `examples`.

    Only their slots are looked at, so nothing but the gradient is as large as `raw`. Of two that
    share a slot, the later rules in each group that it meets (delta_region_class).
    """
    batch, *_, values = raw.shape
    per_slot = values // slots.objectness.shape[3]
    rows = raw.reshape(batch, -1, per_slot)
    rows = jnp.take_along_axis(rows, examples.slot[..., None], axis=1)
    logits = rows[..., 5:]  # [B, M, N]
    log_probs = path_log_probs(logits, examples.node, layout)  # [B, M, D]
    weight = weight * _ruling(examples, layout)
    return ClassTerm(
        cost=-jnp.sum(weight * log_probs, axis=-1),
        darknet_cost=jnp.sum(weight**2 * _squared_deltas(logits, examples.node, layout)) / batch,
        class_prob=jnp.exp(jnp.sum(log_probs, axis=-1)).reshape(found.slots.slot.shape)[..., 0],
    )


def _ruling(examples: Examples, layout: Layout):
    """Which groups on its path, bool [B, M, D], each example teaches."""
    path = jnp.asarray(layout.path)[examples.node]
    group = jnp.where(path >= 0, jnp.asarray(layout.tree.group)[path], -1)
    order = jnp.arange(examples.slot.shape[1])
    meets = (examples.slot[:, :, None] == examples.slot[:, None]) & examples.mask[:, None]
    meets &= order[:, None] < order  # [B, M, M]: the second is the later
    # Paths have one node at each depth, so a group is met at its own depth or not at all.
    overruled = meets[..., None] & (group[:, :, None] == group[:, None])
    return examples.mask[..., None] & (group >= 0) & ~overruled.any(axis=2)


def _squared_deltas(logits, nodes, layout: Layout):
    """sum((one-hot - p)**2) of each group on the path, [..., D]; a metric."""
    logits = jax.lax.stop_gradient(logits)
    squares = group_sum(jnp.exp(2 * group_log_softmax(logits, layout)), layout)
    right = jnp.exp(path_log_probs(logits, nodes, layout))
    return 1 - 2 * right + groups_on_path(squares, nodes, layout)


def _likeliest_slot(slots: Slots, label, layout: Layout):
    """The slot int32 [B] of the largest objectness times probability of `label` int32 [B]."""
    batch, *_, nodes = slots.logits.shape
    logits, objectness = jax.lax.stop_gradient((slots.logits, slots.objectness))
    log_prob = path_log_prob(logits.reshape(batch, -1, nodes), label[:, None], layout)
    return jnp.argmax(jnp.log(objectness.reshape(batch, -1)) + log_prob, axis=1).astype(jnp.int32)


def _with_images(examples: Examples, alone, chosen, label) -> Examples:
    """`examples` with the label of an image that has it `alone` in the first place."""
    first = alone[:, None] & (jnp.arange(examples.slot.shape[1]) == 0)
    return Examples(
        slot=jnp.where(first, chosen[:, None], examples.slot),
        node=jnp.where(first, label[:, None], examples.node),
        mask=first | examples.mask,
    )


def _aim_at_images(aims: Aims, slots: Slots, alone, chosen, object_weight, semantics) -> Aims:
    """`aims` with what images that have a label `alone` teach instead."""
    batch, *shape = slots.objectness.shape
    here = jax.nn.one_hot(chosen, np.prod(shape), dtype=bool) & alone[:, None]
    here = here.reshape(batch, *shape)
    weight = {
        "paper": object_weight,
        "darknet9000": object_weight * (slots.objectness < IMAGE_IOU),
        "darknet": 0.0,
    }[semantics]
    return aims._replace(
        prior=aims.prior * ~alone.reshape(-1, 1, 1, 1),
        object=jnp.where(here, weight, aims.object),
        object_target=jnp.where(here, IMAGE_IOU, aims.object_target),
        noobject=aims.noobject * ~here,
    )


def _image_quality(slots: Slots, alone, chosen, classes: ClassTerm):
    objectness = slots.objectness.reshape(len(chosen), -1)
    objectness = jnp.take_along_axis(objectness, chosen[:, None], axis=1)[:, 0]
    count = jnp.sum(alone)

    def mean(values):
        return jnp.sum(jnp.where(alone, values, 0)) / jnp.maximum(count, 1)

    metrics = {
        "image_objectness": mean(objectness),
        "image_class_prob": mean(classes.class_prob[:, 0]),
        "image_count": count,
    }
    return jax.lax.stop_gradient(metrics)
