"""Matching the classes of a data set to the nodes of a tree by name.

`match_classes` proposes a node for each class. Where the name is ambiguous, the user decides in a
text file of `class = node` lines, which `choices_text` writes and `read_choices` reads.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from yolojax.files import read_lines, write_text
from yolojax.suggestions import did_you_mean
from yolojax.wordtree.files import TreeFile, lineage
from yolojax.wordtree.hierarchy import Hierarchy

MAX_CANDIDATES = 8
# Endings of plurals and of their singulars: morphy(7WN), rules of detachment.
PLURALS = (
    ("men", "man"), ("ies", "y"), ("ches", "ch"), ("shes", "sh"), ("ses", "s"), ("xes", "x"),
    ("zes", "z"), ("s", ""),
)  # fmt: skip
UNDECIDED = "?"
PATH_NAMES = 4  # last names of a path, in a comment
HEADING = """\
# The node of each class: a wnid, a node number (from 0), or a name that only one node has.
# Replace every ? by one of the candidates below it, or by any other node (see `yolojax tree show`).
"""


class Match(NamedTuple):
    """The nodes that a class may belong to."""

    node: int | None  # None: ambiguous or unknown
    candidates: tuple[int, ...]  # best first


class Index(NamedTuple):
    """The nodes that a name may mean, by the `key` of the name.

    The last three fields are about concepts of the hierarchy that are not in the tree.
    """

    by_name: dict[str, list[int]]  # nodes with this name
    by_synonym: dict[str, list[int]]  # nodes with this synonym
    only_below: dict[str, list[int]]  # the only node below a concept with this name or synonym
    above_name: dict[str, list[int]]  # the nearest nodes above a concept with this name
    above_synonym: dict[str, list[int]]  # ... with this synonym


def match_classes(
    classes: Sequence[str],
    tree: TreeFile,
    names: Sequence[str],
    hierarchy: Hierarchy | None = None,
) -> list[Match]:
    """Propose a node for every class, by wnid or by name.

    Case, spaces, "_" and "-" are ignored; if a name is unknown, its singular is tried. With a
    hierarchy (WordNet), synonyms and concepts outside the tree are considered too. A class gets a
    node if its name has one meaning in the tree and, if that is a synonym, the name is not the
    usual one of a concept outside the tree. Otherwise the match has candidates only.

    Args:
        classes: wnids, or names as people write them.
        tree: the tree.
        names: names of the nodes of `tree`.
        hierarchy: concepts by the wnids of `tree`.
    """
    index = index_names(tree, names, hierarchy)
    nodes = {wnid: node for node, wnid in enumerate(tree.wnids)}
    known = {wnid: Match(node, (node,)) for wnid, node in nodes.items()}
    return [known.get(name) or match_class(name, index) for name in classes]


def match_class(name: str, index: Index) -> Match:
    """Propose a node for the class `name`."""
    form = next((form for form in forms(name) if any(form in part for part in index)), None)
    named, synonyms, below, above_name, above_synonym = (part.get(form, []) for part in index)
    meanings = named or (synonyms if not above_name else [])
    candidates = named + synonyms + below
    if meanings and len(set(candidates)) == 1:
        return Match(meanings[0], (meanings[0],))
    candidates += above_name + above_synonym
    if not candidates and len(words := name.replace("_", " ").split()) > 1:
        return match_class(words[-1], index)._replace(node=None)  # "sports ball": a kind of ball
    return Match(None, tuple(dict.fromkeys(candidates))[:MAX_CANDIDATES])


def key(name: str) -> str:
    """Reduce a name to its letters and digits; a name without any is only lower-cased."""
    return "".join(filter(str.isalnum, name.casefold())) or name.casefold()


def forms(name: str) -> Iterator[str]:
    """Yield the `key` of a name, then those of its possible singulars."""
    yield key(name)
    for end, singular in PLURALS:
        if key(name).endswith(end):
            yield key(name).removesuffix(end) + singular


def index_names(tree: TreeFile, names: Sequence[str], hierarchy: Hierarchy | None) -> Index:
    """Index the names in the tree and the hierarchy."""
    index = Index(*(defaultdict(list) for _ in Index._fields))
    for node, name in enumerate(names):
        index.by_name[key(name)].append(node)
    if hierarchy:
        nodes = {wnid: node for node, wnid in enumerate(tree.wnids)}
        only_below = only_nodes_below(nodes, hierarchy)
        for wnid, synonyms in hierarchy.names.items():
            for form, part, meant in _meanings(wnid, synonyms, nodes, only_below, hierarchy):
                getattr(index, part)[form].extend(meant)
    return index


def _meanings(wnid, synonyms, nodes, only_below, hierarchy) -> Iterator[tuple[str, str, list[int]]]:
    """Yield (key, field of Index, nodes) for each name of the concept `wnid`."""
    first, *others = map(key, synonyms)
    if wnid in nodes:
        yield first, "by_name", [nodes[wnid]]
        yield from ((form, "by_synonym", [nodes[wnid]]) for form in others)
        return
    if wnid in only_below:
        yield from ((form, "only_below", [only_below[wnid]]) for form in (first, *others))
    above = nearest_above(wnid, nodes, hierarchy)
    yield first, "above_name", above
    yield from ((form, "above_synonym", above) for form in others)


def only_nodes_below(nodes: dict[str, int], hierarchy: Hierarchy) -> dict[str, int]:
    """Find the concepts outside the tree with exactly one node below them -> {concept: node}.

    `builder.contract` removes such concepts, for example.
    """
    below = defaultdict(set)
    for wnid, node in nodes.items():
        for concept in _above(wnid, nodes, hierarchy):
            below[concept].add(node)
    return {concept: min(found) for concept, found in below.items() if len(found) == 1}


def nearest_above(wnid: str, nodes: dict[str, int], hierarchy: Hierarchy) -> list[int]:
    """Find the nodes above a concept outside the tree, with no other node in between."""
    concepts = (wnid, *_above(wnid, nodes, hierarchy))
    above = (parent for concept in concepts for parent in hierarchy.parents[concept])
    return list(dict.fromkeys(nodes[parent] for parent in above if parent in nodes))


def _above(wnid: str, nodes: dict[str, int], hierarchy: Hierarchy) -> dict[str, None]:
    """Return the ancestors of `wnid` outside the tree that are reached without passing a node."""
    found: dict[str, None] = {}
    pending = [wnid]
    while pending:
        for parent in hierarchy.parents.get(pending.pop(), ()):
            if parent not in nodes and parent not in found:
                found[parent] = None
                pending.append(parent)
    return found


def find_nodes(tree: TreeFile, names: Sequence[str], text: str) -> list[int]:
    """Find the nodes that `text` may mean: a wnid, a node number, or a name of one or more nodes.

    Raises:
        ValueError: there is no such node.
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


