"""Export a trained network to ONNX."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from yolojax.config import Config
from yolojax.export.onnx_graph import Graph
from yolojax.export.onnx_heads import HEADS, probabilities
from yolojax.export.onnx_layers import add_layers
from yolojax.export.onnx_nms import add_nms
from yolojax.files import write_bytes
from yolojax.json_files import to_json
from yolojax.models.network import Network
from yolojax.tasks import Task

IMAGES, BATCH = "images", "batch"  # the input, and its free dimension
MAX_BYTES = 2**31 - 2**24  # of weights: protobuf's limit is 2**31 with the graph


def export_onnx(
    path: str | Path,
    task: Task,
    config: Config,
    variables: dict,
    *,
    nms: bool,
    all_layers: bool = False,
) -> None:
    """Write the network and decoder of `task` as one .onnx file, in float32.

    The input is `images`, float32 [batch, 3, H, W], RGB in 0..1, of any batch size; H and W are
    config.data.image_size. Batch normalisation is folded into the weights. Outputs (boxes are xyxy
    in 0..1 of the input and not clipped to it):

    * detector: `boxes` [batch, N, 4] and `scores` [batch, N, C], objectness times class
      probability, before non-maximum suppression;
    * detector with `nms`: as ops.nms, `boxes` [batch, D, 4], `scores` [batch, D], `labels` int32
      [batch, D], best first and padded with 0, 0 and -1, and `count` int32 [batch]. D is
      config.eval.max_detections;
    * classifier: `probabilities` [batch, C];
    * with `all_layers`, also the output of each layer, named `layer07_conv` (Darknet's index),
      [batch, C, H, W] or [batch, C].

    metadata_props, in JSON: classes, image_size (height, width), letterbox (whether images keep
    their aspect ratio and are padded with grey), network; with `nms` the arguments of ops.nms.
    producer_version is that of yolojax.

    Args:
        path: of the file, written atomically.
        task: from tasks.build(config).
        config: model, data.image_size, data.letterbox and eval are read.
        variables: of the network.
        nms: whether the graph includes non-maximum suppression.
        all_layers: whether every layer is an output, to compare two programs.

    Raises:
        ValueError: onnx is not installed; the weights are too large for one file; `nms` is set for
            a classifier; a threshold is outside 0..1; config.data.image_size or the head does not
            fit the network.
    """
    _check(path, task, variables, nms)
    limits = _limits(config.eval) if nms else {}
    graph, size = Graph(), tuple(config.data.image_size)
    graph.add_input(IMAGES, (BATCH, 3, *size))
    shapes = layer_shapes(task.model, variables, size)
    names = add_layers(graph, task.model, variables, IMAGES, shapes[:-1])
    _add_outputs(graph, task, names[-1], shapes[-1], limits)
    if all_layers:
        for name, shape in zip(names, shapes[1:], strict=True):
            graph.add_output(name, (BATCH, *shape[3:], *shape[1:3]))
    write_bytes(path, graph.to_bytes(_metadata(config, limits)))


def layer_shapes(model: Network, variables: dict, size: tuple[int, int]) -> list[tuple[int, ...]]:
    """Return the shapes of images of `size` (height, width) and of each layer's output."""
    images = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    outputs = jax.eval_shape(partial(model.apply, all_outputs=True), variables, images)
    return [x.shape for x in (images, *outputs)]


def _add_outputs(graph, task, raw, shape, limits):
    """Decode `raw` of `shape` and add the outputs of the graph, after NMS if `limits`."""
    if task.is_classifier:
        probs = probabilities(graph, raw, **task.decode.keywords)
        return _add_output(graph, probs, "probabilities", (shape[-1],))
    decoded = jax.eval_shape(task.decode, jax.ShapeDtypeStruct(shape, jnp.float32))
    _, count, classes = decoded.class_probs.shape
    decoded = HEADS[task.head](graph, raw, shape, **task.decode.keywords)
    if not limits:
        _add_output(graph, decoded.boxes, "boxes", (count, 4))
        return _add_output(graph, decoded.scores, "scores", (count, classes))
    size, top_k = limits["max_detections"], min(limits["top_k"], count * classes)
    best = add_nms(graph, decoded.boxes, decoded.scores, classes, **(limits | {"top_k": top_k}))
    _add_output(graph, best.boxes, "boxes", (size, 4))
    _add_output(graph, best.scores, "scores", (size,))
    _add_output(graph, best.labels, "labels", (size,), np.int32)
    return _add_output(graph, best.count, "count", (), np.int32)


def _add_output(graph, value, name, shape, dtype=np.float32):
    graph.add_output(graph.node("Identity", value, output=name), (BATCH, *shape), dtype)


def _limits(settings):
    """Return the arguments of add_nms from config.eval."""
    names = ("score_threshold", "iou_threshold", "top_k", "max_detections", "class_agnostic")
    limits = {name: getattr(settings, name) for name in names} | {"top_k": settings.limits["top_k"]}
    for name in ("score_threshold", "iou_threshold"):
        if not 0 <= limits[name] <= 1:
            raise ValueError(f"config.eval.{name} must be from 0 to 1; got {limits[name]}.")
    return limits


def _metadata(config, limits):
    about = {
        "classes": config.model.shown,
        "image_size": config.data.image_size,
        "letterbox": config.data.letterbox,
        "network": config.model.name,
    }
    return {name: to_json(value) for name, value in (about | limits).items()}


def _check(path, task, variables, nms):
    if nms and task.is_classifier:
        raise ValueError("a classifier has no boxes for NMS; leave nms out.")
    size = sum(4 * leaf.size for leaf in jax.tree.leaves(variables))
    if size > MAX_BYTES:
        raise ValueError(
            f"{path}: the network has {size / 1e9:.1f} GB of weights, an .onnx file holds at most "
            f"{MAX_BYTES / 1e9:.1f}; export it as .safetensors, or make it narrower."
        )
