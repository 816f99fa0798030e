"""Darknet's files of a WordTree (.tree, .names, .labels, .map), and queries on a tree from a file.

X.tree has one line `wnid parent` per node; the parent is the index of its line, -1 for a root.
X.names and X.labels hold the name and the wnid of each node, in the same order. A .map belongs to
another data set and holds the node index of each of its classes, one per line.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from yolojax.files import atomic_paths, read_lines, shorten, write_text

WHOLE = re.compile(r"-?[0-9]{1,9}", re.ASCII)
SHIPPED = Path(__file__).with_name("trees")


class TreeFile(NamedTuple):
    """The N nodes of a .tree, numbered by line from 0."""

    wnids: tuple[str, ...]
    parents: tuple[int, ...]  # -1 for a root


def find_tree(name: str | Path) -> Path:
    """Return the path of a shipped tree such as "imagenet1k", or `name` itself as a path.

    Raises:
        FileNotFoundError: there is no such file.
    """
    return _find(name, ".tree")


def find_map(name: str | Path) -> Path:
    """Return the path of a shipped map such as "coco_imagenet1k", or `name` itself as a path.

    Raises:
        FileNotFoundError: there is no such file.
    """
    return _find(name, ".map", " (`yolojax tree map` makes one)")


def _find(name: str | Path, suffix: str, hint: str = "") -> Path:
    shipped = {path.stem: path for path in sorted(SHIPPED.glob(f"*{suffix}"))}
    path = shipped.get(str(name), Path(name))
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; give a {suffix} file{hint}, or the name of a shipped one: "
            f"{', '.join(shipped)}."
        )
    return path


def read_tree(path: str | Path) -> TreeFile:
    """Read a .tree file.

    Raises:
        ValueError: the file is unreadable or empty, a line is not `wnid parent`, or the tree breaks
            a rule of `check_tree`; the message starts with FILE:LINE.
    """
    rows = [_read_row(line, f"{path}:{i}") for i, line in enumerate(_filled_lines(path), 1)]
    tree = TreeFile(*map(tuple, zip(*rows, strict=True)))
    check_tree(tree, path)
    return tree


def _read_row(line: str, place: str) -> tuple[str, int]:
    words = line.split()
    if len(words) != 2 or not WHOLE.fullmatch(words[1]):
        raise ValueError(
            f"{place}: must be `wnid parent`, as in `n02084071 12`; got {shorten(line)!r}."
        )
    return words[0], int(words[1])


def check_tree(tree: TreeFile, path: str | Path) -> None:
    """Check the rules that Darknet's reader (tree.c) assumes.

    Raises:
        ValueError: a wnid is repeated, a parent does not precede its child, or siblings are not on
            successive lines. The message starts with PATH:LINE.
    """
    lines: dict[str, int] = {}
    for line, wnid in enumerate(tree.wnids, 1):
        if lines.setdefault(wnid, line) != line:
            raise ValueError(f"{path}:{line}: {wnid} is already in line {lines[wnid]}.")
    _check_order(tree.parents, path)
    _check_groups(tree.parents, path)


def _check_order(parents: Sequence[int], path: str | Path) -> None:
    for node, parent in enumerate(parents):
        if not -1 <= parent < len(parents):
            raise ValueError(
                f"{path}:{node + 1}: the parent must be -1 or one of 0..{len(parents) - 1}, the "
                f"index of a line, counted from 0; got {parent}."
            )
        if parent >= node:
            what = "is its own ancestor" if _on_cycle(parents, node) else "comes before its parent"
            raise ValueError(
                f"{path}:{node + 1}: node {node} {what} {parent}; "
                "a parent must have an earlier line than its children."
            )


def _on_cycle(parents: Sequence[int], node: int) -> bool:
    ancestor = parents[node]
    for _ in parents:  # a path to the root is no longer than the number of nodes
        if ancestor == node:
            return True
        if not 0 <= ancestor < len(parents):
            return False
        ancestor = parents[ancestor]
    return False


def _check_groups(parents: Sequence[int], path: str | Path) -> None:
    last: dict[int, int] = {}
    for node, parent in enumerate(parents):
        if last.setdefault(parent, node) < node - 1:
            raise ValueError(
                f"{path}:{node + 1}: the children of {parent} must be on successive lines, as they "
                f"share a softmax; the previous child is in line {last[parent] + 1}."
            )
        last[parent] = node


def write_tree(path: str | Path, tree: TreeFile, names: Sequence[str] = ()) -> None:
    """Write `tree` as X.tree and, if given, `names` as X.names; both files or neither.

    Raises:
        ValueError: a wnid is not one word, the tree breaks a rule of `check_tree`, or a name is not
            one line.
        IsADirectoryError: one of the paths is a folder.
    """
    names_path = Path(path).with_suffix(".names")
    texts = {path: tree_text(tree, path)}
    if names:
        texts[names_path] = names_text(names, names_path)
    with atomic_paths(*texts) as temporaries:
        for temporary, text in zip(temporaries, texts.values(), strict=True):
            write_text(temporary, text)


def tree_text(tree: TreeFile, path: str | Path) -> str:
    """Format `tree` as the text of the file `path`; raises ValueError as `write_tree` does."""
    for line, wnid in enumerate(tree.wnids, 1):
        if wnid.split() != [wnid]:
            raise ValueError(f"{path}:{line}: a wnid must be one word; got {wnid!r}.")
    check_tree(tree, path)
    return _lines(f"{wnid} {parent}" for wnid, parent in zip(*tree, strict=True))


def read_labels(path: str | Path) -> tuple[str, ...]:
    """Read the wnids in `path`, one per line.

    Raises:
        ValueError: the file is unreadable or empty, a line is not one word, or one is repeated.
    """
    lines: dict[str, int] = {}
    for number, wnid in enumerate(_filled_lines(path), 1):
        if len(wnid.split()) != 1:
            raise ValueError(f"{path}:{number}: must be one word, a wnid; got {wnid!r}.")
        if wnid in lines:
            raise ValueError(f"{path}:{number}: {wnid} is already in line {lines[wnid]}.")
        lines[wnid] = number
    return tuple(lines)


def read_node_names(path: str | Path, nodes: int) -> tuple[str, ...]:
    """Read the names of `nodes` nodes, one per line. Two nodes may share a name.

    Raises:
        ValueError: the file is unreadable, or does not have `nodes` lines with text.
    """
    names = _filled_lines(path)
    for number, name in enumerate(names, 1):
        if not name:
            raise ValueError(f"{path}:{number}: an empty line; each line names one node.")
    if len(names) != nodes:
        raise ValueError(f"{path}: must have a line for each of {nodes} nodes; has {len(names)}.")
    return tuple(names)


def read_names_of(path: str | Path, tree: TreeFile) -> tuple[str, ...]:
    """Read X.names of the tree X.tree; without that file, its wnids with "_" as space."""
    names = Path(path).with_suffix(".names")
    if names.is_file():
        return read_node_names(names, len(tree.wnids))
    return tuple(wnid.replace("_", " ") for wnid in tree.wnids)


def read_named_tree(name: str | Path) -> tuple[TreeFile, tuple[str, ...]]:
    """Read a .tree file, or a shipped tree, and the names of its nodes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the tree or its names are malformed.
    """
    path = find_tree(name)
    tree = read_tree(path)
    return tree, read_names_of(path, tree)


def tree_fields(name: str | Path) -> dict[str, tuple]:
    """Read the fields `tree`, `classes` and `class_names` of a ModelConfig from a tree.

    Raises: as `read_named_tree`.
    """
    tree, names = read_named_tree(name)
    return {"tree": tree.parents, "classes": tree.wnids, "class_names": names}


def read_map(path: str | Path, nodes: int) -> tuple[int, ...]:
    """Read the node of each class, in the order of the classes. Two classes may share a node.

    Raises:
        ValueError: the file is unreadable or empty, or a line is not one of 0..nodes - 1.
    """
    lines = _filled_lines(path)
    for number, line in enumerate(lines, 1):
        if not WHOLE.fullmatch(line) or not 0 <= int(line) < nodes:
            raise ValueError(
                f"{path}:{number}: must be a node, one of 0..{nodes - 1}; got {shorten(line)!r}."
            )
    return tuple(int(line) for line in lines)


def write_map(path: str | Path, nodes: Sequence[int]) -> None:
    """Write the node of each class, one per line."""
    write_text(path, _lines(map(str, nodes)))


def write_names(path: str | Path, names: Sequence[str]) -> None:
    """Write names (or wnids, as .labels), one per line; raises ValueError as `write_tree` does."""
    write_text(path, names_text(names, path))


def names_text(names: Sequence[str], path: str | Path) -> str:
    """Format `names` as the text of the file `path`; raises ValueError as `write_tree` does."""
    for number, name in enumerate(names, 1):
        if not name.strip() or name.splitlines() != [name]:
            raise ValueError(f"{path}:{number}: a name must be one line with text; got {name!r}.")
    return _lines(names)


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _filled_lines(path: str | Path) -> list[str]:
    """Read all lines up to the last one with text."""
    lines = read_lines(path)
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise ValueError(f"{path}: is empty; must have a line for each node or class.")
    return lines


def lineage(tree: TreeFile, node: int) -> tuple[int, ...]:
    """Return the nodes on the path from a root down to `node`, which is the last one."""
    path = []
    while node >= 0:
        path.append(node)
        node = tree.parents[node]
    return tuple(reversed(path))


def subtree(
    tree: TreeFile, node: int | None = None, levels: int | None = None
) -> Iterator[tuple[int, int]]:
    """Yield (level, node) of `node` and its descendants, depth first.

    Args:
        tree: the tree.
        node: the start, at level 0; None: all roots.
        levels: number of levels below the start; None: all.
    """
    children: dict[int, list[int]] = {}
    for child, parent in enumerate(tree.parents):
        children.setdefault(parent, []).append(child)
    stack = [(0, root) for root in reversed(children[-1] if node is None else [node])]
    while stack:
        level, node = stack.pop()
        yield level, node
        if levels is None or level < levels:
            stack.extend((level + 1, child) for child in reversed(children.get(node, [])))


class Statistics(NamedTuple):
    """Counts of a tree; roots have depth 0."""

    nodes: int
    leaves: int
    group_sizes: dict[int, int]  # {siblings in a group: groups}
    depths: dict[int, int]  # {depth: nodes}
    leaf_depths: dict[int, int]  # {depth: leaves}


def statistics(tree: TreeFile) -> Statistics:
    """Count the nodes, leaves and groups of siblings of `tree`."""
    depth: list[int] = []
    for parent in tree.parents:  # a parent precedes its children
        depth.append(depth[parent] + 1 if parent >= 0 else 0)
    inner = set(tree.parents)
    leaves = [depth[node] for node in range(len(tree.parents)) if node not in inner]
    counts = Counter(Counter(tree.parents).values()), Counter(depth), Counter(leaves)
    return Statistics(len(depth), len(leaves), *(dict(sorted(count.items())) for count in counts))
