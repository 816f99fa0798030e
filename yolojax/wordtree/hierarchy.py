"""What is a kind of what: the graph that a tree is cut from, and its files other than WordNet."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import yaml

from yolojax.data.parsing import read_lines


class Hierarchy(NamedTuple):
    """Concepts by id, in the order in which siblings are to stand."""

    parents: Mapping[str, tuple[str, ...]]  # what it is a kind of; () for a root
    names: Mapping[str, tuple[str, ...]]  # what it is called, most usual first; at least one
    source: str  # the file, for messages


def concept_id(name: str) -> str:
    """The id of a concept that has only a name: one word, as .tree files need."""
    return "_".join(name.split())


def named_hierarchy(pairs: Iterable[tuple[str, str]], source: str) -> Hierarchy:
    """The graph of (child, parent) names; parent "" for a root.

    Raises:
        ValueError: there is no pair, or something is its own ancestor.
    """
    parents: dict[str, dict[str, None]] = {}
    names: dict[str, tuple[str, ...]] = {}
    for child, parent in pairs:
        for name in filter(None, (parent, child)):
            parents.setdefault(concept_id(name), {})
            names.setdefault(concept_id(name), (" ".join(name.replace("_", " ").split()),))
        if parent:
            parents[concept_id(child)][concept_id(parent)] = None
    if not names:
        raise ValueError(f"{source}: names nothing; it must say what is a kind of what.")
    hierarchy = Hierarchy({child: tuple(up) for child, up in parents.items()}, names, source)
    check_acyclic(hierarchy)
    return hierarchy


def check_acyclic(hierarchy: Hierarchy) -> None:
    """Raises ValueError where something is its own ancestor."""
    try:
        TopologicalSorter(hierarchy.parents).prepare()
    except CycleError as error:
        chain = " is a kind of ".join(reversed(error.args[1]))
        raise ValueError(f"{hierarchy.source}: nothing may be its own ancestor: {chain}.") from None


def rehang(hierarchy: Hierarchy, patches: Mapping[str, tuple[str, ...]]) -> Hierarchy:
    """`hierarchy` with other parents for some of its concepts; patches of others are left out.

    Raises:
        ValueError: something becomes its own ancestor.
    """
    known = {child: up for child, up in patches.items() if child in hierarchy.parents}
    patched = hierarchy._replace(parents={**hierarchy.parents, **known})
    check_acyclic(patched)
    return patched


def read_patches(path: str | Path, hierarchy: Hierarchy) -> dict[str, tuple[str, ...]]:
    """The new parents of some concepts, from a CSV file of child,parent ids.

    Raises:
        ValueError: as `read_csv`, or an id is not in `hierarchy`.
    """
    patches: dict[str, tuple[str, ...]] = {}
    for child, parent in read_pairs(path):
        child, *above = (concept_id(name) for name in (child, parent) if name)
        for wnid in (child, *above):
            if wnid not in hierarchy.parents:
                raise ValueError(f"{path}: {wnid} is not in {hierarchy.source}.")
        patches[child] = (*patches.get(child, ()), *above)
    return patches


def read_csv(path: str | Path) -> Hierarchy:
    """The hierarchy in a CSV file of `child,parent` names; no parent for a root.

    A child may have several lines, one for each parent. A first line `child,parent` is a heading.

    Raises:
        ValueError: the file is unreadable, a line has not two fields, or there is a cycle.
    """
    return named_hierarchy(read_pairs(path), str(path))


def read_pairs(path: str | Path) -> Iterator[tuple[str, str]]:
    """The (child, parent) pairs of a CSV file; raises ValueError as `read_csv`."""
    for number, line in enumerate(read_lines(Path(path)), 1):
        fields = [field.strip() for field in next(csv.reader([line]), [])]
        if not fields or (number == 1 and fields == ["child", "parent"]):
            continue
        if len(fields) != 2 or not fields[0]:
            raise ValueError(f"{path}:{number}: must be `child,parent`; got {line!r}.")
        yield fields[0], fields[1]


def read_nested(path: str | Path) -> Hierarchy:
    """The hierarchy in a YAML or JSON file of names within names.

    A mapping has the names of concepts as keys, and what is a kind of them as values: another
    mapping, a list, one name, or nothing. Each name stands for one concept, in one place.

    Raises:
        ValueError: the file is unreadable or no such text, or a name comes twice.
    """
    try:
        document = yaml.compose("\n".join(_raw_lines(path)), Loader=yaml.SafeLoader)
        places = check_places(_nested_places(document, "", str(path)), str(path))
        return named_hierarchy(places, str(path))
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: not valid YAML or JSON: {reason}.") from error
    except RecursionError:
        raise ValueError(f"{path}: is nested too deeply, or an alias holds itself.") from None


def _raw_lines(path: str | Path) -> list[str]:
    read_lines(Path(path))  # for its errors; indentation matters here
    return Path(path).read_text("utf-8-sig").splitlines()


class Place(NamedTuple):
    """Where a name stands in a nested file."""

    name: str
    parent: str  # "" at the top
    line: int

    def __str__(self) -> str:
        return f"line {self.line} {f'(a kind of {self.parent})' if self.parent else '(at the top)'}"


def check_places(places: Iterable[Place], path: str) -> list[tuple[str, str]]:
    """The (child, parent) pairs of `places`.

    Raises:
        ValueError: a name comes twice. It may be a word with two meanings, of which one would be
            lost; or one thing of two kinds, of which a tree has one.
    """
    first: dict[str, Place] = {}
    for place in places:
        if (other := first.setdefault(concept_id(place.name), place)) is not place:
            raise ValueError(
                f"{path}:{place.line}: {place.name!r} stands in {other} and in {place}; give two "
                "concepts two names (crane bird, crane machine), and one concept one place, or "
                "write a CSV of child,parent lines, from which the tree takes one path."
            )
    return [(place.name, place.parent) for place in first.values()]


def _nested_places(node: yaml.Node | None, parent: str, path: str) -> Iterator[Place]:
    """The names in `node`, all that is said to be a kind of `parent`."""
    if isinstance(node, yaml.ScalarNode):
        if node.value and not node.tag.endswith(":null"):
            yield Place(node.value, parent, node.start_mark.line + 1)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _nested_places(item, parent, path)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or not key.value:
                raise ValueError(f"{path}:{line}: a key must be the name of a concept.")
            yield Place(key.value, parent, line)
            yield from _nested_places(value, key.value, path)
