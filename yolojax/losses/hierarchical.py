"""The class term of classes that form a WordTree (YOLO9000 paper, section 4; region_layer.c).

The class loss of a label is -log of its probability: a cross-entropy in each group of siblings on
its path. Nodes below the label get no gradient. An image with a label alone trains the anchor
position where the label has the largest probability.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from yolojax.heads.yolov2 import AnchorOutputs
from yolojax.losses.matcher import Assignment
from yolojax.losses.targets import Targets
from yolojax.losses.terms import ClassTerm
from yolojax.suggestions import choose
from yolojax.wordtree.softmax import (
    group_log_softmax,
    group_sum,
    groups_on_path,
    path_log_prob,
    path_log_probs,
)
from yolojax.wordtree.tree import Layout, bucket_layout, make_tree

IMAGE_IOU = 0.3  # paper, section 4: the "at least" .3 IoU assumed of an image without boxes
IMAGE_SEMANTICS = ("paper", "darknet9000", "darknet")


class Examples(NamedTuple):
    """The labels that the classes are trained on, E per image."""

    position: jax.Array  # int32 [B, E], index in H * W * A
    node: jax.Array  # int32 [B, E]
    mask: jax.Array  # bool [B, E], False on padding


def tree_class_term(
    tree, image_semantics: str, class_weight: float, object_weight: float
) -> Callable:
    """Make the class term of classes that form a tree; see `losses.terms.flat_class_term`.

    The class channels of raw are in the order of `bucket_layout`. A batch with label int32 [B]
    has images with a label alone: those without boxes whose label is a node, 0 or more (-1: the
    image is empty). For such an image

    * the class term is that of the position with the largest objectness * probability of the label;
    * the objectness of all other positions has the target 0, with noobject_weight (Darknet; the
      paper does not mention it);
    * boxes get no gradient, nor during the warm-up.

    Further metrics, means over such images, 0 without any:

    * image_objectness, image_class_prob: at the chosen position;
    * image_count: the number of such images.

    Args:
        tree: the parent of each node, -1 for a root.
        image_semantics: the objectness target of the chosen position:

            * paper: IMAGE_IOU, the overlap that is assumed;
            * darknet9000: IMAGE_IOU if the objectness is less (Darknet at the time of the paper);
            * darknet: none (Darknet since).
        class_weight: weight of the class term.
        object_weight: weight of the objectness of a chosen position.

    Raises:
        ValueError: the tree or the semantics are invalid; when called, raw has another number of
            classes than the tree.
    """
    layout = bucket_layout(make_tree(tree))
    choose("loss.image_semantics", image_semantics, IMAGE_SEMANTICS)

    def class_term(raw, outputs: AnchorOutputs, assignment: Assignment, targets: Targets, batch):
        examples = _examples_of_boxes(assignment, batch["labels"])
        if "label" not in batch:
            term = _path_term(raw, examples, layout, outputs, assignment, class_weight)
            return targets, term, {}
        label_only = (batch["label"] >= 0) & ~batch["mask"].any(axis=1)
        chosen = _best_position(outputs, batch["label"], layout)
        examples = _with_images(examples, label_only, chosen, batch["label"])
        targets = _with_image_targets(
            targets, outputs, label_only, chosen, object_weight, image_semantics
        )
        term = _path_term(raw, examples, layout, outputs, assignment, class_weight)
        return targets, term, _image_metrics(outputs, label_only, chosen, term)

    return class_term


def _examples_of_boxes(assignment: Assignment, labels) -> Examples:
    """Return each ground-truth box at each of its K positions: E = M * K."""
    position, valid = assignment.candidates
    mask = valid & assignment.gt_mask[..., None]
    node = jnp.broadcast_to(labels[..., None], position.shape)
    return Examples(*(array.reshape(len(labels), -1) for array in (position, node, mask)))


def _path_term(
    raw, examples: Examples, layout: Layout, outputs: AnchorOutputs, assignment: Assignment, weight
) -> ClassTerm:
    """Compute the class term along the paths of `examples`.

    Only the logits at their positions are read, so that only the gradient is as large as `raw`. If
    two examples share a position, the later one decides in each group that both paths pass
    (delta_region_class).
    """
    chex.assert_equal_shape(examples)
    batch, *_, channels = raw.shape
    per_position = channels // outputs.objectness.shape[3]
    rows = raw.reshape(batch, -1, per_position)
    rows = jnp.take_along_axis(rows, examples.position[..., None], axis=1)
    logits = rows[..., 5:]  # [B, E, N]
    log_probs = path_log_probs(logits, examples.node, layout)  # [B, E, D]
    weight = weight * _deciding(examples, layout)
    probs = jnp.exp(jnp.sum(log_probs, axis=-1))
    return ClassTerm(
        cost=-jnp.sum(weight * log_probs, axis=-1),
        darknet_cost=jnp.sum(weight**2 * _squared_deltas(logits, examples.node, layout)) / batch,
        class_prob=probs.reshape(assignment.candidates.position.shape)[..., 0],
    )


def _deciding(examples: Examples, layout: Layout):
    """Return the groups on its path that each example trains, bool [B, E, D]."""
    path = jnp.asarray(layout.path)[examples.node]
    group = jnp.where(path >= 0, jnp.asarray(layout.tree.group)[path], -1)
    order = jnp.arange(examples.position.shape[1])
    shared = examples.position[:, :, None] == examples.position[:, None]
    later = shared & examples.mask[:, None] & (order[:, None] < order)  # [B, E, E]
    # Paths have one node at each depth, so two paths pass a group at the same depth.
    overruled = later[..., None] & (group[:, :, None] == group[:, None])
    return examples.mask[..., None] & (group >= 0) & ~overruled.any(axis=2)


def _squared_deltas(logits, nodes, layout: Layout):
    """Compute sum((one-hot - p)**2) of each group on the path, [..., D]; for a metric."""
    logits = jax.lax.stop_gradient(logits)
    squares = group_sum(jnp.exp(2 * group_log_softmax(logits, layout)), layout)
    label_prob = jnp.exp(path_log_probs(logits, nodes, layout))
    return 1 - 2 * label_prob + groups_on_path(squares, nodes, layout)


def _best_position(outputs: AnchorOutputs, label, layout: Layout):
    """Return the position int32 [B] of the largest objectness * probability of `label` [B]."""
    batch, *_, nodes = outputs.logits.shape
    logits, objectness = jax.lax.stop_gradient((outputs.logits, outputs.objectness))
    log_prob = path_log_prob(logits.reshape(batch, -1, nodes), label[:, None], layout)
    return jnp.argmax(jnp.log(objectness.reshape(batch, -1)) + log_prob, axis=1).astype(jnp.int32)


def _with_images(examples: Examples, label_only, chosen, label) -> Examples:
    """Put the labels of images with a label alone into the first place of `examples`."""
    first = label_only[:, None] & (jnp.arange(examples.position.shape[1]) == 0)
    return Examples(
        position=jnp.where(first, chosen[:, None], examples.position),
        node=jnp.where(first, label[:, None], examples.node),
        mask=first | examples.mask,
    )


def _with_image_targets(
    targets: Targets, outputs: AnchorOutputs, label_only, chosen, object_weight, semantics
) -> Targets:
    """Replace the targets of images with a label alone."""
    batch, *shape = outputs.objectness.shape
    here = jax.nn.one_hot(chosen, np.prod(shape), dtype=bool) & label_only[:, None]
    here = here.reshape(batch, *shape)
    weight = {
        "paper": object_weight,
        "darknet9000": object_weight * (outputs.objectness < IMAGE_IOU),
        "darknet": 0.0,
    }[semantics]
    return targets._replace(
        prior=targets.prior * ~label_only.reshape(-1, 1, 1, 1),
        object=jnp.where(here, weight, targets.object),
        object_target=jnp.where(here, IMAGE_IOU, targets.object_target),
        noobject=targets.noobject * ~here,
    )


def _image_metrics(outputs: AnchorOutputs, label_only, chosen, classes: ClassTerm) -> dict:
    objectness = outputs.objectness.reshape(len(chosen), -1)
    objectness = jnp.take_along_axis(objectness, chosen[:, None], axis=1)[:, 0]
    count = jnp.sum(label_only)

    def mean(values):
        return jnp.sum(jnp.where(label_only, values, 0)) / jnp.maximum(count, 1)

    return {
        "image_objectness": mean(objectness),
        "image_class_prob": mean(classes.class_prob[:, 0]),
        "image_count": count,
    }
