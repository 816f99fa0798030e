"""The activations of models.functional as ONNX nodes."""

from collections.abc import Callable

import numpy as np

from yolojax.export.onnx_graph import Graph


def activate(graph: Graph, x: str, activation: str, output: str) -> None:
    """Add the `activation` of x as the value `output`."""
    ACTIVATIONS[activation](graph, x, output)


def _op(op: str, **attributes: float) -> Callable:
    """Return an activation that is one operator."""
    return lambda graph, x, output: graph.node(op, x, output=output, **attributes)


def _bent(low: float, high: float, slope: float, outside: float, at_low: float) -> Callable:
    """As functional.bent."""

    def add(graph, x, output):
        inside = graph.node("Clip", x, np.float32(low), np.float32(high))
        line = _affine(graph, inside, slope - outside, at_low - slope * low)
        graph.node("Add", line, graph.node("Mul", x, np.float32(outside)), output=output)

    return add


def _affine(graph, x, factor, offset, output=""):
    scaled = graph.node("Mul", x, np.float32(factor))
    return graph.node("Add", scaled, np.float32(offset), output=output)


def _ramp(graph, x, output):
    graph.node("Add", graph.node("Relu", x), graph.node("Mul", x, np.float32(0.1)), output=output)


def _stair(graph, x, output):
    n, half = graph.node("Floor", x), graph.node("Floor", graph.node("Mul", x, np.float32(0.5)))
    odd = graph.node("Sub", n, graph.node("Add", half, half))
    rise = graph.node("Mul", graph.node("Sub", x, n), odd)
    graph.node("Add", half, rise, output=output)


def _gelu(graph, x, output):
    cube = graph.node("Mul", x, graph.node("Mul", x, x))
    inner = graph.node("Mul", x, np.float32(0.797885))
    inner = graph.node("Add", inner, graph.node("Mul", cube, np.float32(0.035677)))
    half = _affine(graph, graph.node("Tanh", inner), 0.5, 0.5)
    graph.node("Mul", x, half, output=output)


def _hard_mish(graph, x, output):
    shifted = _affine(graph, graph.node("Clip", x, np.float32(-2), np.float32(0)), 1, 1)
    parabola = _affine(graph, graph.node("Mul", shifted, shifted), 0.5, -0.5)
    graph.node("Add", parabola, graph.node("Relu", x), output=output)


ACTIVATIONS = {
    "leaky": _op("LeakyRelu", alpha=0.1),
    "linear": _op("Identity"),
    "relu": _op("Relu"),
    "logistic": _op("Sigmoid"),
    "ramp": _ramp,
    "elu": _op("Elu"),
    "hardtan": _bent(-1, 1, 1, 0, -1),
    "lhtan": _bent(0, 1, 1, 0.001, 0),
    "loggy": lambda graph, x, output: _affine(graph, graph.node("Sigmoid", x), 2, -1, output),
    "plse": _bent(-4, 4, 0.125, 0.01, 0),
    "relie": _op("LeakyRelu", alpha=0.01),
    "selu": _op("Selu", alpha=1.6732, gamma=1.0507),
    "stair": _stair,
    "tanh": _op("Tanh"),
    "gelu": _gelu,
    "hard_mish": _hard_mish,
    "mish": lambda graph, x, output: graph.node(
        "Mul", x, graph.node("Tanh", graph.node("Softplus", x)), output=output
    ),
    "relu6": lambda graph, x, output: graph.node(
        "Clip", x, np.float32(0), np.float32(6), output=output
    ),
    "revleaky": _op("LeakyRelu", alpha=0.1),
    "swish": lambda graph, x, output: graph.node("Mul", x, graph.node("Sigmoid", x), output=output),
}