def path_text(tree: TreeFile, names: Sequence[str], node: int, last: int = 0) -> str:
    """Format the path to `node` as "animal > dog > terrier", or its `last` names only."""
    path = lineage(tree, node)
    shown = [names[ancestor] for ancestor in path[-last:]]
    return " > ".join(["...", *shown] if len(shown) < len(path) else shown)


def choices_text(
    classes: Sequence[str], matches: Sequence[Match], tree: TreeFile, names: Sequence[str]
) -> str:
    """Format the proposed nodes and the candidates; undecided classes come first."""
    pairs = sorted(zip(classes, matches, strict=True), key=lambda pair: pair[1].node is not None)
    return "\n".join((HEADING, *(_entry(name, match, tree, names) for name, match in pairs)))


def _entry(name: str, match: Match, tree: TreeFile, names: Sequence[str]) -> str:
    chosen = UNDECIDED if match.node is None else tree.wnids[match.node]
    candidates = [
        f"{tree.wnids[node]}  {path_text(tree, names, node, PATH_NAMES)}"
        for node in match.candidates
    ]
    comments = (f"#   {text}\n" for text in candidates or ["no node has this name"])
    return f"{name} = {chosen}\n{''.join(comments)}"


def write_choices(path: str | Path, text: str) -> None:
    """Write `choices_text`; raises ValueError if the file exists, as it may have been edited."""
    if Path(path).exists():
        raise ValueError(f"{path}: exists already; give it as --choices, or remove it.")
    write_text(path, text)


def read_choices(
    path: str | Path, classes: Sequence[str], tree: TreeFile, names: Sequence[str]
) -> dict[str, int]:
    """Read the nodes that are decided in `path` -> {class: node}.

    A line that starts with "#" is a comment, unless it is about a class whose name starts so.

    Raises:
        ValueError: the file is unreadable, a line is not `class = node`, a class is unknown or
            repeated, or a node is unknown or ambiguous; the message has FILE:LINE.
    """
    chosen: dict[str, int] = {}
    lines: dict[str, int] = {}
    for line, text in enumerate(read_lines(path), 1):
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
    """Return the chosen or else the proposed node of each class; None: undecided."""
    return {
        name: choices.get(name, match.node) for name, match in zip(classes, matches, strict=True)
    }
