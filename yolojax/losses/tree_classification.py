"""The loss of a classifier whose classes form a WordTree (YOLO9000 paper, section 4)."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from yolojax.heads.classes import flat_logits
from yolojax.wordtree.softmax import (
    absolute_log_probs,
    group_log_softmax,
    group_sum,
    groups_on_path,
    path_log_prob,
)
from yolojax.wordtree.tree import Layout, bucket_layout, leaves, make_tree


def tree_classification_loss(*, tree, label_smoothing: float = 0.0):
    """Make `loss(raw, batch, seen) -> (scalar, metrics)`, the mean of -log(probability of label).

    Args:
        tree: the parent of each node, -1 for a root.
        label_smoothing: share of the target that is spread over each group on the path.

    `loss` takes raw [B, N] or [B, 1, 1, N], the logits in the order of `bucket_layout`; a batch
    with label int32 [B], a node; and `seen`, which is not used. Images with a label outside
    0..N-1, such as the -1 of padding, are left out. The metrics are scalars:

    * loss: the scalar;
    * top1, top5: the share of labels among the one or five (at most all) most probable leaves; the
      paper counts leaves only, so that the accuracy on ImageNet is over 1000 and not 1369 classes;
    * path: the share of the nodes from the root to the label that are on the path to the most
      probable leaf;
    * count: the number of labels.

    Raises:
        ValueError: the tree is invalid, or label_smoothing is not in 0..1, 1 excluded.
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must be in 0..1, 1 excluded, got {label_smoothing}.")
    layout = bucket_layout(make_tree(tree))
    classes = leaves(layout.tree)

    def loss(raw, batch, seen):
        logits, labels = flat_logits(raw), batch["label"]
        mask = (labels >= 0) & (labels < logits.shape[-1])
        count = jnp.sum(mask)

        def mean(values):
            return jnp.sum(jnp.where(mask, values, 0)) / jnp.maximum(count, 1)

        cost = -path_log_prob(logits, labels, layout)
        total = mean(cost)
        if label_smoothing:
            spread = mean(_spread(logits, labels, layout))
            total = (1 - label_smoothing) * total + label_smoothing * spread
        ranked = top_classes(logits, classes, layout)
        hits = ranked == labels[:, None]
        metrics = {
            "loss": total,
            "top1": mean(hits[:, 0]),
            "top5": mean(hits.any(axis=-1)),
            "path": mean(shared_path(ranked[:, 0], labels, layout)),
            "count": count,
        }
        return total, jax.lax.stop_gradient(metrics)

    return loss


def top_classes(logits, classes: np.ndarray, layout: Layout):
    """Return the five (at most all) most probable of the nodes `classes`, int32 [B, 5]."""
    log_probs = absolute_log_probs(group_log_softmax(logits, layout), layout)[:, classes]
    return jnp.asarray(classes)[jax.lax.top_k(log_probs, min(5, len(classes)))[1]]


def shared_path(predicted, labels, layout: Layout):
    """Compute the share [B] of the nodes on the path to each label that `predicted` [B] shares."""
    chex.assert_equal_shape([predicted, labels])
    path = jnp.asarray(layout.path)
    on = path[labels] >= 0
    return jnp.sum(on & (path[labels] == path[predicted]), axis=-1) / jnp.sum(on, axis=-1)


def _spread(logits, labels, layout: Layout):
    """Average -log(probability) over each group on the path, and sum over the path, [B]."""
    conditional = group_log_softmax(logits, layout)
    sizes = jnp.asarray(layout.tree.group_size[np.argsort(layout.rank)])
    means = group_sum(conditional, layout) / sizes
    return -jnp.sum(groups_on_path(means, labels, layout), axis=-1)
