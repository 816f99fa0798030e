"""Hierarchical prediction: descend a WordTree while the probability is large enough."""

import jax
import jax.numpy as jnp
from jax import lax

from yolojax.suggestions import choose
from yolojax.wordtree.softmax import each_bucket, square
from yolojax.wordtree.tree import Bucket, Layout

SEMANTICS = ("paper", "darknet")


def descend(conditional, threshold, layout: Layout, semantics: str = "paper"):
    """Descend from the root to the most probable child of each node, up to a threshold.

    A child is accepted while the probability of the path to it exceeds the threshold (YOLO9000
    paper, section 4). If no root is accepted, the result is the most probable root.

    Args:
        conditional: [..., N], from `group_log_softmax`.
        threshold: a probability, which may be traced.
        semantics: "paper" multiplies the conditional probabilities on the path; "darknet" the
            absolute ones, and so stops earlier (tree.c hierarchy_top_prediction, which
            get_region_detections calls after hierarchy_predictions).

    Returns:
        The nodes, int32 [...], and the log of their (absolute) probability [...].

    Raises:
        ValueError: the semantics are unknown, or the threshold is not in 0..1.
    """
    check_descent(threshold, semantics)
    tree, limit = layout.tree, jnp.log(threshold)
    best = each_bucket(_bucket_best, conditional, layout)  # the channel, [..., G]
    ranks, nodes = jnp.asarray(layout.rank), jnp.asarray(layout.node)
    children = jnp.asarray(tree.child_group)

    def most_probable(group):
        channel = jnp.take_along_axis(best, ranks[group][..., None], axis=-1)
        return nodes[channel[..., 0]], jnp.take_along_axis(conditional, channel, axis=-1)[..., 0]

    def step(_, state):
        node, log_prob, product, group = state
        child, value = most_probable(group)
        absolute = log_prob + value
        further = product + (absolute if semantics == "darknet" else value)
        go = (group >= 0) & (further > limit)
        return (
            jnp.where(go, child, node),
            jnp.where(go, absolute, log_prob),
            jnp.where(go, further, product),
            jnp.where(go, children[child], -1),
        )

    top = jnp.zeros(conditional.shape[:-1], jnp.int32)
    root, root_log_prob = most_probable(top)
    zero = jnp.zeros_like(root_log_prob)
    steps = int(tree.depth.max()) + 1
    node, log_prob, *_ = lax.fori_loop(0, steps, step, (top - 1, zero, zero, top))
    return jnp.where(node < 0, root, node), jnp.where(node < 0, root_log_prob, log_prob)


def check_descent(threshold, semantics: str) -> None:
    """Raise ValueError for arguments that `descend` refuses; a JAX threshold is not checked."""
    choose("eval.tree_semantics", semantics, SEMANTICS)
    if not isinstance(threshold, jax.Array) and not 0 <= threshold <= 1:
        raise ValueError(f"tree_threshold must be a probability, from 0 to 1; got {threshold}.")


def _bucket_best(values, bucket: Bucket):
    """Return the channel of the largest value of each group, the first of equals."""
    place = jnp.arange(bucket.groups, dtype=jnp.int32)
    if bucket.member_major:
        best = jnp.argmax(square(values, bucket), axis=-2).astype(jnp.int32)
        return bucket.start + best * bucket.groups + place
    best = jnp.argmax(square(values, bucket), axis=-1).astype(jnp.int32)
    return bucket.start + place * bucket.size + best
