"""The classes of a data set as nodes of a WordTree."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yolojax.data.records import Record, Source
from yolojax.wordtree.files import SHIPPED, find_tree, names_beside, read_map, read_tree

MOST = 8  # classes that a message names


@dataclass(frozen=True)
class MappedSource:
    """A Source whose labels are nodes; `source.classes` are what they were before."""

    source: Source
    classes: tuple[str, ...]  # of all nodes
    nodes: tuple[int, ...]  # of each class of `source`

    @property
    def name(self) -> str:
        """The SOURCE string."""
        return self.source.name

    @property
    def skipped(self) -> list[str]:
        """The messages of `source`."""
        return self.source.skipped

    @property
    def category_ids(self) -> tuple[int, ...]:
        """The id in COCO's file of each of `classes_of`, of several classes the first's; or ()."""
        ids = getattr(self.source, "category_ids", ())
        return tuple(ids[self.nodes.index(node)] for node in nodes_of(self)) if ids else ()

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Record:
        record, nodes = self.source[index], np.array(self.nodes, np.int32)
        label = self.nodes[record.label] if record.label >= 0 else -1
        return record._replace(labels=nodes[record.labels], label=label)


def to_nodes(
    source: Source,
    wnids: Sequence[str],
    names: Sequence[str],
    map: str,
    field: str = "map",
) -> MappedSource:
    """`source` with nodes as labels.

    Args:
        source: with its own classes.
        wnids: of the nodes.
        names: of the nodes; they need not differ.
        map: a .map, the node of each class of `source`, or the name of a shipped one; "": each
            class is the wnid or the name of its node.
        field: of config.data, that says which .map it is; for messages.

    Raises:
        FileNotFoundError: there is no such .map.
        ValueError: it does not fit the tree or `source`; or a class has no node, or several.
    """
    if map:
        nodes = read_map(find_map(map), len(wnids))
        if len(nodes) != len(source.classes):
            raise ValueError(
                f"{map}: has a node for {len(nodes)} classes, but {source.name} has "
                f"{len(source.classes)}; give the .map of this data as --config.data.{field}."
            )
    else:
        nodes = find_nodes(source.classes, wnids, names, source.name, field)
    return MappedSource(source, tuple(wnids), nodes)


def nodes_of(source: Source) -> tuple[int, ...]:
    """The nodes that `source` can have as labels, each once; () where its labels are no nodes."""
    return tuple(classes_of(source))


def classes_of(source: Source) -> dict[int, str]:
    """{node: class of the source's own}, in the order of these; {} where its labels are no nodes.

    Of a node that several classes share it is all of them, "cup + mug".
    """
    found = defaultdict(list)
    if isinstance(source, MappedSource):
        for node, name in zip(source.nodes, source.source.classes, strict=True):
            found[node].append(name)
    return {node: " + ".join(names) for node, names in found.items()}


def find_nodes(
    classes: Sequence[str],
    wnids: Sequence[str],
    names: Sequence[str],
    where: str,
    field: str = "map",
) -> tuple[int, ...]:
    """The node of each class: that with this wnid or, case, "_" and "-" aside, this name.

    Raises:
        ValueError: a class has no node, or several; `where` is what has the classes, and `field`
            that of config.data for its .map.
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
        more = ", ..." if len(problems) > MOST else ""
        raise ValueError(
            f"{where}: {len(problems)} of {len(classes)} classes have no node of their name alone: "
            f"{', '.join(problems[:MOST])}{more}. Make a .map of all classes with `yolojax tree "
            f"map`, and give it as --config.data.{field}."
        )
    return tuple(nodes[0] for nodes in found)


def _key(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


def find_map(name: str) -> Path:
    """The file of a shipped map ("coco_imagenet1k"), or `name` itself.

    Raises:
        FileNotFoundError: there is neither.
    """
    shipped = {path.stem: path for path in sorted(SHIPPED.glob("*.map"))}
    path = shipped.get(name, Path(name))
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; give a .map (`yolojax tree map` makes one), or a shipped one: "
            f"{', '.join(shipped)}."
        )
    return path


def tree_fields(name: str | Path) -> dict[str, tuple]:
    """`tree`, `classes` and `class_names` of a ModelConfig, for a .tree or a shipped one.

    The names are those of X.names beside X.tree, else the wnids.

    Raises:
        FileNotFoundError: there is no such tree.
        ValueError: it or its names are damaged.
    """
    path = find_tree(name)
    tree = read_tree(path)
    return {
        "tree": tree.parents,
        "classes": tree.wnids,
        "class_names": names_beside(path, tree),
    }
