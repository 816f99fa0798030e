"""Compare exported files, run by onnxruntime, with the JAX network."""

import dataclasses
import functools
import json
import sys
from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolojax.config import Config, DataConfig, EvalConfig, ModelConfig
from yolojax.export.onnx import export_onnx
from yolojax.export.onnx_activations import activate
from yolojax.export.onnx_graph import Graph
from yolojax.export.onnx_layers import fold
from yolojax.export.onnx_nms import add_nms
from yolojax.heads import classes
from yolojax.heads.predictions import scores
from yolojax.heads.yolov2 import decode
from yolojax.models.functional import ACTIVATIONS
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
)
from yolojax.models.network import Network, variable_shapes
from yolojax.ops.nms import nms
from yolojax.tasks import Task, build

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install -e '.[export]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="pip install -e '.[export]'")

ANCHORS = ((1.3, 1.7), (3.2, 4.0), (0.6, 0.5))
NETWORKS = {  # arguments of ModelConfig and the image size
    "yolov2": ({"anchors": ANCHORS}, (64, 96)),
    "yolov2_tiny_voc": (
        {"anchors": ANCHORS, "location": "anchor", "class_activation": "sigmoid"},
        (96, 64),
    ),
    "yolov1": ({"boxes": 3, "side": 2, "class_softmax": True}, (128, 128)),
    "yolov1_paper": ({"square_root": False, "side": 2}, (128, 128)),
    "darknet19": ({}, (64, 96)),
    "darknet_reference": ({"temperature": 3.0}, (64, 64)),
}
START = Conv(8, 4, padding=0, name="start")  # 8 x 10 -> 5 x 7
KINDS = {
    "batch norm": (Conv(4, name="a"),),
    "stride": (Conv(4, 7, 2, name="a"), Conv(4, 1, 2, name="b")),
    "padding": (Conv(4, 1, padding=2, name="a"),),
    "leaky": (Conv(4, batch_norm=False, activation="leaky", name="a"),),
    "local": (Local(4, name="a"), Local(3, 2, 2, activation="linear", padding=0, name="b")),
    "connected": (Connected(4, batch_norm=True, name="a"), Connected(5, name="b"), Dropout()),
    "pool 2/2": (MaxPool(),),
    "pool 2/1": (MaxPool(2, 1),),
    "pool 3/2": (MaxPool(3, 2), MaxPool(3, 1)),
    "pool unpadded": (MaxPool(2, 2, 0),),
    "average": (AvgPool(),),
    "route": (Conv(4, name="a"), Route((-2,)), Route((-1, 1, 0))),
    "groups": (Conv(4, name="a"), Conv(6, groups=2, name="b"), Conv(6, groups=6, name="c")),
    "shortcut": (Conv(8, name="a"), Shortcut(-2, "leaky"), Shortcut(0)),
    "shortcut to fewer channels": (Conv(3, name="a"), Shortcut(0, "relu")),
    "shortcut to a smaller map": (Conv(9, stride=2, name="a"), Conv(9, name="b"), Shortcut(0)),
    "shortcut to a larger map": (MaxPool(), Conv(9, 4, padding=4, name="a"), Shortcut(1)),
    "reorg": (MaxPool(2, 2, 1), Conv(8, 2, padding=0, name="a"), Conv(12, 1, padding=1, name="b")),
}
EXACT = {"atol": 2e-5, "rtol": 1e-4}


def random_variables(model, image_size, seed=0):
    """Random variables without zeros and ones, which would hide errors."""
    rng = np.random.default_rng(seed)
    ranges = {"bias": (-0.3, 0.3), "mean": (-0.3, 0.3), "var": (0.5, 2), "scale": (0.5, 1.5)}

    def fill(path, leaf):
        if path[-1].key == "kernel":
            inputs = leaf.size / leaf.shape[-1]
            values = rng.normal(0, (2 / inputs) ** 0.5, leaf.shape)
        else:
            values = rng.uniform(*ranges[path[-1].key], leaf.shape)
        return values.astype(np.float32)

    return jax.tree_util.tree_map_with_path(fill, variable_shapes(model, image_size))


def pictures(image_size):
    return np.random.default_rng(1).uniform(size=(3, *image_size, 3)).astype(np.float32)


