"""The class tree of a Darknet network: its files beside the .cfg, and the order of its channels."""

from pathlib import Path

import numpy as np

from yolojax.config import ModelConfig
from yolojax.models.layers import WITH_PARAMETERS, Table
from yolojax.wordtree.files import TreeFile, tree_fields, tree_text
from yolojax.wordtree.tree import bucket_layout, make_tree


def find_beside(file: str, folder: Path) -> Path | None:
    """`file`, which a .cfg in `folder` names; None where it is not.

    As it stands, from the folder or the one above it (a .cfg in darknet/cfg names data/9k.tree),
    or in the folder itself.
    """
    tried = (Path(file), folder / file, folder.parent / file, folder / Path(file).name)
    return next((path for path in tried if path.is_file()), None)


def read_tree_of(file: str, folder: Path, name: str) -> dict[str, tuple]:
    """`tree`, `classes` and `class_names` of the ModelConfig of the .cfg `name` in `folder`.

    Raises:
        ValueError: `file`, which it names, is not to be found, or damaged.
    """
    path = find_beside(file, folder)
    if path is None:
        raise ValueError(
            f"{name}: its classes form the tree in {file}, which is not there; put "
            f"{Path(file).name} (and its .names) beside the .cfg. A .tree belongs to its weights: "
            "the authors' 9k.tree comes with Darknet, in data/."
        )
    return tree_fields(path)


def tree_text_of(model: ModelConfig, path: Path) -> str:
    """The tree of `model` as the .tree `path`.

    Raises:
        ValueError: a class is not one word, which the ids in a .tree are.
    """
    return tree_text(TreeFile(model.classes, model.tree), path)


def from_darknet(variables: dict, table: Table, model: ModelConfig) -> dict:
    """`variables` of a .weights file, the last layer's outputs put in the order of ours.

    With a tree, the class channels of each anchor are in that of the nodes there, and in that of
    `bucket_layout` here. Without, or where the file ends before the last layer, nothing changes.
    """
    return _reorder(variables, table, output_order(model)) if model.tree else variables


def to_darknet(variables: dict, table: Table, model: ModelConfig) -> dict:
    """The inverse of `from_darknet`."""
    return _reorder(variables, table, np.argsort(output_order(model))) if model.tree else variables


def output_order(model: ModelConfig) -> np.ndarray:
    """For each output of a network with a tree that of Darknet's which it is."""
    node = bucket_layout(make_tree(model.tree)).node
    if not model.anchors:
        return node
    of_anchor = np.concatenate([np.arange(5), 5 + node])
    return (np.arange(len(model.anchors))[:, None] * len(of_anchor) + of_anchor).ravel()


def _reorder(variables: dict, table: Table, order: np.ndarray) -> dict:
    """`variables` with the outputs `order` of the last layer, the last axis of its leaves."""
    last = [layer.name for layer in table if isinstance(layer, WITH_PARAMETERS)][-1]

    def leaves(layer: str, values: dict) -> dict:
        return {k: v[..., order] for k, v in values.items()} if layer == last else values

    return {
        collection: {layer: leaves(layer, values) for layer, values in layers.items()}
        for collection, layers in variables.items()
    }
