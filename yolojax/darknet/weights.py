"""Darknet .weights files: a header, then the float32 parameters of each layer, nothing between."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from yolojax.darknet import published_files
from yolojax.darknet.header import VERSION, Header, header_bytes, read_header
from yolojax.files import open_atomic, release_mapped
from yolojax.models.layers import WITH_PARAMETERS, Connected, Conv, Layer, Local, Table
from yolojax.models.network import Network, variable_shapes

CHUNK = 1 << 22  # floats (16 MB) that are looked at or copied together

BIAS, KERNEL = ("params", "bias"), ("params", "kernel")
NORM = (("params", "scale"), ("batch_stats", "mean"), ("batch_stats", "var"))

# Axes of a file's array in the order of the leaf's (parser.c, load_*_weights). The file has conv
# kernels [out, in, k, k], connected [out, in], local [H', W', out, in * k * k] and their bias
# [out, H', W']; what is not here has one axis.
AXES = {
    (Conv, "kernel"): (2, 3, 1, 0),
    (Connected, "kernel"): (1, 0),
    (Local, "kernel"): (0, 1, 3, 2),
    (Local, "bias"): (1, 2, 0),
}


class Entry(NamedTuple):
    """One run of floats in a file and where it belongs among the variables."""

    index: int  # of the layer in the table
    collection: str  # "params" or "batch_stats"
    layer: str
    leaf: str
    shape: tuple[int, ...]  # of the leaf
    axes: tuple[int, ...]  # of the file's array, in the order of the leaf's

    @property
    def size(self) -> int:
        """How many floats it has."""
        return math.prod(self.shape)

    def from_file(self, floats: np.ndarray) -> np.ndarray:
        """The leaf, a view of the file's `floats` [size]."""
        return floats.reshape([self.shape[i] for i in np.argsort(self.axes)]).transpose(self.axes)

    def to_file(self, leaf: np.ndarray) -> np.ndarray:
        """The file's array, a view of `leaf`."""
        return leaf.transpose(np.argsort(self.axes))


def entries(table: Table, variables: dict, *, transposed: bool = False) -> Iterator[Entry]:
    """What a .weights file of `table` holds, in its order (parser.c, save_weights_upto).

    `variables` may be arrays or jax.ShapeDtypeStruct; `transposed` is that of the file's header.
    """
    for index, layer in enumerate(table):
        for collection, leaf in _leaves(layer):
            shape = tuple(variables[collection][layer.name][leaf].shape)
            axes = AXES.get((type(layer), leaf), tuple(range(len(shape))))
            if transposed and isinstance(layer, Connected):
                axes = tuple(range(len(shape)))
            yield Entry(index, collection, layer.name, leaf, shape, axes)


def load_weights(
    path: str | Path, model: Network, *, image_size: tuple[int, int], upto: int | None = None
) -> tuple[dict, int]:
    """The variables of `model` in a .weights file and how many images they were trained on.

    The file is mapped, not read: the leaves are read-only views of it, without a copy, and so may
    be what jax makes of them on CPU. It must not be written to in place while they live;
    `save_weights` to the same name is safe.

    Args:
        path: the file.
        model: the network it belongs to.
        image_size: (height, width) of the images, on which local and connected layers depend.
        upto: the file holds the layers before this index alone (Darknet's `partial`); so do the
            variables returned.

    Returns:
        {"params": {layer: {leaf: float32 array}}, "batch_stats": likewise} and `seen`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it does not have exactly the length that `model` needs, or is no .weights file,
            or holds values that cannot be a network's.
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
        release_mapped(values)  # looked at once; a large file need not be in memory as a whole
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
    """Writes the `variables` of `model` and the images `seen`, whole or not at all.

    Args:
        path: the file; it may be the one that `variables` are views of.
        model: the network.
        variables: as `load_weights` returns them, of numpy or jax arrays.
        seen: images trained on.
        version: of the header. Darknet reads `seen` as 64 bits from (0, 2, 0) on, as 32 bits in
            (0, 1, 0), and connected kernels as [in, out] where major or minor exceeds 1000.
        upto: write only the layers before this index, as Darknet's `partial` does.

    Raises:
        ValueError: `variables` are not those of `model`, or the header has no room for `seen`.
    """
    start = header_bytes(version, int(seen))
    _check_variables(model.table[:upto], variables)
    transposed = Header(version, seen).transposed
    every = list(entries(model.table[:upto], variables, transposed=transposed))
    parts = _before(every, upto, model.table)
    with open_atomic(path) as file:
        file.write(start)
        for part in parts:
            leaf = np.asarray(variables[part.collection][part.layer][part.leaf])
            for rows in _chunks(part.to_file(leaf)):
                file.write(np.ascontiguousarray(rows, "<f4").data)


def prefix_of(path: str | Path, model: Network, *, image_size: tuple[int, int]) -> int | None:
    """The `upto` with which `load_weights` takes the file; None where its length fits none.

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
    """How many of `layers` have `length` bytes of parameters together."""
    bounds = itertools.accumulate(4 * part.size for part in every)
    for part, bound, after in zip(every, bounds, [*every[1:], None], strict=True):
        if bound == length:
            whole_layer = after is None or after.index > part.index
            return (layers if after is None else part.index + 1) if whole_layer else None
    return None


def _leaves(layer: Layer) -> tuple[tuple[str, str], ...]:
    """(collection, leaf) in a file's order; with batch normalisation beta is called bias."""
    if not isinstance(layer, WITH_PARAMETERS):
        return ()
    norm = NORM if getattr(layer, "batch_norm", False) else ()
    # A convolution has its statistics before the kernel, a connected layer after it.
    return (BIAS, KERNEL, *norm) if isinstance(layer, Connected) else (BIAS, *norm, KERNEL)


def _before(parts: list[Entry], upto: int | None, table: Table) -> list[Entry]:
    """Those of `parts` in the layers before index `upto`."""
    kept = parts if upto is None else [part for part in parts if part.index < upto]
    if not kept or (upto is not None and upto > len(table)):
        first = 1 + next(i for i, layer in enumerate(table) if _leaves(layer))
        raise ValueError(
            f"upto must be from {first} to {len(table)}, how many layers the file has; got {upto}."
        )
    return kept


def _chunks(array: np.ndarray) -> Iterator[np.ndarray]:
    """`array` in pieces of whole rows, of about CHUNK values."""
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
        for collection, leaf in _leaves(layer):
            found = variables.get(collection, {}).get(layer.name, {}).get(leaf)
            outputs = layer.outputs if isinstance(layer, Connected) else layer.filters
            if found is None or found.shape[-1] != outputs:
                has = "is missing" if found is None else f"has {found.shape[-1]}"
                raise ValueError(
                    f"variables are not those of this network: layer {index} ({layer.name}, "
                    f"{leaf}) must have {outputs} outputs, {has}."
                )


def _check_length(
    path: Path, header: Header, parts: list[Entry], every: list[Entry], layers: int
) -> None:
    """Raises ValueError unless the file has the bytes of `parts`, of the `every` of the network."""
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
