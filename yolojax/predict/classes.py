"""What a label means: the name of its class and, in a tree of classes, the way to it."""

from collections.abc import Sequence

from yolojax.wordtree.files import TreeFile, lineage


def path_of(label: int, classes: Sequence[str], tree: Sequence[int]) -> list[str]:
    """The names from a root of `tree` (the parent of each class) down to `label`; of () only it."""
    line = lineage(TreeFile(tuple(classes), tuple(tree)), int(label)) if tree else (label,)
    return [classes[node] for node in line]


def describe(
    label: int, classes: Sequence[str], tree: Sequence[int], wnids: Sequence[str]
) -> dict[str, str | int | list[str]]:
    """Plain values for JSON: class, class_id and, with a `tree`, wnid and path."""
    found = {"class": classes[label], "class_id": int(label)}
    if tree:
        found |= {"wnid": wnids[label], "path": path_of(label, classes, tree)}
    return found
