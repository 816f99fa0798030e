"""The layers of a table as ONNX nodes. Maps are [N, C, H, W], planar, as Darknet has them."""

from collections.abc import Sequence

import jax
import numpy as np

from yolojax.export.onnx_graph import Graph, ints
from yolojax.models.fast.folded import fold_normalisation
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
    Table,
)
from yolojax.models.network import Network

ACTIVATIONS = {  # ramp takes three nodes
    "leaky": ("LeakyRelu", {"alpha": 0.1}),
    "linear": ("Identity", {}),
    "relu": ("Relu", {}),
    "logistic": ("Sigmoid", {}),
}


def layer_names(table: Table) -> list[str]:
    """What the output of each layer is called in the graph: layer00_conv, layer01_maxpool, ..."""
    return [f"layer{i:02}_{type(layer).__name__.lower()}" for i, layer in enumerate(table)]


def add_layers(
    graph: Graph, model: Network, variables: dict, images: str, shapes: Sequence[Sequence[int]]
) -> list[str]:
    """Adds all layers of `model` -> the names of their outputs, `layer_names`.

    Args:
        graph: gets the nodes.
        model: the table of layers, and how their batch normalisation keeps its roots from 0.
        variables: {"params": {layer: {leaf: array}}, "batch_stats": likewise}.
        images: the name of the images [N, 3, H, W] in 0..1.
        shapes: [B, H, W, C] or [B, C] of each layer's input.
    """
    x, outputs = images, layer_names(model.table)
    for layer, output, shape in zip(model.table, outputs, shapes, strict=True):
        mode = {"variables": variables, "epsilon": model.epsilon}
        LAYERS[type(layer)](graph, layer, x, output, shape=shape, outputs=outputs, **mode)
        x = output
    return outputs


def fold(name: str, variables: dict, epsilon: str) -> tuple[np.ndarray, np.ndarray]:
    """`fold_normalisation` of the layer `name`."""
    statistics = variables.get("batch_stats", {}).get(name)
    return jax.device_get(fold_normalisation(variables["params"][name], statistics, epsilon))


def _conv(graph, layer, x, output, *, variables, epsilon, **rest):
    kernel, bias = fold(layer.name, variables, epsilon)
    kernel = _named(graph, layer, "kernel", kernel.transpose(3, 2, 0, 1))
    bias = _named(graph, layer, "bias", bias)
    padding = layer.size // 2 if layer.padding is None else layer.padding
    window = {"strides": [layer.stride] * 2, "pads": [padding] * 4}
    _activate(graph, graph.node("Conv", x, kernel, bias, **window), layer.activation, output)


def _local(graph, layer, x, output, *, shape, variables, epsilon, **rest):
    kernel, bias = fold(layer.name, variables, epsilon)
    height, width, inputs, filters = kernel.shape
    x = graph.node("Reshape", _patches(graph, layer, x, shape[-1]), ints(0, inputs, -1))
    x = graph.node("Transpose", x, perm=[2, 0, 1])  # [H' * W', N, in * k * k]
    x = graph.node("MatMul", x, _named(graph, layer, "kernel", kernel.reshape(-1, inputs, filters)))
    x = graph.node("Add", x, _named(graph, layer, "bias", bias.reshape(-1, 1, filters)))
    x = graph.node("Transpose", x, perm=[1, 2, 0])
    x = graph.node("Reshape", x, ints(0, filters, height, width))
    _activate(graph, x, layer.activation, output)


def _patches(graph, layer, x, channels):
    """[N, C * k * k, H', W']: each value of a window by a filter that picks it from its channel."""
    k = layer.size
    picks = np.tile(np.eye(k * k, dtype=np.float32), (channels, 1)).reshape(-1, 1, k, k)
    window = {"strides": [layer.stride] * 2, "pads": [layer.padding] * 4}
    return graph.node("Conv", x, picks, group=channels, **window)


def _connected(graph, layer, x, output, *, variables, epsilon, **rest):
    kernel, bias = fold(layer.name, variables, epsilon)
    kernel, bias = _named(graph, layer, "kernel", kernel), _named(graph, layer, "bias", bias)
    x = graph.node("Gemm", graph.node("Flatten", x), kernel, bias)
    _activate(graph, x, layer.activation, output)


def _max_pool(graph, layer, x, output, **rest):
    padding = layer.size - 1 if layer.padding is None else layer.padding
    before, after = padding // 2, padding - padding // 2
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
    here = outputs.index(output)
    sources = [outputs[i + here if i < 0 else i] for i in layer.layers]
    graph.node("Concat", *sources, output=output, axis=1)


def _reorg(graph, layer, x, output, *, shape, **rest):
    """As models.functional.reorg: its channels and places are dealt out in the same six axes."""
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
    Reorg: _reorg,
    Dropout: _dropout,
    Crop: _crop,
}


def _activate(graph, x, activation, output):
    if activation == "ramp":
        tenth = graph.node("Mul", x, np.float32(0.1))
        return graph.node("Add", graph.node("Relu", x), tenth, output=output)
    op, attributes = ACTIVATIONS[activation]
    return graph.node(op, x, output=output, **attributes)


def _named(graph, layer, leaf, values):
    """A constant called as a checkpoint does, for those who look into the file."""
    return graph.constant(values, f"{layer.name}.{leaf}")
