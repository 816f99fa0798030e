"""The layers of a table as ONNX nodes. Maps are [N, C, H, W]."""

from collections.abc import Sequence

import jax
import numpy as np

from yolojax.export.onnx_activations import activate
from yolojax.export.onnx_graph import Graph, ints
from yolojax.models.functional import fold_batch_norm
from yolojax.models.layers import (
    AvgPool,
    Connected,
    Conv,
    Crop,
    Dropout,
    Local,
    MaxPool,
    Reorg,
    Route,
    Shortcut,
    Table,
)
from yolojax.models.network import Network


def layer_names(table: Table) -> list[str]:
    """Return the names of the layers' outputs: layer00_conv, layer01_maxpool, ..."""
    return [f"layer{i:02}_{type(layer).__name__.lower()}" for i, layer in enumerate(table)]


def add_layers(
    graph: Graph, model: Network, variables: dict, images: str, shapes: Sequence[Sequence[int]]
) -> list[str]:
    """Add the layers of `model` to `graph`; return the names of their outputs.

    Args:
        graph: the graph.
        model: the table of layers and the epsilon of batch normalisation.
        variables: {"params": {layer: {leaf: array}}, "batch_stats": likewise}.
        images: name of the images [N, 3, H, W] in 0..1.
        shapes: [B, H, W, C] or [B, C] of each layer's input.
    """
    x, outputs = images, layer_names(model.table)
    for layer, output, shape in zip(model.table, outputs, shapes, strict=True):
        context = {"shape": shape, "shapes": shapes, "outputs": outputs}
        context |= {"variables": variables, "epsilon": model.epsilon}
        LAYERS[type(layer)](graph, layer, x, output, **context)
        x = output
    return outputs


