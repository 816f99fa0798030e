"""Which node of a tree a class of another data set is, judged by its name."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from yolojax.wordtree.files import TreeFile
from yolojax.wordtree.hierarchy import Hierarchy

MOST = 8  # candidates that are shown
# Ends of plurals and what stands there in the singular: morphy(7WN), rules of detachment.
PLURALS = (
    ("men", "man"), ("ies", "y"), ("ches", "ch"), ("shes", "sh"), ("ses", "s"), ("xes", "x"),
    ("zes", "z"), ("s", ""),
)  # fmt: skip


class Match(NamedTuple):
    """What a class may be."""

    node: int | None  # None: to be decided
    candidates: tuple[int, ...]  # best first


class Index(NamedTuple):
    """What names mean, by `key`."""

    named: dict[str, list[int]]  # nodes that have this name
    called: dict[str, list[int]]  # nodes that have it as a synonym
    kinds: dict[str, list[int]]  # nodes that are all the tree has of a concept called so
    above: dict[str, list[int]]  # the nodes above a concept of this name outside the tree
    above_called: dict[str, list[int]]  # the same, where it is a synonym


def match_classes(
    classes: Sequence[str],
    tree: TreeFile,
    names: Sequence[str],
    hierarchy: Hierarchy | None = None,
) -> list[Match]:
    """Propose a node for every class: the one of that wnid, or by name.

    Case, spaces, "_" and "-" do not count; a plural is tried where the word itself means nothing.
    With a hierarchy (WordNet) synonyms count too, and meanings that the tree does not have. A node
    is taken where the name has no other meaning in the tree and, if it is but a synonym, is not the
    usual name of something that the tree does not have; all else is left to be decided.

    Args:
        classes: their wnids, or their names as people write them.
        names: of the nodes of `tree`.
        hierarchy: with the wnids of `tree` as ids.
    """
    index = index_names(tree, names, hierarchy)
    nodes = {wnid: node for node, wnid in enumerate(tree.wnids)}
    known = {wnid: Match(node, (node,)) for wnid, node in nodes.items()}
    return [known.get(name) or match_class(name, index) for name in classes]


def match_class(name: str, index: Index) -> Match:
    """Propose a node for the class `name`."""
    form = next((form for form in forms(name) if any(form in part for part in index)), None)
    named, called, kinds, above, above_called = (part.get(form, []) for part in index)
    own = named or (called if not above else [])
    candidates = named + called + kinds
    if own and len(set(candidates)) == 1:
        return Match(own[0], (own[0],))
    candidates += above + above_called
    if not candidates and len(words := name.replace("_", " ").split()) > 1:
        return match_class(words[-1], index)._replace(node=None)  # "sports ball" is some ball
    return Match(None, tuple(dict.fromkeys(candidates))[:MOST])


def key(name: str) -> str:
    """`name` without what does not count; all of one that has neither letters nor digits."""
    return "".join(filter(str.isalnum, name.casefold())) or name.casefold()


def forms(name: str) -> Iterator[str]:
    """`key` of a name as it stands, then as the singular of a plural."""
    yield key(name)
    for end, singular in PLURALS:
        if key(name).endswith(end):
            yield key(name).removesuffix(end) + singular


def index_names(tree: TreeFile, names: Sequence[str], hierarchy: Hierarchy | None) -> Index:
    """All that the names in the tree and the hierarchy mean."""
    index = Index(*(defaultdict(list) for _ in Index._fields))
    for node, name in enumerate(names):
        index.named[key(name)].append(node)
    if hierarchy:
        nodes = {wnid: node for node, wnid in enumerate(tree.wnids)}
        kinds = only_kinds(nodes, hierarchy)
        for wnid, synonyms in hierarchy.names.items():
            for form, part, found in _meanings(wnid, synonyms, nodes, kinds, hierarchy):
                getattr(index, part)[form].extend(found)
    return index


def _meanings(wnid, synonyms, nodes, kinds, hierarchy) -> Iterator[tuple[str, str, list[int]]]:
    """What each synonym means by the concept `wnid`: (key, field of Index, nodes)."""
    first, *others = map(key, synonyms)
    if wnid in nodes:
        yield first, "named", [nodes[wnid]]
        yield from ((form, "called", [nodes[wnid]]) for form in others)
        return
    if wnid in kinds:
        yield from ((form, "kinds", [kinds[wnid]]) for form in (first, *others))
    above = nearest_above(wnid, nodes, hierarchy)
    yield first, "above", above
    yield from ((form, "above_called", above) for form in others)


def only_kinds(nodes: dict[str, int], hierarchy: Hierarchy) -> dict[str, int]:
    """The concepts outside the tree with just one node below them, and that node.

    They are what `builder.contract` left out for the only child, and the like.
    """
    below = defaultdict(set)
    for wnid, node in nodes.items():
        for concept in _above(wnid, nodes, hierarchy):
            below[concept].add(node)
    return {concept: min(found) for concept, found in below.items() if len(found) == 1}


def nearest_above(wnid: str, nodes: dict[str, int], hierarchy: Hierarchy) -> list[int]:
    """The nodes that a concept outside the tree is a kind of, without others in between."""
    way = (wnid, *_above(wnid, nodes, hierarchy))
    above = (up for concept in way for up in hierarchy.parents[concept])
    return list(dict.fromkeys(nodes[up] for up in above if up in nodes))


def _above(wnid: str, nodes: dict[str, int], hierarchy: Hierarchy) -> dict[str, None]:
    """What `wnid` is a kind of, up to where the tree begins."""
    found: dict[str, None] = {}
    left = [wnid]
    while left:
        for up in hierarchy.parents.get(left.pop(), ()):
            if up not in nodes and up not in found:
                found[up] = None
                left.append(up)
    return found
