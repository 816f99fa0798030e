"""Mapping the classes of a data set to nodes of a WordTree."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolojax.data.records import Record, Source
from yolojax.wordtree.files import find_map, read_map

MAX_LISTED = 8  # classes in a message


@dataclass(frozen=True)
class MappedSource:
    """A source whose labels are nodes; `source` is the same with its own classes."""

    source: Source
    classes: tuple[str, ...]  # the wnids of all nodes
    nodes: tuple[int, ...]  # the node of each class of `source`

    @property
    def name(self) -> str:
        """The SOURCE string."""
        return self.source.name

    @property
    def skipped(self) -> list[str]:
        """The messages of skipped records of `source`."""
        return self.source.skipped

    @property
    def notes(self) -> list[str]:
        """The notes of `source`."""
        return self.source.notes

    @property
    def original_ids(self) -> Mapping[str, Any]:
        """The ids of the pictures in the annotation file of `source`."""
        return getattr(self.source, "original_ids", {})

    @property
    def unreadable(self) -> list[tuple[Record, str]]:
        """The records of `source` whose pictures cannot be read, and messages."""
        pairs = getattr(self.source, "unreadable", ())
        return [(self._mapped(record), message) for record, message in pairs]

    @property
    def annotated(self) -> bool:
        """Whether `source` has ground truth."""
        return getattr(self.source, "annotated", True)

    @property
    def category_ids(self) -> tuple[int, ...]:
        """The COCO id of each node in `classes_of` (of its first class); () if there are none."""
        ids = getattr(self.source, "category_ids", ())
        return tuple(ids[self.nodes.index(node)] for node in nodes_of(self)) if ids else ()

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Record:
        return self._mapped(self.source[index])

    def _mapped(self, record: Record) -> Record:
        nodes = np.array(self.nodes, np.int32)
        label = self.nodes[record.label] if record.label >= 0 else -1
        return record._replace(labels=nodes[record.labels], label=label)


def to_nodes(
    source: Source,
    wnids: Sequence[str],
    names: Sequence[str],
    map_file: str,
    field: str = "map",
) -> MappedSource:
    """Map the labels of `source` to nodes.

    Args:
        source: a source with its own classes.
        wnids: wnids of the nodes.
        names: names of the nodes; several nodes may share one.
        map_file: a .map or the name of a shipped one, with the node of each class of `source`;
            "": each class is the wnid or the name of its node.
        field: the field of config.data with the .map, for messages.

    Raises:
        FileNotFoundError: there is no such .map.
        ValueError: the .map does not fit the tree or `source`, or a class does not have exactly one
            node.
    """
    if map_file:
        nodes = read_map(find_map(map_file), len(wnids))
        if len(nodes) != len(source.classes):
            raise ValueError(
                f"{map_file}: has a node for {len(nodes)} classes, but {source.name} has "
                f"{len(source.classes)}; give the .map of this data as --config.data.{field}."
            )
    else:
        nodes = find_nodes(source.classes, wnids, names, source.name, field)
    return MappedSource(source, tuple(wnids), nodes)


def nodes_of(source: Source) -> tuple[int, ...]:
    """Return the nodes that are labels of `source`, without repeats; () if labels are no nodes."""
    return tuple(classes_of(source))


def classes_of(source: Source) -> dict[int, str]:
    """Return {node: class of the data set}, in class order; {} if labels are no nodes.

    The name of a node with several classes joins them, as in "cup + mug".
    """
    classes = defaultdict(list)
    if isinstance(source, MappedSource):
        for node, name in zip(source.nodes, source.source.classes, strict=True):
            classes[node].append(name)
    return {node: " + ".join(names) for node, names in classes.items()}


def find_nodes(
    classes: Sequence[str],
    wnids: Sequence[str],
    names: Sequence[str],
    where: str,
    field: str = "map",
) -> tuple[int, ...]:
    """Find the node of each class by wnid or by name; case, "_" and "-" are ignored.

    Args:
        classes: the classes.
        wnids: wnids of the nodes.
        names: names of the nodes.
        where: the name of the data set, for messages.
        field: the field of config.data with its .map, for messages.

    Raises:
        ValueError: a class has no node, or several.
    """
    by_wnid, by_name = {wnid: node for node, wnid in enumerate(wnids)}, defaultdict(list)
    for node, name in enumerate(names):
        by_name[_key(name)].append(node)
    found = [[by_wnid[c]] if c in by_wnid else by_name.get(_key(c), []) for c in classes]
    problems = [
        f"{name} ({f'one of {nodes}' if nodes else 'none'})"
        for name, nodes in zip(classes, found, strict=True)
        if len(nodes) != 1
    ]
    if problems:
        more = ", ..." if len(problems) > MAX_LISTED else ""
        raise ValueError(
            f"{where}: {len(problems)} of {len(classes)} classes do not name exactly one node: "
            f"{', '.join(problems[:MAX_LISTED])}{more}. Make a .map of all classes with "
            f"`yolojax tree map`, and give it as --config.data.{field}."
        )
    return tuple(nodes[0] for nodes in found)


def _key(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())