def fold(name: str, variables: dict, epsilon: str) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel and bias of the layer `name`, with its batch normalisation."""
    statistics = variables.get("batch_stats", {}).get(name)
    return jax.device_get(fold_batch_norm(variables["params"][name], statistics, epsilon))


# Each adds one layer: x and output are names, shape is that of x, shapes are those of the inputs of
# all layers (so shapes[i + 1] is that of the output of layer i), outputs are all names.


def _conv(graph, layer, x, output, *, variables, epsilon, **rest):
    kernel, bias = fold(layer.name, variables, epsilon)
    kernel = _named(graph, layer, "kernel", kernel.transpose(3, 2, 0, 1))
    bias = _named(graph, layer, "bias", bias)
    window = {"strides": [layer.stride] * 2, "pads": [layer.zeros] * 4, "group": layer.groups}
    activate(graph, graph.node("Conv", x, kernel, bias, **window), layer.activation, output)


def _local(graph, layer, x, output, *, shape, variables, epsilon, **rest):
    kernel, bias = fold(layer.name, variables, epsilon)
    height, width, inputs, filters = kernel.shape
    x = graph.node("Reshape", _patches(graph, layer, x, shape[-1]), ints(0, inputs, -1))
    x = graph.node("Transpose", x, perm=[2, 0, 1])  # [H' * W', N, in * k * k]
    x = graph.node("MatMul", x, _named(graph, layer, "kernel", kernel.reshape(-1, inputs, filters)))
    x = graph.node("Add", x, _named(graph, layer, "bias", bias.reshape(-1, 1, filters)))
    x = graph.node("Transpose", x, perm=[1, 2, 0])
    x = graph.node("Reshape", x, ints(0, filters, height, width))
    activate(graph, x, layer.activation, output)


def _patches(graph, layer, x, channels):
    """Extract the windows [N, C * k * k, H', W'] with one filter for each value of a window."""
    k = layer.size
    picks = np.tile(np.eye(k * k, dtype=np.float32), (channels, 1)).reshape(-1, 1, k, k)
    window = {"strides": [layer.stride] * 2, "pads": [layer.padding] * 4}
    return graph.node("Conv", x, picks, group=channels, **window)


def _connected(graph, layer, x, output, *, variables, epsilon, **rest):
    kernel, bias = fold(layer.name, variables, epsilon)
    kernel, bias = _named(graph, layer, "kernel", kernel), _named(graph, layer, "bias", bias)
    x = graph.node("Gemm", graph.node("Flatten", x), kernel, bias)
    activate(graph, x, layer.activation, output)


def _max_pool(graph, layer, x, output, **rest):
    before, after = layer.rows // 2, layer.rows - layer.rows // 2
    if after >= layer.size:
        raise ValueError(
            f"{output}: ONNX pads a max-pool by less than its size, this one of size {layer.size} "
            f"has {after} at the bottom and right; its padding must be below {2 * layer.size - 1}."
        )
    window = {"kernel_shape": [layer.size] * 2, "strides": [layer.stride] * 2}
    graph.node("MaxPool", x, output=output, pads=[before, before, after, after], **window)


def _avg_pool(graph, layer, x, output, **rest):
    graph.node("GlobalAveragePool", x, output=output)


def _route(graph, layer, x, output, *, outputs, **rest):
    sources = [outputs[i] for i in layer.sources(outputs.index(output))]
    graph.node("Concat", *sources, output=output, axis=1)


def _shortcut(graph, layer, x, output, *, shape, shapes, outputs, **rest):
    """The same slices and zeros as in models.functional.shortcut."""
    index = outputs.index(output)
    source = layer.sources(index)[1]
    other, other_shape = outputs[source], shapes[source + 1]
    if other_shape != shape:
        other = _matched(graph, other, other_shape[1:], shape[1:])
    activate(graph, graph.node("Add", x, other), layer.activation, output)


def _matched(graph, other, other_shape, shape):
    """The part of `other` [N, C', H', W'] that a shortcut adds, with zeros, as [N, C, H, W]."""
    h, w, c = map(min, shape, other_shape)
    step, gap = max(other_shape[0] // shape[0], 1), max(shape[0] // other_shape[0], 1)
    ends = ints(c, h * step, w * step)
    other = graph.node("Slice", other, ints(0, 0, 0), ends, ints(1, 2, 3), ints(1, step, step))
    # Each value becomes the first of a gap x gap block of zeros.
    other = graph.node("Reshape", other, ints(0, c, h, 1, w, 1))
    after = (0, 0, 0, gap - 1, 0, gap - 1)
    other = graph.node("Pad", other, ints(*[0] * 6, *after))
    other = graph.node("Reshape", other, ints(0, c, h * gap, w * gap))
    after = (0, shape[2] - c, shape[0] - h * gap, shape[1] - w * gap)
    return graph.node("Pad", other, ints(*[0] * 4, *after))


def _reorg(graph, layer, x, output, *, shape, **rest):
    """The same six axes as in models.functional.reorg."""
    s, (_, h, w, c) = layer.stride, shape
    x = graph.node("Reshape", x, ints(0, c // s**2, h, s, w, s))
    x = graph.node("Transpose", x, perm=[0, 3, 5, 1, 2, 4])
    graph.node("Reshape", x, ints(0, c * s**2, h // s, w // s), output=output)


def _dropout(graph, layer, x, output, **rest):
    graph.node("Identity", x, output=output)


def _crop(graph, layer, x, output, *, shape, **rest):
    (_, h, w, _), height, width = shape, layer.height or shape[1], layer.width or shape[2]
    if (height, width) != (h, w):
        top, left = (h - height) // 2, (w - width) // 2
        ends = ints(top + height, left + width)
        x = graph.node("Slice", x, ints(top, left), ends, ints(2, 3))
    doubled = graph.node("Mul", x, np.float32(2))
    graph.node("Sub", doubled, np.float32(1), output=output)


LAYERS = {
    Conv: _conv,
    Local: _local,
    Connected: _connected,
    MaxPool: _max_pool,
    AvgPool: _avg_pool,
    Route: _route,
    Shortcut: _shortcut,
    Reorg: _reorg,
    Dropout: _dropout,
    Crop: _crop,
}


def _named(graph, layer, leaf, values):
    """Add a constant with the name of the checkpoint's leaf."""
    return graph.constant(values, f"{layer.name}.{leaf}")
