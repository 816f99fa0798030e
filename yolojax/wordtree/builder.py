"""From a hierarchy and a list of labels to a tree: YOLO9000, section 4, step by step.

The paper's text is quoted at each step; what it does not say was inferred from the authors' 9k.tree
(docs/wordtree.md). A tree under construction is a dict, node -> parent, None for the implicit root.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial

from yolojax.suggestions import did_you_mean
from yolojax.wordtree.files import TreeFile
from yolojax.wordtree.hierarchy import Hierarchy

Tree = dict[str, str | None]
Path = tuple[str, ...]  # from a concept up to the last one below the root

# The steps that can be left out, and what each of them is.
STEPS = {
    "growth": '"if a concept has two paths to the root and one path would add three edges to our '
    'tree and the other would only add one edge, we choose the shorter path" (without: the '
    "shortest path, whatever it adds)",
    "contraction": "not in the paper: what is no label and has one child gives way to the child",
    "patches": "not in the paper: the authors hung signal, sign and bubble elsewhere than WordNet",
}


def build_tree(
    hierarchy: Hierarchy,
    labels: Sequence[str],
    *,
    root: str | None = None,
    without: Collection[str] = (),
    promotion: bool = False,
) -> TreeFile:
    """The tree of `labels` and of what they need above them.

    Args:
        labels: ids of concepts; the order decides between paths of equal growth.
        root: what all of them are below, and is no node itself; None: every concept without a
            parent is a root.
        without: steps to leave out, of growth and contraction.
        promotion: see `promote`; not for a tree whose labels have boxes, as a class's pictures
            would then teach that they do not show the class above it.

    Raises:
        ValueError: there is no label, or one is unknown, comes twice, or is not below the root.
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
    """Raises ValueError where there is no label, or one is unknown or comes twice."""
    if not labels:
        raise ValueError("no labels; a tree is made of one or more.")
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise ValueError(f"labels must differ; {twice} comes twice.")
    for label in (*labels, *filter(None, [root])):
        if label not in hierarchy.parents:
            hint = did_you_mean(label, hierarchy.parents) if len(hierarchy.parents) < 1000 else ""
            raise ValueError(f"{label} is not in {hierarchy.source}.{hint}")


def all_paths(
    hierarchy: Hierarchy, labels: Iterable[str], root: str | None
) -> dict[str, tuple[Path, ...]]:
    """Every way from each label up to the root.

    "To build this tree we examine the visual nouns in ImageNet and look at their paths through the
    WordNet graph to the root node".

    Raises:
        ValueError: some labels have none.
    """
    found = {label: tuple(_paths_up(hierarchy, label, root)) for label in labels}
    lost = [f"{label} ({hierarchy.names[label][0]})" for label in found if not found[label]]
    if lost:
        raise ValueError(
            f"{len(lost)} of {len(found)} labels are not below the root {root} "
            f"({hierarchy.names[root][0]}) in {hierarchy.source}: {', '.join(lost[:5])}, ...; "
            "give another --root, hang them elsewhere with --rehang, or leave them out."
        )
    return found


def _paths_up(hierarchy: Hierarchy, label: str, root: str | None) -> Iterator[Path]:
    """Every way from `label` up to below `root`, the first parents first."""
    left: list[Path] = [(label,)]
    while left:
        path = left.pop()
        above = hierarchy.parents[path[-1]]
        if root in above if root else not above:
            yield path
        left.extend((*path, parent) for parent in reversed(above) if parent != root)


def least_growth(paths: Mapping[str, tuple[Path, ...]]) -> Tree:
    """The tree that takes one path of each label, and as few nodes as a greedy choice can.

    "Many synsets only have one path through the graph so first we add all of those paths to our
    tree. Then we iteratively examine the concepts we have left and add the paths that grow the tree
    by as little as possible."

    The order of that iteration is not given. Here every round adds all that need no more nodes than
    the least needed by any; of paths that need as many the first is taken.
    """
    tree: Tree = {}
    for choices in paths.values():
        if len(choices) == 1:
            add_path(tree, choices[0])
    left = {label: choices for label, choices in paths.items() if len(choices) > 1}
    growth = partial(added_nodes, tree)
    while left:
        least = min(growth(path) for choices in left.values() for path in choices)
        for label, choices in list(left.items()):
            best = min(choices, key=growth)
            if growth(best) <= least:
                add_path(tree, best)
                del left[label]
    return tree


def shortest_paths(paths: Mapping[str, tuple[Path, ...]]) -> Tree:
    """The tree that takes the shortest path of each label."""
    tree: Tree = {}
    for choices in paths.values():
        add_path(tree, min(choices, key=len))
    return tree


def added_nodes(tree: Tree, path: Path) -> int:
    """How many nodes `path` adds: from where it meets the tree, it follows the tree."""
    return next((i for i, node in enumerate(path) if node in tree), len(path))


def add_path(tree: Tree, path: Path) -> None:
    """Add to `tree` what `added_nodes` counts."""
    new = added_nodes(tree, path)
    tree.update(zip(path[:new], (*path[1:], None), strict=False))


def contract(tree: Tree, labels: Iterable[str]) -> Tree:
    """`tree` without the nodes that are no label and have one child.

    Not in the paper; without it no reading of the rest comes to the paper's 1369 nodes.
    """
    below = children(tree)
    gone = {node for node in tree if len(below.get(node, ())) == 1}.difference(labels)

    def kept(node: str | None) -> str | None:
        while node in gone:
            node = tree[node]
        return node

    return {node: kept(parent) for node, parent in tree.items() if node not in gone}


def promote(tree: Tree, labels: Iterable[str]) -> Tree:
    """`tree` with each leaf that is the only child of a label beside that label.

    Not in the paper; 680 nodes of the authors' 9k.tree (gamecock is under bird, not under cock).
    It makes rivals of two classes of which one is a kind of the other.
    """
    below = children(tree)
    only = {label: below[label][0] for label in labels if len(below.get(label, ())) == 1}
    leaves = {child: tree[label] for label, child in only.items() if child not in below}
    return {**tree, **leaves}


def children(tree: Tree) -> dict[str | None, list[str]]:
    """The children of every node that has any, and of the implicit root None."""
    below: dict[str | None, list[str]] = {}
    for node, parent in tree.items():
        below.setdefault(parent, []).append(node)
    return below


def in_order(tree: Tree, order: Sequence[str]) -> TreeFile:
    """`tree` numbered as 9k.tree is: all siblings, then what is below the first of them, ...

    Siblings stand as in `order`; that of the authors is not known.
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
