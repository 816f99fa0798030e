"""The class tree of a Darknet network: its files and the order of its output channels."""

from pathlib import Path

import numpy as np

from yolojax.config import ModelConfig
from yolojax.models.layers import WITH_PARAMETERS, Table
from yolojax.wordtree.files import TreeFile, tree_fields, tree_text
from yolojax.wordtree.tree import bucket_layout, make_tree


def find_beside(file: str, folder: Path) -> Path | None:
    """Return the path of `file`, which a .cfg in `folder` names, or None if it does not exist.

    Searched relative to the working directory, to `folder` and its parent (a .cfg in darknet/cfg
    names data/9k.tree), and by its name in `folder`.
    """
    tried = (Path(file), folder / file, folder.parent / file, folder / Path(file).name)
    return next((path for path in tried if path.is_file()), None)


def read_tree_of(file: str, folder: Path, name: str) -> dict[str, tuple]:
    """Return `tree`, `classes` and `class_names` of the ModelConfig from the .tree `file`.

    `name` and `folder` are those of the .cfg that names `file`.

    Raises:
        ValueError: `file` is missing or damaged.
    """
    path = find_beside(file, folder)
    if path is None:
        raise ValueError(
            f"{name}: the class tree {file} does not exist; put {Path(file).name} (and its .names) "
            "next to the .cfg. Weights need the .tree they were trained with: the authors' 9k.tree "
            "is in data/ of Darknet."
        )
    return tree_fields(path)


def tree_text_of(model: ModelConfig, path: Path) -> str:
    """Format the tree of `model` as a .tree file; `path` is for messages.

    Raises:
        ValueError: a class has more than one word, which a .tree does not allow.
    """
    return tree_text(TreeFile(model.classes, model.tree), path)


def from_darknet(variables: dict, table: Table, model: ModelConfig) -> dict:
    """Reorder the last layer's outputs of `variables` from a .weights file.

    With a tree, Darknet orders the class channels of each anchor by node and yolojax by
    `bucket_layout`. Without a tree, or without the last layer, nothing changes.
    """
    return _reorder(variables, table, output_order(model)) if model.tree else variables


def to_darknet(variables: dict, table: Table, model: ModelConfig) -> dict:
    """Apply the inverse of `from_darknet`."""
    return _reorder(variables, table, np.argsort(output_order(model))) if model.tree else variables


def output_order(model: ModelConfig) -> np.ndarray:
    """Return Darknet's index of each output channel of a network with a tree."""
    node = bucket_layout(make_tree(model.tree)).node
    if not model.anchors:
        return node
    of_anchor = np.concatenate([np.arange(5), 5 + node])
    return (np.arange(len(model.anchors))[:, None] * len(of_anchor) + of_anchor).ravel()


def _reorder(variables: dict, table: Table, order: np.ndarray) -> dict:
    """Index the last axis of the last layer's leaves by `order`."""
    last = [layer.name for layer in table if isinstance(layer, WITH_PARAMETERS)][-1]

    def leaves(layer: str, values: dict) -> dict:
        return {k: v[..., order] for k, v in values.items()} if layer == last else values

    return {
        collection: {layer: leaves(layer, values) for layer, values in layers.items()}
        for collection, layers in variables.items()
    }
