"""Hierarchical prediction: down a WordTree, as far as the probability allows."""

import jax
import jax.numpy as jnp
from jax import lax

from yolojax.wordtree.softmax import each_bucket, square
from yolojax.wordtree.tree import Bucket, Layout

SEMANTICS = ("paper", "darknet")


def descend(conditional, threshold, layout: Layout, semantics: str = "paper"):
    """Go down from the root, each time to the likeliest child, until it is too unlikely.

    A child is accepted while the probability of the path to it exceeds the threshold (YOLO9000
    paper, section 4). Where not even a root is, the likeliest root is the answer.

    Args:
        conditional: [..., N], from `group_log_softmax`.
        threshold: a probability, which may be traced.
        semantics: "darknet" multiplies the absolute probabilities of the nodes on the path, where
            the paper has conditional ones, and so stops much earlier (tree.c
            hierarchy_top_prediction, which get_region_detections calls after
            hierarchy_predictions).

    Returns:
        The nodes reached, int32 [...], and the log of their (absolute) probability [...].

    Raises:
        ValueError: the semantics have another name, or the threshold is not in 0..1.
    """
    check_descent(threshold, semantics)
    tree, limit = layout.tree, jnp.log(threshold)
    best = each_bucket(_bucket_best, conditional, layout)  # the channel, [..., G]
    ranks, nodes = jnp.asarray(layout.rank), jnp.asarray(layout.node)
    children = jnp.asarray(tree.child_group)

    def likeliest(group):
        channel = jnp.take_along_axis(best, ranks[group][..., None], axis=-1)
        return nodes[channel[..., 0]], jnp.take_along_axis(conditional, channel, axis=-1)[..., 0]

    def step(_, state):
        node, log_prob, product, group = state
        child, value = likeliest(group)
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
    root, root_log_prob = likeliest(top)
    zero = jnp.zeros_like(root_log_prob)
    steps = int(tree.depth.max()) + 1
    node, log_prob, *_ = lax.fori_loop(0, steps, step, (top - 1, zero, zero, top))
    return jnp.where(node < 0, root, node), jnp.where(node < 0, root_log_prob, log_prob)


def check_descent(threshold, semantics: str) -> None:
    """Raises ValueError unless these are what `descend` takes; of a JAX value it cannot be told."""
    if semantics not in SEMANTICS:
        raise ValueError(
            f"tree_semantics must be one of {', '.join(SEMANTICS)}; got {semantics!r}."
        )
    if not isinstance(threshold, jax.Array) and not 0 <= threshold <= 1:
        raise ValueError(f"tree_threshold must be a probability, from 0 to 1; got {threshold}.")


def _bucket_best(values, bucket: Bucket):
    """The channel of each group's largest value, the first of equals."""
    place = jnp.arange(bucket.groups, dtype=jnp.int32)
    if bucket.member_major:
        best = jnp.argmax(square(values, bucket), axis=-2).astype(jnp.int32)
        return bucket.start + best * bucket.groups + place
    best = jnp.argmax(square(values, bucket), axis=-1).astype(jnp.int32)
    return bucket.start + place * bucket.size + best
