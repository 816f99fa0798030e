"""Darknet .weights files: a header, then the float32 parameters of each layer without padding."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from yolojax.darknet import published_files
from yolojax.darknet.header import VERSION, Header, header_bytes, read_header
from yolojax.files import open_atomic, release_mapped
from yolojax.models.layers import (
    STATISTICS,
    Connected,
    Table,
    count_outputs_of_last,
)
from yolojax.models.network import Network, variable_shapes

CHUNK = 1 << 22  # floats (16 MB) checked or copied at a time


class Entry(NamedTuple):
    """A run of floats in a file and its leaf of the variables."""

    index: int  # of the layer in the table
    collection: str  # "params" or "batch_stats"
    layer: str
    leaf: str
    shape: tuple[int, ...]  # of the leaf
    axes: tuple[int, ...]  # of the file's array, in the order of the leaf's

    @property
    def size(self) -> int:
        """The number of floats."""
        return math.prod(self.shape)

    def from_file(self, floats: np.ndarray) -> np.ndarray:
        """Return the leaf, a view of the file's `floats` [size]."""
        return floats.reshape([self.shape[i] for i in np.argsort(self.axes)]).transpose(self.axes)

    def to_file(self, leaf: np.ndarray) -> np.ndarray:
        """Return the file's array, a view of `leaf`."""
        return leaf.transpose(np.argsort(self.axes))


def entries(table: Table, variables: dict, *, transposed: bool = False) -> Iterator[Entry]:
    """Yield the entries of a .weights file of `table`, in its order (parser.c, save_weights_upto).

    `variables` may be arrays or jax.ShapeDtypeStruct; `transposed` is Header.transposed.
    """
    for index, layer in enumerate(table):
        for leaf in layer.leaves:
            collection = _collection(leaf)
            shape = tuple(variables[collection][layer.name][leaf].shape)
            axes = layer.file_axes.get(leaf, tuple(range(len(shape))))
            if transposed and isinstance(layer, Connected):
                axes = tuple(range(len(shape)))
            yield Entry(index, collection, layer.name, leaf, shape, axes)


def _collection(leaf: str) -> str:
    return "batch_stats" if leaf in STATISTICS else "params"


def load_weights(
    path: str | Path, model: Network, *, image_size: tuple[int, int], upto: int | None = None
) -> tuple[dict, int]:
    """Read the variables of `model` from a .weights file, and the images they were trained on.

    The file is mapped: the leaves are read-only views of it, and so may be JAX arrays made of them
    on CPU. It must not be written in place while they are in use; `save_weights` to the same name
    is safe.

    Args:
        path: the file.
        model: the network.
        image_size: (height, width), on which local and connected layers depend.
        upto: the file, and so the result, holds only the layers before this index (Darknet's
            `partial`).

    Returns:
        {"params": {layer: {leaf: float32 array}}, "batch_stats": likewise} and `seen`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a .weights file, has another length than `model` needs, or holds
            values that are not finite or negative variances.
    """
    path, header = Path(path), read_header(path)
    every = _every(model, image_size, header)
    parts = _before(every, upto, model.table)
    _check_length(path, header, parts, every, len(model.table))
    ends = list(itertools.accumulate(part.size for part in parts))
    floats = np.asarray(np.memmap(path, "<f4", "r", offset=header.size, shape=(ends[-1],)))
    variables: dict = {"params": {}, "batch_stats": {}}
    for part, end in zip(parts, ends, strict=True):
        values = floats[end - part.size : end]
        _check_values(path, part, values)
        release_mapped(values)  # a large file need not be in memory as a whole
        layer = variables[part.collection].setdefault(part.layer, {})
        layer[part.leaf] = part.from_file(values)
    return variables, header.seen


def save_weights(
    path: str | Path,
    model: Network,
    variables: dict,
    seen: int,
    *,
    version: tuple[int, int, int] = VERSION,
    upto: int | None = None,
) -> None:
    """Write the `variables` of `model` and the images `seen`, whole or not at all.

    Args:
        path: the file; `variables` may be views of it.
        model: the network.
        variables: as from `load_weights`, of NumPy or JAX arrays.
        seen: images trained on.
        version: of the header. Darknet reads `seen` as 64 bits from (0, 2, 0) on, as 32 bits in
            (0, 1, 0), and connected kernels as [in, out] where major or minor exceeds 1000.
        upto: write only the layers before this index, as Darknet's `partial` does.

    Raises:
        ValueError: `variables` are not those of `model`, or `seen` does not fit the header.
    """
    start = header_bytes(version, int(seen))
    table = model.table[:upto]
    _check_variables(table, variables)
    every = list(entries(table, variables, transposed=Header(version, seen).transposed))
    parts = _before(every, upto, model.table)
    with open_atomic(path) as file:
        file.write(start)
        for part in parts:
            leaf = np.asarray(variables[part.collection][part.layer][part.leaf])
            for rows in _chunks(part.to_file(leaf)):
                file.write(np.ascontiguousarray(rows, "<f4").data)


