"""What a network consists of and costs, layer by layer, without making its weights."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from yolojax.models.network import Network, variable_shapes
from yolojax.models.tables import Conv, Layer, Route

Shape = tuple[int, int, int]  # height, width, channels


class Row(NamedTuple):
    """One layer of a network."""

    index: int  # Darknet's
    kind: str  # of layer: conv, maxpool, route, reorg
    name: str  # of its parameters; "" without
    settings: str  # filters, size / stride or the layers routed
    input: Shape  # of a route: of the first layer it takes
    output: Shape
    bflops: float  # 2 * multiplications of convolutions / 1e9, as Darknet counts
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
        sum(math.prod(leaf.shape) for leaf in variables[collection].get(name, {}).values())
        for collection in ("params", "batch_stats")
    )
    products = _products(layer, before[-1], after)
    return Row(
        index=index,
        kind=type(layer).__name__.lower(),
        name=name,
        settings=_settings(layer),
        input=before,
        output=after,
        bflops=2 * products / 1e9,
        params=params,
        floats=params + statistics,
    )


def _products(layer: Layer, channels: int, after: Shape) -> int:
    return layer.size**2 * channels * math.prod(after) if isinstance(layer, Conv) else 0


def _settings(layer: Layer) -> str:
    if isinstance(layer, Route):
        return ", ".join(map(str, layer.layers))
    filters = f"{layer.filters:>5}  " if isinstance(layer, Conv) else " " * 7
    size = getattr(layer, "size", layer.stride)
    return f"{filters}{size} x {size} / {layer.stride}"


def totals(rows: list[Row]) -> dict[str, float]:
    """The sums over `rows`: "params", "floats" and "bflops"."""
    return {key: sum(getattr(row, key) for row in rows) for key in ("params", "floats", "bflops")}


def format_table(rows: list[Row]) -> str:
    """`rows` in the manner of Darknet's own listing, with the totals below."""
    head = f"{'#':>3} {'layer':<8}{'filters  size':<17}{'input':>16}    {'output':>16}"
    lines = [f"{head}{'BFLOPs':>9}{'params':>12}  name", *map(_line, rows)]
    total = totals(rows)
    return "\n".join(
        [
            *lines,
            "",
            f"{total['params']:,} trainable parameters, {total['floats']:,} floats in a .weights "
            f"file, {total['bflops']:.3f} BFLOPs in convolutions",
        ]
    )


def _line(row: Row) -> str:
    before, after = (f"{h} x {w} x {c}" for h, w, c in (row.input, row.output))
    bflops, params = (f"{row.bflops:.3f}", f"{row.params:,}") if row.params else ("", "")
    text = f"{row.index:>3} {row.kind:<8}{row.settings:<17}{before:>16} -> {after:>16}"
    return f"{text}{bflops:>9}{params:>12}  {row.name}".rstrip()
