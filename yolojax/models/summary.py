"""A network layer by layer: shapes, parameters and operations, without allocating weights."""

import math
from typing import NamedTuple

from yolojax.models.layers import (
    STATISTICS,
    Conv,
    Layer,
    Shape,
    count_parameters,
    describe,
    output_shapes,
)
from yolojax.models.network import Network, check_image_size
from yolojax.text_table import text_table


class Row(NamedTuple):
    """One layer of a network."""

    index: int  # in the table, as in Darknet
    kind: str  # of layer: conv, local, connected, maxpool, route, ...
    name: str  # of its parameters; "" without
    settings: str  # filters, size / stride, or others of the layer
    input: Shape  # (height, width, channels) or (values,); of a route: its first layer
    output: Shape
    bflops: float  # 2 * multiplications / 1e9 of a convolution, as Darknet counts; else 0
    bflops_all: float  # the same with local and connected layers
    params: int  # trainable
    floats: int  # in a .weights file: params and running statistics


def layer_table(model: Network, image_size: tuple[int, int]) -> list[Row]:
    """Return a row for each layer of `model`, for images of (height, width).

    Raises:
        ValueError: `image_size` does not suit the network.
    """
    check_image_size(image_size, model.table, any_size=model.any_size)
    image = (*image_size, 3)
    shapes = output_shapes(model.table, image)
    rows = []
    for index, layer in enumerate(model.table):
        source = layer.sources(index)[0]
        before = shapes[source] if source >= 0 else image
        rows.append(_row(index, layer, before, shapes[index]))
    return rows


def _row(index: int, layer: Layer, before: Shape, after: Shape) -> Row:
    bflops = 2 * layer.products(before, after) / 1e9
    floats, leaves = count_parameters(layer, before), layer.leaf_shapes(before)
    statistics = sum(math.prod(leaves[name]) for name in STATISTICS if name in leaves)
    return Row(
        index=index,
        kind=type(layer).__name__.lower(),
        name=getattr(layer, "name", ""),
        settings=layer.settings,
        input=before,
        output=after,
        bflops=bflops if isinstance(layer, Conv) else 0.0,
        bflops_all=bflops,
        params=floats - statistics,
        floats=floats,
    )


def totals(rows: list[Row]) -> dict[str, float]:
    """Sum "params", "floats", "bflops" and "bflops_all" over `rows`."""
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
