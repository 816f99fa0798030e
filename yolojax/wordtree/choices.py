"""The file in which a person decides what the names of classes mean: `class = node` lines."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from yolojax.data.parsing import read_lines
from yolojax.files import write_text
from yolojax.suggestions import did_you_mean
from yolojax.wordtree.files import TreeFile
from yolojax.wordtree.matching import Match
from yolojax.wordtree.survey import find_nodes, way

UNDECIDED = "?"
SHOWN = 4  # names of a node's lineage in a comment
HEADING = """\
# The node of each class: a wnid, the number of a line from 0 on, or a name that only one node has.
# Replace every ? by one of the candidates below it, or by any other node (see `yolojax tree show`).
"""


def choices_text(
    classes: Sequence[str], matches: Sequence[Match], tree: TreeFile, names: Sequence[str]
) -> str:
    """What was proposed, and the candidates where it was not clear; these first."""
    pairs = sorted(zip(classes, matches, strict=True), key=lambda pair: pair[1].node is not None)
    return "\n".join((HEADING, *(_entry(name, match, tree, names) for name, match in pairs)))


def _entry(name: str, match: Match, tree: TreeFile, names: Sequence[str]) -> str:
    chosen = UNDECIDED if match.node is None else tree.wnids[match.node]
    candidates = [
        f"{tree.wnids[node]}  {way(tree, names, node, SHOWN)}" for node in match.candidates
    ]
    comments = (f"#   {text}\n" for text in candidates or ["no node has such a name"])
    return f"{name} = {chosen}\n{''.join(comments)}"


def write_choices(path: str | Path, text: str) -> None:
    """Write `choices_text`; raises ValueError where a file is there, which may have been edited."""
    if Path(path).exists():
        raise ValueError(f"{path}: exists already; give it with --choices, or remove it.")
    write_text(path, text)


def read_choices(
    path: str | Path, classes: Sequence[str], tree: TreeFile, names: Sequence[str]
) -> dict[str, int]:
    """The node of each class that is decided in `path`.

    A line from "#" on is a comment, unless it decides about a class whose name begins so.

    Raises:
        ValueError: the file is unreadable, a line is not `class = node`, a class is unknown or
            comes twice, or a node does not exist or is ambiguous; the message has FILE:LINE.
    """
    chosen: dict[str, int] = {}
    lines: dict[str, int] = {}
    for line, text in enumerate(read_lines(Path(path)), 1):
        name, equals, node = (part.strip() for part in text.rpartition("="))
        if not text or (text.startswith("#") and name not in classes):
            continue
        place = f"{path}:{line}"
        if not (name and equals and node):
            raise ValueError(f"{place}: must be `class = node`; got {text!r}.")
        if name not in classes:
            raise ValueError(f"{place}: no class {name!r}.{did_you_mean(name, classes)}")
        if lines.setdefault(name, line) != line:
            raise ValueError(f"{place}: {name!r} is already in line {lines[name]}.")
        if node != UNDECIDED:
            chosen[name] = _only_node(node, tree, names, place)
    return chosen


def _only_node(text: str, tree: TreeFile, names: Sequence[str], place: str) -> int:
    try:
        found = find_nodes(tree, names, text)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None
    if len(found) > 1:
        wnids = ", ".join(tree.wnids[node] for node in found)
        raise ValueError(f"{place}: several nodes have the name {text!r}; write one of {wnids}.")
    return found[0]


def decide(
    classes: Sequence[str], matches: Sequence[Match], choices: Mapping[str, int]
) -> dict[str, int | None]:
    """The node of each class, in their order: as chosen or else as proposed; None: undecided."""
    return {
        name: choices.get(name, match.node) for name, match in zip(classes, matches, strict=True)
    }
