"""Describe a label: the name of its class and, with a class tree, its path from the root."""

from collections.abc import Sequence

from yolojax.wordtree.files import TreeFile, lineage


def path_of(label: int, classes: Sequence[str], tree: Sequence[int]) -> list[str]:
    """Return the class names from the root of `tree` to `label`; only its own without a tree."""
    line = lineage(TreeFile(tuple(classes), tuple(tree)), int(label)) if tree else (label,)
    return [classes[node] for node in line]


def describe(
    label: int, classes: Sequence[str], tree: Sequence[int], wnids: Sequence[str]
) -> dict[str, str | int | list[str]]:
    """Return plain values for JSON: class, class_id and, with a `tree`, wnid and path."""
    values = {"class": classes[label], "class_id": int(label)}
    if tree:
        values |= {"wnid": wnids[label], "path": path_of(label, classes, tree)}
    return values