def run(path, images):
    """Check the file at `path` and run it -> {output: array}."""
    onnx.checker.check_model(onnx.load(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    outputs = session.run(None, {"images": np.ascontiguousarray(images.transpose(0, 3, 1, 2))})
    return dict(zip((o.name for o in session.get_outputs()), outputs, strict=True))


@functools.cache
def narrow(name):
    """Task, config and variables of a network with few filters."""
    fields, size = NETWORKS[name]
    model = ModelConfig(name, classes=("cat", "dog", "fish"), width=1 / 16, **fields)
    config = Config(model=model, data=DataConfig(image_size=size))
    task = build(config)
    return task, config, random_variables(task.model, size)


def plain(table, image_size, epsilon="gpu"):
    """Task, config and variables of a table of layers, as a classifier."""
    model = Network(table, epsilon=epsilon)
    config = Config(data=DataConfig(image_size=image_size))
    task = Task(model, partial(classes.decode), None, "classes")
    return task, config, random_variables(model, image_size)


def assert_layers_equal(path, task, config, variables):
    export_onnx(path, task, config, variables, nms=False, all_layers=True)
    images = pictures(config.data.image_size)
    wanted = jax.jit(partial(task.model.apply, all_outputs=True))(variables, images)
    for count in (1, 3):
        outputs = run(path, images[:count])
        found = [array for name, array in outputs.items() if name.startswith("layer")]
        for index, (ours, theirs) in enumerate(zip(wanted, found, strict=True)):
            theirs = theirs.transpose(0, 2, 3, 1) if theirs.ndim == 4 else theirs
            np.testing.assert_allclose(theirs, ours[:count], **EXACT, err_msg=f"layer {index}")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_layer(tmp_path, kind):
    table = (START, *KINDS[kind], Connected(3, activation="linear", name="output"))
    assert_layers_equal(tmp_path / "x.onnx", *plain(table, (8, 10)))


def test_every_activation(tmp_path):
    graph, x = Graph(), np.linspace(-9, 9, 73, dtype=np.float32)
    graph.add_input("x", ["N"])
    for name in ACTIVATIONS:
        activate(graph, "x", name, name)
        graph.add_output(name, ["N"])
    (tmp_path / "x.onnx").write_bytes(graph.to_bytes({}))
    found = onnxruntime.InferenceSession(tmp_path / "x.onnx").run(list(ACTIVATIONS), {"x": x})
    for (name, function), theirs in zip(ACTIVATIONS.items(), found, strict=True):
        np.testing.assert_allclose(theirs, function(x), **EXACT, err_msg=name)


def test_reorg_and_crop(tmp_path):
    table = (Crop(6, 9), Conv(18, 1, name="a"), Reorg(3), Conv(3, 1, name="b"), Crop(), AvgPool())
    assert_layers_equal(tmp_path / "x.onnx", *plain(table, (9, 15)))


@pytest.mark.parametrize(("epsilon", "factor"), [("gpu", 100_000**0.5), ("cpu", 1e6)])
def test_batch_norm_is_folded(epsilon, factor):
    leaves = {"kernel": np.full((1, 1, 1, 1), 2.0), "bias": np.ones(1), "scale": np.full(1, 3.0)}
    statistics = {"mean": np.full(1, 5.0), "var": np.zeros(1)}
    variables = {"params": {"a": leaves}, "batch_stats": {"a": statistics}}
    kernel, bias = fold("a", variables, epsilon)
    np.testing.assert_allclose(kernel, [[[[6 * factor]]]], rtol=1e-6)
    np.testing.assert_allclose(bias, [1 - 15 * factor], rtol=1e-6)


def test_outputs_are_named_by_darknet_s_index(tmp_path):
    table = (Conv(3, name="a"), MaxPool(), AvgPool())
    export_onnx(tmp_path / "x.onnx", *plain(table, (4, 4)), nms=False, all_layers=True)
    names = ["probabilities", "layer00_conv", "layer01_maxpool", "layer02_avgpool"]
    assert list(run(tmp_path / "x.onnx", pictures((4, 4)))) == names


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_of_networks(tmp_path, name):
    task, config, variables = narrow(name)
    export_onnx(tmp_path / "x.onnx", task, config, variables, nms=False)
    images = pictures(config.data.image_size)
    decoded = jax.jit(lambda v, x: task.decode(task.model.apply(v, x)))(variables, images)
    for count in (1, 3):
        wanted = jax.tree.map(lambda x: x[:count], decoded)
        found = run(tmp_path / "x.onnx", images[:count])
        if task.head == "classes":
            assert list(found) == ["probabilities"]
            np.testing.assert_allclose(found["probabilities"], wanted, **EXACT)
            continue
        assert list(found) == ["boxes", "scores"]
        np.testing.assert_allclose(found["boxes"], wanted.boxes, **EXACT)
        np.testing.assert_allclose(found["scores"], scores(wanted), **EXACT)


def one_convolution(anchors):
    """A region head of 8 channels whose output is 99 everywhere."""
    model = Network((Conv(8, 1, batch_norm=False, activation="linear", name="output"),))
    leaves = {"kernel": np.zeros((1, 1, 3, 8), np.float32), "bias": np.full(8, 99, np.float32)}
    task = Task(model, partial(decode, anchors=anchors), None, "region")
    return task, Config(data=DataConfig(image_size=(2, 4))), {"params": {"output": leaves}}


def test_centres_are_bounded(tmp_path):
    task, config, variables = one_convolution(((4.0, 1.0),))
    task = task._replace(decode=partial(task.decode, location="anchor"))
    variables["params"]["output"]["bias"][:2] = 1e30, -1e30
    export_onnx(tmp_path / "x.onnx", task, config, variables, nms=False)
    boxes = run(tmp_path / "x.onnx", pictures((2, 4)))["boxes"]
    wanted = task.decode(np.full((1, 2, 4, 8), variables["params"]["output"]["bias"])).boxes
    assert np.isfinite(boxes).all()
    np.testing.assert_allclose(boxes[:1], wanted, rtol=1e-6)


def test_boxes_are_bounded(tmp_path):
    export_onnx(tmp_path / "x.onnx", *one_convolution(((4.0, 1.0),)), nms=False)
    boxes = run(tmp_path / "x.onnx", pictures((2, 4)))["boxes"]
    np.testing.assert_allclose(boxes[0, 0, 2] - boxes[0, 0, 0], np.exp(10), rtol=1e-6)
    np.testing.assert_allclose(boxes[0, 0, 3] - boxes[0, 0, 1], np.exp(10) / 2, rtol=1e-6)


def test_anchors_that_do_not_fit_raise(tmp_path):
    with pytest.raises(ValueError, match="do the anchors belong to this network"):
        export_onnx(tmp_path / "x.onnx", *one_convolution(((1.0, 1.0),) * 3), nms=False)


@pytest.mark.parametrize("name", ["yolov2", "yolov1", "yolov1_paper"])
def test_nms_in_the_graph_equals_ops_nms(tmp_path, name):
    task, config, variables = narrow(name)
    images = pictures(config.data.image_size)
    export_onnx(tmp_path / "raw.onnx", task, config, variables, nms=False)
    limits = {"score_threshold": 0.02, "iou_threshold": 0.3}
    config = dataclasses.replace(config, eval=EvalConfig(**limits))
    export_onnx(tmp_path / "nms.onnx", task, config, variables, nms=True)
    raw, found = run(tmp_path / "raw.onnx", images), run(tmp_path / "nms.onnx", images)
    wanted = nms(raw["boxes"], raw["scores"], **limits, top_k=1000, max_detections=100)
    assert 0 < wanted.count.min() < raw["scores"][0].size
    assert list(found) == ["boxes", "scores", "labels", "count"]
    for key, array in found.items():
        np.testing.assert_array_equal(array, getattr(wanted, key), err_msg=key)


def run_nms(boxes, values, **arguments):
    graph = Graph()
    graph.add_input("boxes", (None, *boxes.shape[1:]))
    graph.add_input("scores", (None, *values.shape[1:]))
    kept = add_nms(graph, "boxes", "scores", values.shape[-1], **arguments)
    for name, kind in zip(kept, (np.float32, np.float32, np.int32, np.int32), strict=True):
        graph.add_output(name, None, kind)
    session = onnxruntime.InferenceSession(graph.to_bytes({}))
    outputs = session.run(list(kept), {"boxes": boxes, "scores": values})
    return dict(zip(kept._fields, outputs, strict=True))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    iou_threshold=st.sampled_from((0.0, 0.25, 0.5, 1.0)),
    score_threshold=st.sampled_from((0.0, 0.5, 1.0)),
    limits=st.sampled_from(((27, 30), (10, 4))),
    class_agnostic=st.booleans(),
)
def test_nms_with_ties_and_inverted_boxes(
    seed, iou_threshold, score_threshold, limits, class_agnostic
):
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 8, (2, 9, 4)).astype(np.float32) / 8
    values = rng.integers(-1, 5, (2, 9, 3)).astype(np.float32) / 4
    arguments = {
        "iou_threshold": iou_threshold,
        "score_threshold": score_threshold,
        "class_agnostic": class_agnostic,
        "top_k": limits[0],
        "max_detections": limits[1],
    }
    wanted = nms(corners, values, **arguments)
    for name, array in run_nms(corners, values, **arguments).items():
        np.testing.assert_array_equal(array, getattr(wanted, name), err_msg=name)


