"""Hierarchies of concepts, from which trees are built: WordNet's nouns, or the user's own file.

A hierarchy is a directed acyclic graph: a concept may have several parents. Of WordNet only
`data.noun` is read (format: the manual page wndb(5WN)). ImageNet's wnids are "n" and the offset of
a synset in that file of WordNet 3.0; other versions have other offsets.
"""

import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import yaml

from yolojax.files import read_lines, read_utf8

WORDNET_FOLDERS = ("/usr/share/wordnet", "/usr/local/WordNet-3.0/dict", "/usr/local/share/wordnet")
# Physical entity; "physical object" in the paper (docs/notes/wordtree.md).
WORDNET_ROOT = "n00001930"
HYPERNYMS = ("@", "@i")  # pointers to the parents of classes and of instances

# Parents in the authors' 9k.tree that differ from WordNet's. Without them three ILSVRC classes
# (traffic light, street sign, bubble) are not below the root, as they are no physical entities.
WORDNET_PATCHES = {
    "n06791372": ("n03183080",),  # signal: below device
    "n06793231": ("n06791372",),  # sign (public display of a message): below signal
    "n09229709": ("n03964744",),  # bubble: below plaything
}


class Hierarchy(NamedTuple):
    """Concepts by id, in the order that siblings get in a tree."""

    parents: Mapping[str, tuple[str, ...]]  # () for a root
    names: Mapping[str, tuple[str, ...]]  # at least one, the most usual first
    source: str  # the file, for messages


def concept_id(name: str) -> str:
    """Turn the name of a concept into its id: one word, as .tree files require."""
    return "_".join(name.split())


def named_hierarchy(pairs: Iterable[tuple[str, str]], source: str) -> Hierarchy:
    """Build a hierarchy from (child, parent) names; parent "" for a root.

    Raises:
        ValueError: there is no pair, or a concept is its own ancestor.
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
        raise ValueError(f"{source}: no concepts; list each concept with its parent.")
    hierarchy = Hierarchy({child: tuple(up) for child, up in parents.items()}, names, source)
    check_acyclic(hierarchy)
    return hierarchy


def check_acyclic(hierarchy: Hierarchy) -> None:
    """Raise ValueError if a concept is its own ancestor."""
    try:
        TopologicalSorter(hierarchy.parents).prepare()
    except CycleError as error:
        chain = " is a kind of ".join(reversed(error.args[1]))
        raise ValueError(
            f"{hierarchy.source}: a concept must not be its own ancestor: {chain}."
        ) from None


def rehang(hierarchy: Hierarchy, patches: Mapping[str, tuple[str, ...]]) -> Hierarchy:
    """Replace the parents of some concepts; `patches` of unknown concepts are ignored.

    Raises:
        ValueError: a concept becomes its own ancestor.
    """
    known = {child: up for child, up in patches.items() if child in hierarchy.parents}
    patched = hierarchy._replace(parents={**hierarchy.parents, **known})
    check_acyclic(patched)
    return patched


def read_patches(path: str | Path, hierarchy: Hierarchy) -> dict[str, tuple[str, ...]]:
    """Read the new parents of some concepts from a CSV file of child,parent ids.

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
    """Read a hierarchy from a CSV file of `child,parent` names; a root has an empty parent.

    A child has one line for each of its parents. A first line `child,parent` is a heading.

    Raises:
        ValueError: the file is unreadable, a line does not have two fields, or there is a cycle.
    """
    return named_hierarchy(read_pairs(path), str(path))


def read_pairs(path: str | Path) -> Iterator[tuple[str, str]]:
    """Yield the (child, parent) pairs of a CSV file; raises ValueError as `read_csv` does."""
    for number, line in enumerate(read_lines(path), 1):
        fields = [field.strip() for field in next(csv.reader([line]), [])]
        if not fields or (number == 1 and fields == ["child", "parent"]):
            continue
        if len(fields) != 2 or not fields[0]:
            raise ValueError(f"{path}:{number}: must be `child,parent`; got {line!r}.")
        yield fields[0], fields[1]


def read_nested(path: str | Path) -> Hierarchy:
    """Read a hierarchy from a YAML or JSON file of nested names.

    The keys of a mapping are concepts; the value of a key is its children: another mapping, a list,
    one name, or nothing. Each name stands for one concept and appears once.

    Raises:
        ValueError: the file is unreadable or malformed, or a name is repeated.
    """
    try:
        document = yaml.compose(read_utf8(path), Loader=yaml.SafeLoader)
        places = check_places(_nested_places(document, "", str(path)), str(path))
        return named_hierarchy(places, str(path))
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: not valid YAML or JSON: {reason}.") from error
    except RecursionError:
        raise ValueError(f"{path}: is nested too deeply, or an alias contains itself.") from None


