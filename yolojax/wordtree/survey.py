"""Looking at a tree: its nodes by name, what is above and below them, how many of what."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from yolojax.suggestions import did_you_mean
from yolojax.wordtree.files import TreeFile, lineage
from yolojax.wordtree.matching import key


class Statistics(NamedTuple):
    """How many of what; depth 0 is that of the roots."""

    nodes: int
    leaves: int
    group_sizes: dict[int, int]  # size -> how many groups of siblings have it
    depths: dict[int, int]  # depth -> nodes
    leaf_depths: dict[int, int]  # depth -> leaves


def statistics(tree: TreeFile) -> Statistics:
    """Count the nodes, leaves and groups of `tree`."""
    depth: list[int] = []
    for parent in tree.parents:  # earlier than the child
        depth.append(depth[parent] + 1 if parent >= 0 else 0)
    inner = set(tree.parents)
    leaves = [depth[node] for node in range(len(tree.parents)) if node not in inner]
    sizes = Counter(Counter(tree.parents).values())
    return Statistics(
        len(depth), len(leaves), *map(_sorted, (sizes, Counter(depth), Counter(leaves)))
    )


def _sorted(counts: Counter) -> dict[int, int]:
    return dict(sorted(counts.items()))


def find_nodes(tree: TreeFile, names: Sequence[str], text: str) -> list[int]:
    """The nodes that `text` may mean: a wnid, else a number, else a name, of which several may be.

    Raises:
        ValueError: there is none.
    """
    if text in tree.wnids:
        return [tree.wnids.index(text)]
    if text.isdecimal() and int(text) < len(names):
        return [int(text)]
    found = [node for node, name in enumerate(names) if key(name) == key(text)]
    if not found:
        hint = did_you_mean(text, names)
        raise ValueError(f"no node has the name, wnid or number {text!r}.{hint}")
    return found


def way(tree: TreeFile, names: Sequence[str], node: int, last: int = 0) -> str:
    """ "animal > dog > terrier", or the `last` names of it."""
    line = lineage(tree, node)
    shown = [names[up] for up in line[-last:]]
    return " > ".join(["...", *shown] if len(shown) < len(line) else shown)


def below(
    tree: TreeFile, node: int | None = None, levels: int | None = None
) -> Iterator[tuple[int, int]]:
    """(level, node) of `node` and what is below it, each followed by its children.

    Args:
        tree: the tree.
        node: where to begin, at level 0; None: at all roots.
        levels: how many levels to go down; None: all.
    """
    children: dict[int, list[int]] = {}
    for child, parent in enumerate(tree.parents):
        children.setdefault(parent, []).append(child)
    left = [(0, root) for root in reversed(children[-1] if node is None else [node])]
    while left:
        level, node = left.pop()
        yield level, node
        if levels is None or level < levels:
            left.extend((level + 1, child) for child in reversed(children.get(node, [])))
