"""The files of a WordTree, as Darknet has them: .tree, .names, .labels and .map.

X.tree has a line `wnid parent` for each node, the parent as the index of its line, -1 for a root.
X.names and X.labels have the name and the wnid of each node on the same lines. A .map has a line
for each class of another data set, the index of its node.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from yolojax.data.parsing import read_lines
from yolojax.files import all_or_none, write_text

SHIPPED = Path(__file__).with_name("trees")


class TreeFile(NamedTuple):
    """The N nodes of a .tree, numbered by line."""

    wnids: tuple[str, ...]
    parents: tuple[int, ...]  # -1 for a root


def find_tree(name: str | Path) -> Path:
    """The file of a shipped tree ("imagenet1k"), or `name` itself.

    Raises:
        FileNotFoundError: there is neither.
    """
    shipped = {path.stem: path for path in sorted(SHIPPED.glob("*.tree"))}
    path = shipped.get(str(name), Path(name))
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; give a .tree, or a shipped one: {', '.join(shipped)}."
        )
    return path


def read_tree(path: str | Path) -> TreeFile:
    """The tree in `path`.

    Raises:
        ValueError: the file is unreadable or empty, a line is not `wnid parent`, or the tree breaks
            a rule of `check_tree`; the message starts with FILE:LINE.
    """
    path = Path(path)
    rows = [_read_row(line, f"{path}:{i}") for i, line in enumerate(_filled_lines(path), 1)]
    tree = TreeFile(*map(tuple, zip(*rows, strict=True)))
    check_tree(tree, path)
    return tree


def _read_row(line: str, place: str) -> tuple[str, int]:
    words = line.split()
    if len(words) != 2 or not words[1].removeprefix("-").isdecimal():
        raise ValueError(f"{place}: must be `wnid parent`, as in `n02084071 12`; got {line!r}.")
    return words[0], int(words[1])


def check_tree(tree: TreeFile, path: str | Path) -> None:
    """Hold the rules that Darknet's reader (tree.c) takes for granted.

    Raises:
        ValueError: a wnid comes twice, a parent is no earlier node, or siblings are not on
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
                f"index of a line counted from 0; got {parent}."
            )
        if parent >= node:
            what = "is its own ancestor" if _on_cycle(parents, node) else "comes before its parent"
            raise ValueError(
                f"{path}:{node + 1}: node {node} {what} {parent}; "
                "a parent must have an earlier line than its children."
            )


def _on_cycle(parents: Sequence[int], node: int) -> bool:
    ancestor = parents[node]
    for _ in parents:  # a way to the root has no more steps than there are nodes
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
                f"{path}:{node + 1}: the children of {parent} must be on successive lines, as a "
                f"softmax is over such a run; the one before is in line {last[parent] + 1}."
            )
        last[parent] = node


def lineage(tree: TreeFile, node: int) -> tuple[int, ...]:
    """The nodes from a root down to `node`."""
    up = []
    while node >= 0:
        up.append(node)
        node = tree.parents[node]
    return tuple(reversed(up))


def write_tree(path: str | Path, tree: TreeFile, names: Sequence[str] = ()) -> None:
    """Write `tree` as X.tree and, with `names`, these as X.names beside it; both or none.

    Raises:
        ValueError: a wnid is not one word, the tree breaks a rule of `check_tree`, or a name is not
            one line.
        IsADirectoryError: a folder has the name of a file.
    """
    beside = Path(path).with_suffix(".names")
    texts = {path: tree_text(tree, path)} | ({beside: names_text(names, beside)} if names else {})
    with all_or_none(*texts) as temporaries:
        for temporary, text in zip(temporaries, texts.values(), strict=True):
            write_text(temporary, text)


def tree_text(tree: TreeFile, path: str | Path) -> str:
    """The text of `tree` as the file `path`; raises ValueError as `write_tree`."""
    for line, wnid in enumerate(tree.wnids, 1):
        if wnid.split() != [wnid]:
            raise ValueError(f"{path}:{line}: a wnid must be one word; got {wnid!r}.")
    check_tree(tree, path)
    return _lines(f"{wnid} {parent}" for wnid, parent in zip(*tree, strict=True))


def read_labels(path: str | Path) -> tuple[str, ...]:
    """The wnids in `path`, one a line.

    Raises:
        ValueError: the file is unreadable or empty, a line is not one word, or one comes twice.
    """
    lines: dict[str, int] = {}
    for number, wnid in enumerate(_filled_lines(Path(path)), 1):
        if len(wnid.split()) != 1:
            raise ValueError(f"{path}:{number}: must be one word, a wnid; got {wnid!r}.")
        if wnid in lines:
            raise ValueError(f"{path}:{number}: {wnid} is already in line {lines[wnid]}.")
        lines[wnid] = number
    return tuple(lines)


def read_node_names(path: str | Path, nodes: int) -> tuple[str, ...]:
    """The names of `nodes` nodes, one a line; unlike names of classes they need not differ.

    Raises:
        ValueError: the file is unreadable, has an empty line, or another number of lines.
    """
    names = _filled_lines(Path(path))
    for number, name in enumerate(names, 1):
        if not name:
            raise ValueError(f"{path}:{number}: an empty line; each line names one node.")
    if len(names) != nodes:
        raise ValueError(f"{path}: must have a line for each of {nodes} nodes; has {len(names)}.")
    return tuple(names)


def names_beside(path: str | Path, tree: TreeFile) -> tuple[str, ...]:
    """The names in X.names beside X.tree; without that file the wnids, "_" as space."""
    names = Path(path).with_suffix(".names")
    if names.is_file():
        return read_node_names(names, len(tree.wnids))
    return tuple(wnid.replace("_", " ") for wnid in tree.wnids)


def read_named_tree(name: str | Path) -> tuple[TreeFile, tuple[str, ...]]:
    """The tree in the .tree `name`, or the shipped one, and the names of its nodes.

    Raises:
        FileNotFoundError: there is neither.
        ValueError: it or its names are damaged.
    """
    path = find_tree(name)
    tree = read_tree(path)
    return tree, names_beside(path, tree)


def read_map(path: str | Path, nodes: int) -> tuple[int, ...]:
    """The node of each class, in the order of the classes; two classes may share a node.

    Raises:
        ValueError: the file is unreadable or empty, or a line is not one of 0..nodes - 1.
    """
    lines = _filled_lines(Path(path))
    for number, line in enumerate(lines, 1):
        if not line.isdecimal() or int(line) >= nodes:
            raise ValueError(
                f"{path}:{number}: must be a node, one of 0..{nodes - 1}; got {line!r}."
            )
    return tuple(int(line) for line in lines)


def write_map(path: str | Path, nodes: Sequence[int]) -> None:
    """Write the node of each class, a line each."""
    write_text(path, _lines(map(str, nodes)))


def write_names(path: str | Path, names: Sequence[str]) -> None:
    """Write names, or wnids as .labels, a line each; raises ValueError as `write_tree`."""
    write_text(path, names_text(names, path))


def names_text(names: Sequence[str], path: str | Path) -> str:
    """The text of `names` as the file `path`; raises ValueError as `write_tree`."""
    for number, name in enumerate(names, 1):
        if not name.strip() or name.splitlines() != [name]:
            raise ValueError(f"{path}:{number}: a name must be one line with text; got {name!r}.")
    return _lines(names)


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _filled_lines(path: Path) -> list[str]:
    """The lines up to the last that is not empty."""
    lines = read_lines(path)
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise ValueError(f"{path}: is empty; must have a line for each node or class.")
    return lines
