"""The loss of a classifier whose classes form a WordTree (YOLO9000 paper, section 4)."""

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
from yolojax.wordtree.tree import Layout, bucket_layout, check_nodes, leaves, make_tree


def tree_classification_loss(*, tree, nodes=(), label_smoothing: float = 0.0):
    """Make `loss(raw, batch, seen) -> (scalar, metrics)`: the mean of -log(probability of label).

    Args:
        tree: the parent of each node, -1 for a root.
        nodes: those that are classes; () = the leaves, as the paper counts. The others never win,
            so an accuracy over the 1000 of ImageNet is one over 1000 and not over 1369.
        label_smoothing: share of the target that is spread over the group, in each on the path.

    `loss` takes raw [B, N] or [B, 1, 1, N], the logits in the order of `bucket_layout`; a batch
    with label int32 [B], a node; and `seen`, which it has no use for. A label outside 0..N-1, such
    as the -1 of an image that fills up a batch, counts for nothing. The metrics are scalars:

    * loss: the scalar;
    * top1, top5: the share of labels among the one or five (all, of fewer) likeliest `nodes`;
    * path: the share of the nodes from the root to the label that lie on the path to the likeliest;
    * count: the number of labels.

    Raises:
        ValueError: the tree or the nodes are none, or label_smoothing is not in 0..1, 1 excluded.
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must be in 0..1, 1 excluded, got {label_smoothing}.")
    layout = bucket_layout(make_tree(tree))
    classes = check_nodes(nodes, layout.tree) if len(nodes) else leaves(layout.tree)

    def loss(raw, batch, seen):
        logits, labels = flat_logits(raw), batch["label"]
        mask = (labels >= 0) & (labels < logits.shape[-1])
        count = jnp.sum(mask)

        def mean(values):
            return jnp.sum(jnp.where(mask, values, 0)) / jnp.maximum(count, 1)

        right = -path_log_prob(logits, labels, layout)
        total = mean(right)
        if label_smoothing:
            spread = mean(_spread(logits, labels, layout))
            total = (1 - label_smoothing) * total + label_smoothing * spread
        ranked = likeliest(logits, classes, layout)
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


def likeliest(logits, classes: np.ndarray, layout: Layout):
    """The five (all, of fewer) likeliest of the nodes `classes`, int32 [B, 5], the best first."""
    log_probs = absolute_log_probs(group_log_softmax(logits, layout), layout)[:, classes]
    return jnp.asarray(classes)[jax.lax.top_k(log_probs, min(5, len(classes)))[1]]


def shared_path(found, labels, layout: Layout):
    """The share [B] of the path to each of `labels` that `found` [B] has too; ancestors count."""
    path = jnp.asarray(layout.path)
    on = path[labels] >= 0
    return jnp.sum(on & (path[labels] == path[found]), axis=-1) / jnp.sum(on, axis=-1)


def _spread(logits, labels, layout: Layout):
    """-log of the probabilities of siblings, averaged over each group on the path, summed [B]."""
    conditional = group_log_softmax(logits, layout)
    sizes = jnp.asarray(layout.tree.group_size[np.argsort(layout.rank)])
    means = group_sum(conditional, layout) / sizes
    return -jnp.sum(groups_on_path(means, labels, layout), axis=-1)