class Place(NamedTuple):
    """The position of a name in a nested file."""

    name: str
    parent: str  # "" at the top
    line: int

    def __str__(self) -> str:
        return f"line {self.line} ({f'below {self.parent}' if self.parent else 'at the top'})"


def check_places(places: Iterable[Place], path: str) -> list[tuple[str, str]]:
    """Return the (child, parent) pairs of `places`.

    Raises:
        ValueError: a name is repeated. Either it has two meanings, or one concept has two parents,
            and a nested file can express neither.
    """
    first: dict[str, Place] = {}
    for place in places:
        if (other := first.setdefault(concept_id(place.name), place)) is not place:
            raise ValueError(
                f"{path}:{place.line}: {place.name!r} is in {other} and in {place}. Give two "
                "concepts two names (crane bird, crane machine) and one concept one place, or "
                "write a CSV of child,parent lines, from which the tree takes one path."
            )
    return [(place.name, place.parent) for place in first.values()]


def _nested_places(node: yaml.Node | None, parent: str, path: str) -> Iterator[Place]:
    """Yield the names in `node`, which are below `parent`."""
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


def find_wordnet(folder: str | Path | None = None) -> Path:
    """Find the folder with `data.noun`: `folder`, $WORDNET_DIR, or where packages install it.

    Raises:
        FileNotFoundError: none of them has the file.
    """
    given = folder or os.environ.get("WORDNET_DIR")
    folders = (given,) if given else WORDNET_FOLDERS
    for candidate in map(Path, folders):
        if (candidate / "data.noun").is_file():
            return candidate
    raise FileNotFoundError(
        f"no data.noun of WordNet 3.0 in {', '.join(map(str, folders))}; install it "
        "(Debian: wordnet-base), or give its folder as --wordnet or $WORDNET_DIR."
    )


def read_wordnet(folder: str | Path) -> Hierarchy:
    """Read the nouns in FOLDER/data.noun; the parents of each are sorted by name.

    Their order decides between paths of equal growth; this one comes closest to the authors' tree.

    Raises:
        ValueError: the file is unreadable, or a line is not in WordNet's format.
    """
    path = Path(folder) / "data.noun"
    parents, names = {}, {}
    for line, text in _synsets(path):
        try:
            wnid, lemmas, above = _parse_synset(text)
        except (ValueError, IndexError):
            raise ValueError(f"{path}:{line}: not a synset of WordNet: {text[:60]!r}.") from None
        parents[wnid], names[wnid] = above, lemmas
    for wnid, above in parents.items():
        unknown = next((parent for parent in above if parent not in names), None)
        if unknown:
            raise ValueError(f"{path}: {wnid} points to {unknown}, which is not in the file.")
        parents[wnid] = tuple(sorted(above, key=lambda parent: _sort_key(parent, names)))
    return Hierarchy(parents, names, str(path))


def _sort_key(wnid: str, names: dict[str, tuple[str, ...]]) -> tuple[str, str]:
    return names[wnid][0].lower().replace(" ", "_"), wnid  # a space would sort before "-"


def _synsets(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (number, text) of all lines but the licence, whose lines start with their number."""
    for number, text in enumerate(read_lines(path), 1):
        if text and text.split()[0] != str(number):
            yield number, text


def _parse_synset(text: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Parse `offset file type count lemma id ... count pointer offset type source-target ... |`."""
    words = text.partition(" | ")[0].split()
    end = 4 + 2 * int(words[3], 16)  # the count of lemmas is hexadecimal
    lemmas = tuple(lemma.replace("_", " ") for lemma in words[4:end:2])
    pointers = words[end + 1 : end + 1 + 4 * int(words[end])]
    above = [
        "n" + offset
        for symbol, offset in zip(pointers[::4], pointers[1::4], strict=True)
        if symbol in HYPERNYMS
    ]
    whole = len(pointers) == 4 * int(words[end]) and len(words[0]) == 8 and words[0].isdecimal()
    if words[2] != "n" or not lemmas or not whole:
        raise ValueError(text)
    return "n" + words[0], lemmas, tuple(above)
