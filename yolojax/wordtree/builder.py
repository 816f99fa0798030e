"""Building the tree of a list of labels from a hierarchy: YOLO9000, section 4, step by step.

Each step quotes the paper. What the paper leaves open is inferred from the authors' 9k.tree
(docs/notes/wordtree.md). A tree under construction is a dict {node: parent}; None is the implicit
root.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial

from yolojax.suggestions import did_you_mean
from yolojax.wordtree.files import TreeFile
from yolojax.wordtree.hierarchy import Hierarchy

Tree = dict[str, str | None]
Path = tuple[str, ...]  # from a concept up to the last one below the root

STEPS = {  # that `without` can skip
    "growth": '"if a concept has two paths to the root and one path would add three edges to our '
    'tree and the other would only add one edge, we choose the shorter path" (without: the '
    "shortest path, whatever it adds)",
    "contraction": "not in the paper: a node that is no label and has one child is removed",
    "patches": "not in the paper: the authors' parents of signal, sign and bubble, not WordNet's",
}


def build_tree(
    hierarchy: Hierarchy,
    labels: Sequence[str],
    *,
    root: str | None = None,
    without: Collection[str] = (),
    promotion: bool = False,
) -> TreeFile:
    """Build the tree of `labels` and the nodes that connect them.

    Args:
        hierarchy: the concepts.
        labels: ids of concepts; their order decides between paths of equal growth.
        root: a concept above all labels, which is not a node itself; None: every concept without
            a parent is a root.
        without: steps to skip: "growth", "contraction".
        promotion: see `promote`. Not for labels with boxes: a picture of a promoted class would be
            trained as a negative of the class that was above it.

    Raises:
        ValueError: there is no label, or one is unknown, repeated, or not below the root.
    """
    check_labels(hierarchy, labels, root)
    paths = all_paths(hierarchy, labels, root)
    tree = shortest_paths(paths) if "growth" in without else least_growth(paths)
    if "contraction" not in without:
        tree = contract(tree, labels)
    if promotion:
        tree = promote(tree, labels)
    return in_order(tree, list(hierarchy.parents))


def check_labels(hierarchy: Hierarchy, labels: Sequence[str], root: str | None) -> None:
    """Raise ValueError if there is no label, or one is unknown or repeated."""
    if not labels:
        raise ValueError("no labels; a tree needs one or more.")
    if len(set(labels)) < len(labels):
        repeated = next(label for label in labels if labels.count(label) > 1)
        raise ValueError(f"labels must be unique; {repeated} is repeated. Remove one.")
    for label in (*labels, *filter(None, [root])):
        if label not in hierarchy.parents:
            hint = did_you_mean(label, hierarchy.parents) if len(hierarchy.parents) < 1000 else ""
            raise ValueError(f"{label} is not in {hierarchy.source}.{hint}")


def all_paths(
    hierarchy: Hierarchy, labels: Iterable[str], root: str | None
) -> dict[str, tuple[Path, ...]]:
    """Find all paths from each label up to the root.

    "To build this tree we examine the visual nouns in ImageNet and look at their paths through the
    WordNet graph to the root node".

    Raises:
        ValueError: a label has no such path.
    """
    paths = {label: tuple(_paths_up(hierarchy, label, root)) for label in labels}
    lost = [f"{label} ({hierarchy.names[label][0]})" for label in paths if not paths[label]]
    if lost:
        raise ValueError(
            f"{len(lost)} of {len(paths)} labels are not below the root {root} "
            f"({hierarchy.names[root][0]}) in {hierarchy.source}: {', '.join(lost[:5])}, ...; "
            "give another --root, give them other parents with --rehang, or remove them."
        )
    return paths


def _paths_up(hierarchy: Hierarchy, label: str, root: str | None) -> Iterator[Path]:
    """Yield all paths from `label` up to below `root`, in the order of the parents."""
    pending: list[Path] = [(label,)]
    while pending:
        path = pending.pop()
        parents = hierarchy.parents[path[-1]]
        if root in parents if root else not parents:
            yield path
        pending.extend((*path, parent) for parent in reversed(parents) if parent != root)


def least_growth(paths: Mapping[str, tuple[Path, ...]]) -> Tree:
    """Choose one path per label greedily, so that the tree grows as little as possible.

    "Many synsets only have one path through the graph so first we add all of those paths to our
    tree. Then we iteratively examine the concepts we have left and add the paths that grow the tree
    by as little as possible."

    The paper does not give the order. Here each round adds every label that needs no more nodes
    than the minimum over all remaining labels; among equal paths the first one wins.
    """
    tree: Tree = {}
    for choices in paths.values():
        if len(choices) == 1:
            add_path(tree, choices[0])
    remaining = {label: choices for label, choices in paths.items() if len(choices) > 1}
    growth = partial(added_nodes, tree)
    while remaining:
        least = min(growth(path) for choices in remaining.values() for path in choices)
        for label, choices in list(remaining.items()):
            best = min(choices, key=growth)
            if growth(best) <= least:
                add_path(tree, best)
                del remaining[label]
    return tree


def shortest_paths(paths: Mapping[str, tuple[Path, ...]]) -> Tree:
    """Choose the shortest path of each label."""
    tree: Tree = {}
    for choices in paths.values():
        add_path(tree, min(choices, key=len))
    return tree


def added_nodes(tree: Tree, path: Path) -> int:
    """Count the nodes that `path` adds: those before its first node in the tree."""
    return next((i for i, node in enumerate(path) if node in tree), len(path))


def add_path(tree: Tree, path: Path) -> None:
    """Add the nodes to `tree` that `added_nodes` counts."""
    new = added_nodes(tree, path)
    tree.update(zip(path[:new], (*path[1:], None), strict=False))


def contract(tree: Tree, labels: Iterable[str]) -> Tree:
    """Remove the nodes that are no label and have one child.

    Not in the paper, but no reading of the other steps gives the paper's 1369 nodes without it.
    """
    below = children(tree)
    removed = {node for node in tree if len(below.get(node, ())) == 1}.difference(labels)

    def remaining_ancestor(node: str | None) -> str | None:
        while node in removed:
            node = tree[node]
        return node

    return {n: remaining_ancestor(parent) for n, parent in tree.items() if n not in removed}


def promote(tree: Tree, labels: Iterable[str]) -> Tree:
    """Make each leaf that is the only child of a label a sibling of that label.

    Not in the paper, but true of 680 nodes of the authors' 9k.tree (gamecock is below bird, not
    below cock). The two classes then compete in a softmax, though one is a kind of the other.
    """
    below = children(tree)
    only = {label: below[label][0] for label in labels if len(below.get(label, ())) == 1}
    leaves = {child: tree[label] for label, child in only.items() if child not in below}
    return {**tree, **leaves}


def children(tree: Tree) -> dict[str | None, list[str]]:
    """Return the children of every inner node, and of the implicit root None."""
    below: dict[str | None, list[str]] = {}
    for node, parent in tree.items():
        below.setdefault(parent, []).append(node)
    return below


def in_order(tree: Tree, order: Sequence[str]) -> TreeFile:
    """Number the nodes as 9k.tree does: all siblings, then the descendants of the first, ...

    Siblings are sorted as in `order`; the authors' order is not known.
    """
    below = children({node: tree[node] for node in order if node in tree})
    index: dict[str, int] = {}
    groups: list[str | None] = [None]
    while groups:
        siblings = below.get(groups.pop(), [])
        index.update((node, number) for number, node in enumerate(siblings, len(index)))
        groups.extend(reversed(siblings))
    parents = (tree[node] for node in index)
    return TreeFile(tuple(index), tuple(-1 if p is None else index[p] for p in parents))
