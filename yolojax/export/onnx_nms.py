"""yolojax.ops.nms as ONNX nodes: the same candidates, the same ranks, the same shapes."""

from typing import NamedTuple

import numpy as np

from yolojax.export.onnx_graph import Graph, ints

INT32 = 6  # onnx.TensorProto.INT32


class Kept(NamedTuple):
    """Names of values of the graph: what is left of each image, best first; D places."""

    boxes: str  # float32 [B, D, 4] xyxy, 0 where unused
    scores: str  # float32 [B, D], 0 where unused
    labels: str  # int32 [B, D], -1 where unused
    count: str  # int32 [B], how many are used


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
) -> Kept:
    """Adds what ops.nms.nms does with the same arguments, thresholds from 0 to 1.

    But top_k must be at most N * C.

    Args:
        graph: gets the nodes.
        boxes: name of [B, N, 4] xyxy.
        scores: name of [B, N, C].
        classes: C.
        iou_threshold: as in nms, and so are the others.
        score_threshold: must not be below 0, which marks what is unused.
        top_k: number of candidates.
        max_detections: D.
        class_agnostic: all candidates are of one group.
    """
    flat = graph.node("Reshape", scores, ints(0, -1))
    ranked, index = _top_k(graph, flat, top_k)  # equals: lower index first, as in JAX
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
    """Scores [B, C, K], 0 but for the class of each candidate; of `scores` [B, 1, K]."""
    labels = graph.node("Unsqueeze", labels, ints(1))
    own = graph.node("Equal", labels, np.arange(classes, dtype=np.int64).reshape(1, -1, 1))
    return graph.node("Where", own, scores, np.float32(0))


def _upright(graph, boxes):
    """Boxes whose right and bottom are not below left and top.

    One that is inside out has no area and overlaps nothing; NonMaxSuppression would turn it round.
    """
    low = graph.node("Slice", boxes, ints(0), ints(2), ints(-1))
    high = graph.node("Slice", boxes, ints(2), ints(4), ints(-1))
    return graph.node("Concat", low, graph.node("Max", low, high), axis=-1)


def _only(graph, ranked, selected):
    """`ranked` [B, K] where `selected` [n, 3] = (image, group, rank) points, 0 elsewhere."""
    places = graph.node("Gather", selected, ints(0, 2), axis=1)
    zeros = graph.node("ConstantOfShape", graph.node("Shape", ranked))
    return graph.node("ScatterND", zeros, places, graph.node("GatherND", ranked, places))


def _gather(graph, boxes, labels, best, index):
    """The candidates at `index` [B, D], whose scores are `best`; those of score 0 are none."""
    valid = graph.node("Greater", best, np.float32(0))
    chosen, names = _take(graph, boxes, index), _take(graph, labels, index)
    used = graph.node("Unsqueeze", valid, ints(-1))
    names = graph.node("Where", valid, names, ints(-1)[0])
    numbers = graph.node("Cast", valid, to=INT32)
    return Kept(
        boxes=graph.node("Where", used, chosen, np.float32(0)),
        scores=best,
        labels=graph.node("Cast", names, to=INT32),
        count=graph.node("ReduceSum", numbers, ints(1), keepdims=0),
    )


def _top_k(graph, x, count):
    """The `count` largest of x [B, K] and where they were."""
    outputs = (f"{x}_ranked", f"{x}_index")
    return graph.nodes("TopK", x, ints(count), outputs=outputs, axis=1)


def _take(graph, x, index):
    """x [B, K, ...] at `index` [B, D] -> [B, D, ...]."""
    return graph.node("GatherND", x, graph.node("Unsqueeze", index, ints(-1)), batch_dims=1)