def prefix_of(path: str | Path, model: Network, *, image_size: tuple[int, int]) -> int | None:
    """Return the `upto` that fits the length of the file, or None.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a .weights file.
    """
    header = read_header(path)
    every = _every(model, image_size, header)
    return _prefix(Path(path).stat().st_size - header.size, every, len(model.table))


def _every(model: Network, image_size: tuple[int, int], header: Header) -> list[Entry]:
    shapes = variable_shapes(model, image_size)
    return list(entries(model.table, shapes, transposed=header.transposed))


def _prefix(length: int, every: list[Entry], layers: int) -> int | None:
    """Return how many of `layers` have `length` bytes of parameters, or None."""
    bounds = itertools.accumulate(4 * part.size for part in every)
    for part, bound, after in zip(every, bounds, [*every[1:], None], strict=True):
        if bound == length:
            whole_layer = after is None or after.index > part.index
            return (layers if after is None else part.index + 1) if whole_layer else None
    return None


def _before(parts: list[Entry], upto: int | None, table: Table) -> list[Entry]:
    """Return those of `parts` in the layers before index `upto`."""
    entries_before = parts if upto is None else [part for part in parts if part.index < upto]
    if not entries_before or (upto is not None and upto > len(table)):
        first = 1 + next(i for i, layer in enumerate(table) if layer.leaves)
        raise ValueError(
            f"upto must be from {first} to {len(table)}, how many layers the file has; got {upto}."
        )
    return entries_before


def _chunks(array: np.ndarray) -> Iterator[np.ndarray]:
    """Split `array` into whole rows of about CHUNK values together."""
    rows = max(1, CHUNK * len(array) // array.size)
    return (array[start : start + rows] for start in range(0, len(array), rows))


def _check_values(path: Path, part: Entry, values: np.ndarray) -> None:
    for chunk in _chunks(values):
        bad = chunk[~np.isfinite(chunk) | ((part.leaf == "var") & (chunk < 0))]
        if bad.size:
            what = "a negative variance" if np.isfinite(bad[0]) else "no number"
            raise ValueError(
                f"{path}: layer {part.index} ({part.layer}, {part.leaf}) holds {bad[0]}, {what}; "
                "the file is damaged, another network's, or its training diverged."
            )


def _check_variables(table: Table, variables: dict) -> None:
    for index, layer in enumerate(table):
        for leaf in layer.leaves:
            found = variables.get(_collection(leaf), {}).get(layer.name, {}).get(leaf)
            outputs = count_outputs_of_last((layer,))
            if found is None or found.shape[-1] != outputs:
                has = "is missing" if found is None else f"has {found.shape[-1]}"
                raise ValueError(
                    f"variables are not those of this network: layer {index} ({layer.name}, "
                    f"{leaf}) must have {outputs} outputs, {has}."
                )


def _check_length(
    path: Path, header: Header, parts: list[Entry], every: list[Entry], layers: int
) -> None:
    """Raise ValueError unless the file has the bytes of `parts`; `every` are the network's."""
    expected, found = header.size + 4 * sum(part.size for part in parts), path.stat().st_size
    if found == expected:
        return
    floats = (found - header.size) // 4
    ends = itertools.accumulate(part.size for part in parts)
    short = next((part for part, end in zip(parts, ends, strict=True) if end > floats), None)
    where = (
        f"it ends inside layer {short.index} ({short.layer}, {short.leaf})"
        if short
        else f"{found - expected} bytes follow layer {parts[-1].index} ({parts[-1].layer})"
    )
    upto = _prefix(found - header.size, every, layers)
    raise ValueError(
        f"{path}: {where}; the network needs {expected} bytes ({header.size} of header), the file "
        f"has {found}. {_what_it_is(found, upto, layers)}"
    )


def _what_it_is(found: int, upto: int | None, layers: int) -> str:
    if upto == layers:
        return "It fits the whole network: leave upto out."
    if upto is not None:
        return f"It fits the layers before {upto}: give --upto {upto}."
    if names := " or ".join(entry.name for entry in published_files.of_size(found)):
        return f"It is as long as the published {names}, which is another network or partial."
    return "Network, classes, boxes or anchors, width and image size must be those of the file."
