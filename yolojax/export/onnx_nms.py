"""yolojax.ops.nms as ONNX nodes, with the same candidates, ranks and shapes."""

from typing import NamedTuple

import numpy as np

from yolojax.export.onnx_graph import Graph, ints

INT32 = 6  # onnx.TensorProto.INT32


class NmsOutputs(NamedTuple):
    """Names of the D detections of each image in the graph, best first."""

    boxes: str  # float32 [B, D, 4] xyxy, 0 where unused
    scores: str  # float32 [B, D], 0 where unused
    labels: str  # int32 [B, D], -1 where unused
    count: str  # int32 [B], number of valid detections


def add_nms(
    graph: Graph,
    boxes: str,
    scores: str,
    classes: int,
    *,
    iou_threshold: float,
    score_threshold: float,
    top_k: int,
    max_detections: int,
    class_agnostic: bool = False,
) -> NmsOutputs:
    """Add the nodes of ops.nms.nms.

    Args:
        graph: to which the nodes are added.
        boxes: name of [B, N, 4] xyxy.
        scores: name of [B, N, C].
        classes: C.
        iou_threshold: 0..1, as in ops.nms.
        score_threshold: 0..1; a score of 0 marks an unused entry.
        top_k: number of candidates, at most N * C.
        max_detections: D.
        class_agnostic: whether candidates of all classes suppress each other.
    """
    flat = graph.node("Reshape", scores, ints(0, -1))
    ranked, index = _top_k(graph, flat, top_k)  # of equal scores the lower index first, as in JAX
    labels = graph.node("Mod", index, ints(classes)[0])
    boxes = _take(graph, boxes, graph.node("Div", index, ints(classes)[0]))
    groups = graph.node("Unsqueeze", ranked, ints(1))
    groups = groups if class_agnostic else _by_class(graph, groups, labels, classes)
    selected = graph.node(
        "NonMaxSuppression",
        _upright(graph, boxes),
        groups,
        ints(top_k),
        np.float32([iou_threshold]),
        np.float32([score_threshold]),
    )
    best, index = _top_k(graph, _only(graph, ranked, selected), min(max_detections, top_k))
    missing = ints(0, 0, 0, max(0, max_detections - top_k))
    best, index = graph.node("Pad", best, missing), graph.node("Pad", index, missing)
    return _gather(graph, boxes, labels, best, index)


def _by_class(graph, scores, labels, classes):
    """Spread `scores` [B, 1, K] over the class of each candidate -> [B, C, K], else 0."""
    labels = graph.node("Unsqueeze", labels, ints(1))
    own = graph.node("Equal", labels, np.arange(classes, dtype=np.int64).reshape(1, -1, 1))
    return graph.node("Where", own, scores, np.float32(0))


def _upright(graph, boxes):
    """Raise right and bottom to at least left and top.

    An inverted box has no area and overlaps nothing, but NonMaxSuppression would flip it.
    """
    low = graph.node("Slice", boxes, ints(0), ints(2), ints(-1))
    high = graph.node("Slice", boxes, ints(2), ints(4), ints(-1))
    return graph.node("Concat", low, graph.node("Max", low, high), axis=-1)


def _only(graph, ranked, selected):
    """Set `ranked` [B, K] to 0 except at `selected` [n, 3] = (image, group, rank)."""
    index = graph.node("Gather", selected, ints(0, 2), axis=1)
    zeros = graph.node("ConstantOfShape", graph.node("Shape", ranked))
    return graph.node("ScatterND", zeros, index, graph.node("GatherND", ranked, index))


def _gather(graph, boxes, labels, best, index):
    """Gather the candidates at `index` [B, D] with scores `best`; a score of 0 is unused."""
    valid = graph.node("Greater", best, np.float32(0))
    chosen, names = _take(graph, boxes, index), _take(graph, labels, index)
    used = graph.node("Unsqueeze", valid, ints(-1))
    names = graph.node("Where", valid, names, ints(-1)[0])
    numbers = graph.node("Cast", valid, to=INT32)
    return NmsOutputs(
        boxes=graph.node("Where", used, chosen, np.float32(0)),
        scores=best,
        labels=graph.node("Cast", names, to=INT32),
        count=graph.node("ReduceSum", numbers, ints(1), keepdims=0),
    )


def _top_k(graph, x, count):
    """Return the `count` largest values of x [B, K] and their indices."""
    outputs = (f"{x}_ranked", f"{x}_index")
    return graph.nodes("TopK", x, ints(count), outputs=outputs, axis=1)


def _take(graph, x, index):
    """Gather x [B, K, ...] at `index` [B, D] -> [B, D, ...]."""
    return graph.node("GatherND", x, graph.node("Unsqueeze", index, ints(-1)), batch_dims=1)
