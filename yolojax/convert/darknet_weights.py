"""Darknet .weights files: a header, then the float32 parameters of each layer, nothing between."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from yolojax.models.network import Network, variable_shapes
from yolojax.models.tables import Conv, Table

VERSION = (0, 2, 0)  # what Darknet writes since 2017: `seen` has 64 bits

# The leaves of a convolution in a file's order; beta is called bias with batch normalisation too.
WITH_BIAS = (("params", "bias"), ("params", "kernel"))
WITH_BATCH_NORM = (
    ("params", "bias"),
    ("params", "scale"),
    ("batch_stats", "mean"),
    ("batch_stats", "var"),
    ("params", "kernel"),
)


class Entry(NamedTuple):
    """One run of floats in a file and where it belongs among the variables."""

    index: int  # of the layer in the table
    collection: str  # "params" or "batch_stats"
    layer: str
    leaf: str
    shape: tuple[int, ...]  # of the leaf; kernels [k, k, in, out]

    @property
    def size(self) -> int:
        """How many floats it has."""
        return math.prod(self.shape)


def entries(table: Table, variables: dict) -> Iterator[Entry]:
    """What a .weights file of `table` holds, in its order (parser.c, save_weights_upto).

    `variables` may be arrays or jax.ShapeDtypeStruct.
    """
    for index, layer in enumerate(table):
        if isinstance(layer, Conv):
            for collection, leaf in WITH_BATCH_NORM if layer.batch_norm else WITH_BIAS:
                shape = variables[collection][layer.name][leaf].shape
                yield Entry(index, collection, layer.name, leaf, shape)


def load_weights(
    path: str | Path, model: Network, *, image_size: tuple[int, int] = (416, 416)
) -> tuple[dict, int]:
    """The variables of `model` from a .weights file and how many images they were trained on.

    Returns:
        {"params": {layer: {leaf: float32 array}}, "batch_stats": likewise} and `seen`.

    Raises:
        ValueError: the file does not have exactly the length that `model` needs.
    """
    header, seen = read_header(path)
    parts = list(entries(model.table, variable_shapes(model, image_size)))
    _check_length(Path(path), header, parts)
    floats = np.fromfile(path, "<f4", offset=header)
    ends = list(itertools.accumulate(part.size for part in parts))
    variables: dict = {"params": {}, "batch_stats": {}}
    for part, values in zip(parts, np.split(floats, ends[:-1]), strict=True):
        layer = variables[part.collection].setdefault(part.layer, {})
        layer[part.leaf] = _from_file(values, part.shape)
    return variables, seen


def save_weights(path: str | Path, model: Network, variables: dict, seen: int) -> None:
    """Writes the `variables` of `model` and the images `seen`, as Darknet does."""
    with open(path, "wb") as file:
        file.write(np.array(VERSION, "<i4").tobytes() + np.array(seen, "<u8").tobytes())
        for part in entries(model.table, variables):
            values = np.asarray(variables[part.collection][part.layer][part.leaf], "<f4")
            file.write((values.transpose(3, 2, 0, 1) if values.ndim == 4 else values).tobytes())


def read_header(path: str | Path) -> tuple[int, int]:
    """The length of the header in bytes and `seen`, the images trained on (parser.c).

    Raises:
        ValueError: the file is too short to be a .weights file.
    """
    with open(path, "rb") as file:
        data = file.read(20)
    if len(data) < 20:
        raise ValueError(f"{path}: not a Darknet .weights file, it has only {len(data)} bytes.")
    major, minor = map(int, np.frombuffer(data, "<i4", 2))
    if major * 10 + minor >= 2 and major < 1000 and minor < 1000:
        return 20, int(np.frombuffer(data, "<u8", 1, offset=12)[0])
    return 16, int(np.frombuffer(data, "<i4", 1, offset=12)[0])


def _from_file(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """`values` as a leaf of `shape`; Darknet's kernels are [out, in, k, k]."""
    if len(shape) != 4:
        return values.reshape(shape)
    height, width, inputs, filters = shape
    return np.ascontiguousarray(
        values.reshape(filters, inputs, height, width).transpose(2, 3, 1, 0)
    )


def _check_length(path: Path, header: int, parts: list[Entry]) -> None:
    expected, found = header + 4 * sum(part.size for part in parts), path.stat().st_size
    if found == expected:
        return
    floats = (found - header) // 4
    ends = itertools.accumulate(part.size for part in parts)
    short = next((part for part, end in zip(parts, ends, strict=True) if end > floats), None)
    where = (
        f"it ends inside layer {short.index} ({short.layer}, {short.leaf})"
        if short
        else f"{found - expected} bytes follow layer {parts[-1].index} ({parts[-1].layer})"
    )
    raise ValueError(
        f"{path}: {where}; the network needs {expected} bytes ({header} of header), the file has "
        f"{found}. Network, classes, anchors and width must be those of the file."
    )