def test_nms_by_hand():
    boxes = np.float32([[[0, 0, 1, 1], [0, 0, 1, 0.75], [0, 0, 0.5, 0.5]]])
    values = np.float32([[[0.9, 0.1], [0.8, 0.7], [0.6, 0.05]]])
    limits = {"iou_threshold": 0.5, "score_threshold": 0.2, "top_k": 6, "max_detections": 7}
    found = run_nms(boxes, values, **limits)
    np.testing.assert_array_equal(
        found["labels"], [[0, 1, 0, -1, -1, -1, -1]]
    )  # not the second's 0
    np.testing.assert_array_equal(found["scores"], np.float32([[0.9, 0.7, 0.6, 0, 0, 0, 0]]))
    np.testing.assert_array_equal(found["boxes"][0, :3], boxes[0])
    assert found["count"] == [3]


def test_metadata_and_format(tmp_path):
    task, config, variables = narrow("yolov2")
    path = tmp_path / "new" / "x.onnx"
    config = dataclasses.replace(config, eval=EvalConfig(score_threshold=0.25))
    export_onnx(path, task, config, variables, nms=True)
    model = onnx.load(path)
    assert (model.ir_version, model.opset_import[0].version) == (8, 17)
    about = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert about["classes"] == ["cat", "dog", "fish"]
    assert about["image_size"] == [64, 96]
    assert about["letterbox"] is True
    assert about["network"] == "yolov2"
    assert (about["score_threshold"], about["iou_threshold"]) == (0.25, 0.45)
    assert [p.name for p in path.parent.iterdir()] == ["x.onnx"]


