"""The decoders of the heads as ONNX nodes.

The functions of HEADS take the arguments of the decoders that tasks.make_decoder returns.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from yolojax.export.onnx_graph import Graph, ints
from yolojax.heads.yolov2 import MAX_LOG_SCALE, MAX_OFFSET


class Named(NamedTuple):
    """Names of the decoded boxes and scores in the graph."""

    boxes: str  # [B, N, 4] xyxy, 0..1 of the input
    scores: str  # [B, N, C], objectness times class probability


def region(
    graph: Graph,
    raw: str,
    shape: Sequence[int],
    *,
    anchors,
    location: str = "sigmoid",
    class_activation: str = "softmax",
) -> Named:
    """Add the nodes of heads.yolov2.decode.

    Args:
        graph: to which the nodes are added.
        raw: name of [B, A * (5 + C), H, W].
        shape: [B, H, W, A * (5 + C)].
        anchors: [A, 2], (w, h) in grid cells.
        location: a key of LOCATIONS.
        class_activation: a key of ACTIVATIONS.
    """
    (_, rows, columns, channels), count = shape, len(anchors)
    cells, values = rows * columns, channels // count
    x = graph.node("Reshape", raw, ints(0, count, values, cells))
    x = graph.node("Transpose", x, perm=[0, 3, 1, 2])  # [B, H * W, A, 5 + C]
    x = graph.node("Reshape", x, ints(0, cells * count, values))
    scale = graph.node("Exp", graph.node("Min", _part(graph, x, 2, 4), np.float32(MAX_LOG_SCALE)))
    priors = np.asarray(anchors, np.float32) / np.float32([columns, rows])
    size = graph.node("Mul", scale, np.tile(priors, (cells, 1)))
    inside = LOCATIONS[location](graph, _part(graph, x, 0, 2), np.tile(anchors, (cells, 1)))
    centre = _centres(graph, inside, rows, columns, count)
    probs = ACTIVATIONS[class_activation](graph, _part(graph, x, 5, values))
    scores = graph.node("Mul", graph.node("Sigmoid", _part(graph, x, 4, 5)), probs)
    return Named(_corners(graph, centre, size), scores)


def yolov1(
    graph: Graph,
    raw: str,
    shape: Sequence[int],
    *,
    side: int,
    boxes: int,
    square_root: bool = True,
    class_softmax: bool = False,
) -> Named:
    """Add the nodes of heads.yolov1.decode; `raw` has `shape` [B, S * S * (C + 5 * n)]."""
    cells = side**2
    classes = shape[-1] // cells - 5 * boxes
    ends = cells * np.cumsum([0, classes, boxes, 4 * boxes])
    logits, confidence, shapes = (_part(graph, raw, *ends[i : i + 2]) for i in range(3))
    probs = graph.node("Reshape", logits, ints(0, cells, 1, classes))
    probs = graph.node("Softmax", probs, axis=-1) if class_softmax else probs
    confidence = graph.node("Reshape", confidence, ints(0, cells, boxes, 1))
    scores = graph.node("Mul", confidence, probs)
    shapes = graph.node("Reshape", shapes, ints(0, cells * boxes, 4))
    size = _part(graph, shapes, 2, 4)
    size = graph.node("Mul", size, size) if square_root else graph.node("Max", size, np.float32(0))
    centre = _centres(graph, _part(graph, shapes, 0, 2), side, side, boxes)
    scores = graph.node("Reshape", scores, ints(0, cells * boxes, classes))
    return Named(_corners(graph, centre, size), scores)


HEADS = {"region": region, "yolov1": yolov1}  # classifiers use `probabilities`


def probabilities(graph: Graph, raw: str, *, temperature: float = 1.0) -> str:
    """Add the nodes of heads.classes.decode for `raw` [B, C, 1, 1] or [B, C] -> name of [B, C]."""
    logits = graph.node("Flatten", raw)
    if temperature != 1:
        logits = graph.node("Div", logits, np.float32(temperature))
    return graph.node("Softmax", logits, axis=-1)


def _in_cell(graph, offset, anchors):
    return graph.node("Sigmoid", offset)


def _by_anchor(graph, offset, anchors):
    offset = graph.node("Clip", offset, np.float32(-MAX_OFFSET), np.float32(MAX_OFFSET))
    return graph.node("Add", graph.node("Mul", offset, anchors.astype("f4")), np.float32(0.5))


# As in heads.yolov2, with the graph as first argument.
LOCATIONS = {"sigmoid": _in_cell, "anchor": _by_anchor}
ACTIVATIONS = {
    "softmax": lambda graph, logits: graph.node("Softmax", logits, axis=-1),
    "sigmoid": lambda graph, logits: graph.node("Sigmoid", logits),
}


def _centres(graph, offset, rows, columns, count):
    """Convert the `offset` in each cell to centres [B, H * W * count, 2] in 0..1 of the input."""
    cells = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 2)
    cells = np.repeat(cells, count, axis=0).astype(np.float32)
    return graph.node("Div", graph.node("Add", offset, cells), np.float32([columns, rows]))


def _corners(graph, centre, size):
    half = graph.node("Mul", size, np.float32(0.5))
    low, high = graph.node("Sub", centre, half), graph.node("Add", centre, half)
    return graph.node("Concat", low, high, axis=-1)


def _part(graph, x, start, stop):
    """x[..., start:stop]."""
    return graph.node("Slice", x, ints(start), ints(stop), ints(-1))
