"""Probabilities of a WordTree from the logits of its nodes: one softmax for each group of siblings.

Logits and conditional probabilities [..., N] are in the order of channels of a `Layout`, values of
groups [..., G] in the order of ranks. Node numbers are those of the tree.
"""

from collections.abc import Callable, Sequence
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from yolojax.ops.platforms import by_platform
from yolojax.wordtree.tree import Bucket, Layout, check_nodes


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def group_logsumexp(logits, layout: Layout):
    """Compute log(sum(exp)) [..., G] of the logits [..., N] of each group."""
    return each_bucket(_bucket_logsumexp, logits, layout)


def _logsumexp_forward(logits, layout):
    total = group_logsumexp(logits, layout)
    return total, (logits, total)


def _logsumexp_backward(layout, residuals, gradient):
    logits, total = residuals
    return (jnp.exp(logits - to_channels(total, layout)) * to_channels(gradient, layout),)


group_logsumexp.defvjp(_logsumexp_forward, _logsumexp_backward)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def group_log_softmax(logits, layout: Layout):
    """Compute the log probability [..., N] of each node given its parent, from logits [..., N]."""
    return logits - to_channels(group_logsumexp(logits, layout), layout)


def _log_softmax_forward(logits, layout):
    conditional = group_log_softmax(logits, layout)
    return conditional, conditional


def _log_softmax_backward(layout, conditional, gradient):
    total = to_channels(group_sum(gradient, layout), layout)
    return (gradient - jnp.exp(conditional) * total,)


group_log_softmax.defvjp(_log_softmax_forward, _log_softmax_backward)


def group_sum(values, layout: Layout):
    """Sum values [..., N] over each group, [..., G]."""
    return each_bucket(_bucket_sum, values, layout)


def to_channels(values, layout: Layout):
    """Copy values of groups [..., G] to the channels of each group [..., N]."""
    # A gather is 3 to 4 times as fast on CPU, but slow along the lanes of a TPU.
    return by_platform(
        values,
        cpu=lambda v: jnp.take(v, layout.channel_rank, axis=-1),
        default=lambda v: _repeat(v, layout),
    )


def path_log_probs(logits, nodes, layout: Layout):
    """Compute the conditional log probabilities on the paths to `nodes`, from the root down.

    Args:
        logits: [..., N].
        nodes: int [...], broadcast against the logits.

    Returns:
        [..., D], 0 below the node. The sum is the log probability of the node.
    """
    path = jnp.asarray(layout.path)[nodes]
    channel = jnp.asarray(layout.position)[path]
    of_node = jnp.take_along_axis(logits, channel, axis=-1)
    of_group = groups_on_path(group_logsumexp(logits, layout), nodes, layout)
    return jnp.where(path >= 0, of_node - of_group, 0)


def groups_on_path(values, nodes, layout: Layout):
    """Select values [..., G] of the groups on the paths to `nodes`, [..., D], 0 below."""
    path = jnp.asarray(layout.path)[nodes]
    rank = jnp.asarray(layout.rank[layout.tree.group])[path]
    return jnp.where(path >= 0, jnp.take_along_axis(values, rank, axis=-1), 0)


def path_log_prob(logits, nodes, layout: Layout):
    """Compute the log probabilities [...] of `nodes` int [...], from logits [..., N]."""
    return jnp.sum(path_log_probs(logits, nodes, layout), axis=-1)


def absolute_log_probs(conditional, layout: Layout):
    """Compute the log probability of every node, [..., N] in the order of *nodes*.

    The probabilities of siblings sum to that of their parent, those of all leaves to 1.

    Args:
        conditional: [..., N], from `group_log_softmax`.
    """
    tree = layout.tree
    above = tree.parent[tree.group_start][np.argsort(layout.rank)]  # the parent of each rank
    jump = np.where(above < 0, layout.rank[0], layout.rank[tree.group[above]])
    total = jnp.where(above < 0, 0, jnp.take(conditional, layout.position[above], axis=-1))
    for _ in range(int(tree.depth.max()).bit_length()):  # each round doubles the length
        total = total + jnp.take(total, jump, axis=-1)
        jump = jump[jump]
    return jnp.take(conditional + to_channels(total, layout), layout.position, axis=-1)


def absolute_log_probs_of(conditional, nodes: Sequence[int], layout: Layout):
    """Compute the log probabilities [..., S] of S static `nodes`, from conditional [..., N].

    It is a product with a matrix of zeros and ones, fast for hundreds of nodes in thousands of
    rows.

    Raises:
        ValueError: one is not a node of the tree.
    """
    path = layout.path[check_nodes(nodes, layout.tree)]
    needed = np.unique(path[path >= 0])
    on_path = (path[:, :, None] == needed).any(axis=1)  # [S, nodes needed]
    values = jnp.take(conditional, layout.position[needed], axis=-1)
    weights = jnp.asarray(on_path.T, values.dtype)
    return jnp.matmul(values, weights, precision=lax.Precision.HIGHEST)


def each_bucket(function: Callable, values, layout: Layout):
    """Concatenate function(values [..., N], bucket) -> [..., groups] of all buckets, [..., G].

    Raises:
        ValueError: the tree does not have N nodes.
    """
    if values.shape[-1] != len(layout.node):
        raise ValueError(
            f"a tree of {len(layout.node)} nodes needs as many class channels, "
            f"got {values.shape[-1]}; does the tree belong to this network?"
        )
    return jnp.concatenate([function(values, bucket) for bucket in layout.buckets], axis=-1)


def _members(values, bucket: Bucket) -> list:
    """Split a member-major bucket into the first members of all groups, the second members, ..."""
    ends = range(bucket.start, bucket.start + bucket.size * bucket.groups, bucket.groups)
    return [values[..., i : i + bucket.groups] for i in ends]


def square(values, bucket: Bucket):
    """Return the channels of a bucket [..., size, groups] or, group-major, [..., groups, size]."""
    part = values[..., bucket.start : bucket.start + bucket.size * bucket.groups]
    return part.reshape(*values.shape[:-1], *_sides(bucket))


def _sides(bucket: Bucket) -> tuple[int, int]:
    sides = bucket.size, bucket.groups
    return sides if bucket.member_major else sides[::-1]


def _bucket_logsumexp(logits, bucket: Bucket):
    if not bucket.member_major:
        return jax.nn.logsumexp(square(logits, bucket), axis=-1)
    members = _members(logits, bucket)  # XLA fuses this chain without copies
    top = reduce(jnp.maximum, members)
    return top + jnp.log(sum(jnp.exp(member - top) for member in members))


def _bucket_sum(values, bucket: Bucket):
    if not bucket.member_major:
        return jnp.sum(square(values, bucket), axis=-1)
    return reduce(jnp.add, _members(values, bucket))


def _repeat(values, layout: Layout):
    """Compute `to_channels` by broadcasting in each bucket."""
    groups = [bucket.groups for bucket in layout.buckets]
    parts = []
    for part, bucket in zip(lax.split(values, groups, axis=-1), layout.buckets, strict=True):
        part = jnp.expand_dims(part, -2 if bucket.member_major else -1)
        part = jnp.broadcast_to(part, (*values.shape[:-1], *_sides(bucket)))
        parts.append(part.reshape(*values.shape[:-1], -1))
    return jnp.concatenate(parts, axis=-1)