def test_nms_of_a_classifier_raises(tmp_path):
    with pytest.raises(ValueError, match="classifier has no boxes"):
        export_onnx(tmp_path / "x.onnx", *narrow("darknet19"), nms=True)


def test_thresholds_out_of_range_raise(tmp_path):
    task, config, variables = narrow("yolov2")
    for name, value in (("iou_threshold", 45.0), ("score_threshold", -1.0)):
        config = dataclasses.replace(config, eval=EvalConfig(**{name: value}))
        with pytest.raises(ValueError, match=f"eval.{name} must be from 0 to 1; got {value}"):
            export_onnx(tmp_path / "x.onnx", task, config, variables, nms=True)


def test_more_than_2_gb_raise_early(tmp_path):
    task, config, _ = narrow("darknet19")
    huge = {"params": {"a": {"kernel": jax.ShapeDtypeStruct((2**15, 2**14), np.float32)}}}
    with pytest.raises(ValueError, match=r"x.onnx: the network has 2.1 GB of weights"):
        export_onnx(tmp_path / "x.onnx", task, config, huge, nms=False)


def test_a_pool_that_onnx_cannot_pad_raises(tmp_path):
    table = (MaxPool(2, 2, 3), AvgPool())
    with pytest.raises(ValueError, match=r"layer00_maxpool.*must be below 3"):
        export_onnx(tmp_path / "x.onnx", *plain(table, (4, 4)), nms=False)


def test_another_image_size_with_connected_layers_raises(tmp_path):
    task, config, variables = narrow("yolov1")
    config = dataclasses.replace(config, data=DataConfig(image_size=(128, 192)))
    with pytest.raises(ValueError, match="works at one image size alone"):
        export_onnx(tmp_path / "x.onnx", task, config, variables, nms=False)


def test_without_onnx_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ValueError, match=r"pip install -e '\.\[export\]'"):
        export_onnx(tmp_path / "x.onnx", *narrow("yolov2"), nms=False)
