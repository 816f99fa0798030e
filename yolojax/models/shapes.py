"""The shapes in a network and the size of its parameters, by arithmetic alone.

What `jax.eval_shape` of a Network says, without building one: a .cfg is measured before it is
trusted. A shape is (height, width, channels), or (outputs,) behind a connected layer.
"""

import math

from yolojax.models.layers import (
    AvgPool,
    Connected,
    Conv,
    Crop,
    Dropout,
    Layer,
    Local,
    MaxPool,
    Reorg,
    Route,
    Table,
)

Shape = tuple[int, ...]
MAX_VALUES = 2**28  # of one layer's output: 1 GB in float32
MAX_PARAMETERS = 2**31  # of a network: 8 GB in float32; YOLOv1 has 2**28


def output_shapes(table: Table, image: Shape) -> list[Shape]:
    """The shape of every layer's output for images of (height, width, channels).

    Raises:
        ValueError: as `output_shape`.
    """
    shapes: list[Shape] = []
    for layer in table:
        shapes.append(output_shape(layer, shapes[-1] if shapes else image, shapes))
    return shapes


def output_shape(layer: Layer, before: Shape, shapes: list[Shape]) -> Shape:
    """The shape of what `layer` makes of `before`; `shapes` are those of all layers before it.

    Raises:
        ValueError: the layer cannot take that, or makes more than MAX_VALUES of it.
    """
    if len(before) == 1 and not isinstance(layer, Connected | Dropout | Route):
        raise ValueError("behind a connected layer there is no map; use [connected] or [dropout]")
    shape = RULES[type(layer)](layer, before, shapes)
    if math.prod(shape) > MAX_VALUES:
        raise ValueError(f"its output of {describe(shape)} has more than {MAX_VALUES:,} values")
    return shape


def describe(shape: Shape) -> str:
    """(13, 13, 5) as "13 x 13 x 5"."""
    return " x ".join(map(str, shape))


def count_parameters(layer: Layer, before: Shape, after: Shape) -> int:
    """Floats of `layer` in a .weights file: parameters and running statistics."""
    if isinstance(layer, Conv):
        kernel, biases = layer.size**2 * before[-1] * layer.filters, layer.filters
    elif isinstance(layer, Local):
        kernel, biases = layer.size**2 * before[-1] * math.prod(after), math.prod(after)
    elif isinstance(layer, Connected):
        kernel, biases = math.prod(before) * layer.outputs, layer.outputs
    else:
        return 0
    return kernel + (4 if getattr(layer, "batch_norm", False) else 1) * biases


def _windows(places: int, size: int, stride: int, padding: int) -> int:
    """Windows of `size` along `places` values with `padding` in all."""
    if places + padding < size:
        raise ValueError(f"its window of {size} exceeds the {places} + {padding} padded places")
    return (places + padding - size) // stride + 1


def _convolved(layer, before, shapes):
    padding = layer.size // 2 if layer.padding is None else layer.padding
    places = (_windows(n, layer.size, layer.stride, 2 * padding) for n in before[:2])
    return (*places, layer.filters)


def _unshared(layer, before, shapes):
    """As `_convolved`; its windows are all laid out at once."""
    shape, window = _convolved(layer, before, shapes), layer.size**2
    if max(math.prod(shape[:2]), window) * window * before[2] > MAX_VALUES:
        raise ValueError(f"its windows hold more than {MAX_VALUES:,} values; make size smaller")
    return shape


def _pooled(layer, before, shapes):
    padding = layer.size - 1 if layer.padding is None else layer.padding
    places = (_windows(n, layer.size, layer.stride, padding) for n in before[:2])
    return (*places, before[2])


def _routed(layer, before, shapes):
    chosen = [shapes[i] for i in layer.layers if -len(shapes) <= i < len(shapes)]
    if len(chosen) < len(layer.layers):
        raise ValueError(f"it takes layers {layer.layers}, and before it there are {len(shapes)}")
    if len({shape[:-1] for shape in chosen}) > 1:
        maps = ", ".join(map(describe, chosen))
        raise ValueError(f"the maps it joins must have one height and width, got {maps}")
    return (*chosen[0][:-1], sum(shape[-1] for shape in chosen))


def _reorganised(layer, before, shapes):
    height, width, channels = before
    s = layer.stride
    if height % s or width % s or channels % s**2:
        raise ValueError(
            f"stride {s} must divide height and width, and {s**2} the channels, "
            f"of {describe(before)}"
        )
    return (height // s, width // s, channels * s**2)


def _cropped(layer, before, shapes):
    shape = (layer.height or before[0], layer.width or before[1], before[2])
    if shape[0] > before[0] or shape[1] > before[1]:
        raise ValueError(f"the crop {describe(shape)} exceeds {describe(before)}")
    return shape


RULES = {
    Conv: _convolved,
    Local: _unshared,
    Connected: lambda layer, before, shapes: (layer.outputs,),
    MaxPool: _pooled,
    AvgPool: lambda layer, before, shapes: (1, 1, before[2]),
    Route: _routed,
    Reorg: _reorganised,
    Dropout: lambda layer, before, shapes: before,
    Crop: _cropped,
}
