"""What a network consists of and costs, layer by layer, without making its weights."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from yolojax.models.layers import Connected, Conv, Crop, Dropout, Layer, Local, Route
from yolojax.models.network import Network, variable_shapes
from yolojax.models.shapes import Shape, describe
from yolojax.text_table import text_table


class Row(NamedTuple):
    """One layer of a network."""

    index: int  # Darknet's
    kind: str  # of layer: conv, local, connected, maxpool, route, ...
    name: str  # of its parameters; "" without
    settings: str  # filters, size / stride, or what else the layer has
    input: Shape  # (height, width, channels) or (values,); of a route: of the first layer it takes
    output: Shape
    bflops: float  # 2 * multiplications / 1e9 of a convolution, as Darknet counts; else 0
    bflops_all: float  # the same with local and connected layers
    params: int  # trainable
    floats: int  # in a .weights file: params and running statistics


def layer_table(model: Network, image_size: tuple[int, int]) -> list[Row]:
    """A row for each layer of `model`, for images of (height, width).

    Raises:
        ValueError: `image_size` does not suit the network.
    """
    variables = variable_shapes(model, image_size)
    image = jax.ShapeDtypeStruct((1, *image_size, 3), jnp.float32)
    outputs = jax.eval_shape(lambda v, x: model.apply(v, x, all_outputs=True), variables, image)
    shapes = [tuple(output.shape[1:]) for output in outputs]
    rows = []
    for i, layer in enumerate(model.table):
        source = range(i)[layer.layers[0]] if isinstance(layer, Route) else i - 1
        before = shapes[source] if source >= 0 else (*image_size, 3)
        rows.append(_row(i, layer, before, shapes[i], variables))
    return rows


def _row(index: int, layer: Layer, before: Shape, after: Shape, variables: dict) -> Row:
    name = getattr(layer, "name", "")
    params, statistics = (
        sum(math.prod(leaf.shape) for leaf in variables.get(collection, {}).get(name, {}).values())
        for collection in ("params", "batch_stats")
    )
    bflops = 2 * _products(layer, before, after) / 1e9
    return Row(
        index=index,
        kind=type(layer).__name__.lower(),
        name=name,
        settings=_settings(layer),
        input=before,
        output=after,
        bflops=bflops if isinstance(layer, Conv) else 0.0,
        bflops_all=bflops,
        params=params,
        floats=params + statistics,
    )


def _products(layer: Layer, before: Shape, after: Shape) -> int:
    if isinstance(layer, Connected):
        return math.prod(before) * layer.outputs
    if isinstance(layer, Conv | Local):
        return layer.size**2 * before[-1] * math.prod(after)
    return 0


def _settings(layer: Layer) -> str:
    if isinstance(layer, Route):
        return ", ".join(map(str, layer.layers))
    if isinstance(layer, Connected):
        return f"{layer.outputs:>5}"
    if isinstance(layer, Dropout):
        return f"{'':<7}p = {layer.rate:g}"
    if isinstance(layer, Crop):
        return f"{'':<7}{layer.height} x {layer.width}" if layer.height else ""
    if not hasattr(layer, "stride"):
        return ""
    filters = f"{layer.filters:>5}  " if hasattr(layer, "filters") else " " * 7
    size = getattr(layer, "size", layer.stride)
    return f"{filters}{size} x {size} / {layer.stride}"


def totals(rows: list[Row]) -> dict[str, float]:
    """The sums over `rows`: "params", "floats", "bflops" and "bflops_all"."""
    keys = ("params", "floats", "bflops", "bflops_all")
    return {key: sum(getattr(row, key) for row in rows) for key in keys}


def format_table(rows: list[Row]) -> str:
    """Format `rows` like Darknet's own listing, with the totals below."""
    header = ["#", "layer", "filters  size", "input", "", "output", "BFLOPs", "params", "name"]
    table = text_table(header, map(_cells, rows), "><<><>>><")
    total = totals(rows)
    bflops = f"{total['bflops']:.3f} BFLOPs in convolutions"
    if total["bflops_all"] > total["bflops"]:
        bflops += f", {total['bflops_all']:.3f} with local and connected layers"
    return "\n".join(
        [
            table,
            "",
            f"{total['params']:,} trainable parameters, {total['floats']:,} floats in a .weights "
            f"file, {bflops}",
        ]
    )


def _cells(row: Row) -> list[str]:
    cost = [f"{row.bflops_all:.3f}", f"{row.params:,}"] if row.params else ["", ""]
    shapes = [describe(row.input), "->", describe(row.output)]
    return [str(row.index), row.kind, row.settings, *shapes, *cost, row.name]
