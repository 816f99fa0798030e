"""A tree of classes as arrays, and the order of its channels in a network's output.

YOLO9000 paper, section 4: every group of siblings has a softmax, and the probability of a node is
the product of the conditional probabilities on its path; see `wordtree.softmax`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class WordTree(NamedTuple):
    """N nodes in G groups of siblings; parents come before children, siblings are contiguous.

    Roots are group 0. Groups are in the order of their first nodes.
    """

    parent: np.ndarray  # int32 [N], -1 for a root
    group: np.ndarray  # int32 [N], the node's group
    group_start: np.ndarray  # int32 [G], its first node
    group_size: np.ndarray  # int32 [G]
    child_group: np.ndarray  # int32 [N], the group of the node's children; -1 for a leaf
    depth: np.ndarray  # int32 [N], 0 for a root


class Bucket(NamedTuple):
    """All groups of one size; their size * groups channels are contiguous.

    Member-major: the first members of all groups, then the second members, ...; group-major: one
    group after the other.
    """

    start: int  # the first channel
    size: int  # of each group
    groups: int
    member_major: bool


class Layout(NamedTuple):
    """The order of the channels of a tree.

    The rank of a group is its index when sorted by size, then by number. Values of groups [..., G]
    are in the order of ranks.
    """

    tree: WordTree
    position: np.ndarray  # int32 [N], the channel of each node
    node: np.ndarray  # int32 [N], the node of each channel
    rank: np.ndarray  # int32 [G], of each group
    channel_rank: np.ndarray  # int32 [N], the rank of each channel's group
    path: np.ndarray  # int32 [N, D], ancestors of each node from the root to itself, then -1
    buckets: tuple[Bucket, ...]  # by size


def make_tree(parents: Sequence[int]) -> WordTree:
    """Make the tree of nodes with these parents, -1 for a root.

    Raises:
        ValueError: there are no nodes, a parent does not come before its child (as in a cycle), or
            siblings are not contiguous.
    """
    parent = np.array(parents, np.int32)
    if parent.ndim != 1 or not parent.size:
        raise ValueError(
            f"a tree needs the parent of each node, a list of at least one, got {parent.shape}."
        )
    _check_order(parent)
    first = np.flatnonzero(np.diff(parent, prepend=-2))  # first of each run of equal parents
    _check_siblings(parent, first)
    size = np.diff(first, append=len(parent))
    child_group = np.full(len(parent), -1, np.int32)
    child_group[parent[first[1:]]] = np.arange(1, len(first))
    depth = np.zeros(len(parent), np.int32)
    for start, length in zip(first[1:], size[1:], strict=True):
        depth[start : start + length] = depth[parent[start]] + 1
    return WordTree(
        parent=parent,
        group=np.repeat(np.arange(len(first), dtype=np.int32), size),
        group_start=first.astype(np.int32),
        group_size=size.astype(np.int32),
        child_group=child_group,
        depth=depth,
    )


def _check_order(parent):
    wrong = np.flatnonzero((parent < -1) | (parent >= np.arange(len(parent))))
    if wrong.size:
        node = wrong[0]
        raise ValueError(
            f"node {node} has parent {parent[node]}; a parent is -1 or a node before its child. "
            "List every node after its parent; a cycle is no tree."
        )


def _check_siblings(parent, first):
    again = np.setdiff1d(first, first[np.unique(parent[first], return_index=True)[1]])
    if again.size:
        node = again[0]
        raise ValueError(
            f"node {node} is a child of {parent[node]}, but other nodes are between it and its "
            "siblings; list all children of a node one after the other."
        )


def paths(tree: WordTree) -> np.ndarray:
    """Return the nodes from the root to each node, int32 [N, D], then -1; D levels."""
    path = np.full((len(tree.parent), tree.depth.max() + 1), -1, np.int32)
    nodes = ancestors = np.arange(len(path), dtype=np.int32)
    while nodes.size:
        path[nodes, tree.depth[ancestors]] = ancestors
        ancestors = tree.parent[ancestors]
        nodes, ancestors = nodes[ancestors >= 0], ancestors[ancestors >= 0]
    return path


def leaves(tree: WordTree) -> np.ndarray:
    """Return the nodes without children, int32."""
    return np.flatnonzero(tree.child_group < 0).astype(np.int32)


def check_nodes(nodes: Sequence[int], tree: WordTree) -> np.ndarray:
    """Return `nodes` as int32 [S].

    Raises:
        ValueError: one is not a node of `tree`.
    """
    wrong = [node for node in nodes if not 0 <= node < len(tree.parent)]
    if wrong:
        raise ValueError(
            f"nodes holds {wrong[0]}, but those of the tree are 0 to {len(tree.parent) - 1}; "
            "does the map belong to this tree?"
        )
    return np.array(nodes, np.int32)


def bucket_layout(tree: WordTree) -> Layout:
    """Order the channels so that all groups of one size are a slice and a reshape.

    It is a permutation, without padding. The weights of trained networks have this order, so the
    rule must not change.
    """
    by_rank = np.argsort(tree.group_size, kind="stable")
    buckets, channels, start = [], [], 0
    for size in np.unique(tree.group_size):
        groups = by_rank[tree.group_size[by_rank] == size]
        nodes = tree.group_start[groups, None] + np.arange(size)  # [groups, size]
        # The longer side is innermost, for vector units.
        member_major = bool(len(groups) >= size)
        channels.append((nodes.T if member_major else nodes).ravel())
        buckets.append(Bucket(start, int(size), len(groups), member_major))
        start += nodes.size
    node, rank = np.concatenate(channels), np.argsort(by_rank)
    return Layout(
        tree=tree,
        position=np.argsort(node).astype(np.int32),
        node=node.astype(np.int32),
        rank=rank.astype(np.int32),
        channel_rank=rank[tree.group[node]].astype(np.int32),
        path=paths(tree),
        buckets=tuple(buckets),
    )
