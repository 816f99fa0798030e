import functools

import jax
import numpy as np
import pytest

from yolojax.config import Config, DataConfig, ModelConfig
from yolojax.darknet.weights import save_weights
from yolojax.distributed.sharding import make_mesh
from yolojax.loading import Loaded
from yolojax.pretrained import load_pretrained, match_layers
from yolojax.saving import save_model
from yolojax.tasks import build
from yolojax.training.optimizer import make_optimizer
from yolojax.training.state import create_state

DETECTOR = ModelConfig("yolov2", ("a", "b"), ((1.0, 1.0),), width=1 / 32)
CLASSIFIER = ModelConfig("darknet19", ("x", "y", "z"), width=1 / 32)


@functools.cache
def made(classifier=False, seed=0, classes=None):
    model = CLASSIFIER if classifier else DETECTOR
    if classes:
        model = ModelConfig(model.name, classes, model.anchors, width=model.width)
    config = Config(model=model, data=DataConfig(image_size=(64, 64)), seed=seed)
    task = build(config)
    return task, config, create_state(task, make_optimizer(config.optimizer), config, make_mesh())


def as_loaded(task, config, state):
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    return Loaded(task, config, variables, seen=77)


def saved(tmp_path, name="a.safetensors", **options):
    save_model(tmp_path / name, as_loaded(*made(**options)))
    return str(tmp_path / name)


def same(a, b):
    return all(
        jax.tree.leaves(jax.tree.map(lambda x, y: bool(np.array_equal(x, y)), dict(a), dict(b)))
    )


def test_a_detector_starts_with_the_backbone_of_a_classifier(tmp_path, capsys):
    task, config, state = made()
    path = saved(tmp_path, classifier=True, seed=5)
    started = load_pretrained(path, state, task, config)
    source = made(classifier=True, seed=5)[2]
    backbone = [layer for layer in state.params if layer.startswith("stage")]
    assert len(backbone) == 18
    for layer in backbone:
        assert same(started.params[layer], source.params[layer]), layer
        assert same(started.batch_stats[layer], source.batch_stats[layer]), layer
    for layer in set(state.params) - set(backbone):
        assert same(started.params[layer], state.params[layer]), layer
    assert int(started.seen) == 0
    said = capsys.readouterr().out
    assert "stage3_conv2      loaded" in said
    assert "output            skipped  its output is of another kind" in said
    assert "head_conv1        new" in said
    assert "18 loaded, 1 skipped, 4 new" in said


def test_the_first_layers_in_a_darknet_file_are_known_by_their_length(tmp_path):
    task, config, state = made()
    other = as_loaded(*made(seed=5))
    path = tmp_path / "backbone.conv.23"
    save_weights(path, other.task.model, other.variables, 9, upto=23)
    started = load_pretrained(str(path), state, task, config)
    changed = {
        layer for layer in state.params if not same(started.params[layer], state.params[layer])
    }
    assert changed == {layer for layer in state.params if layer.startswith("stage")}


def test_other_shapes_are_skipped_with_their_reason():
    variables = as_loaded(*made(seed=5, classes=("a", "b", "c"))).variables
    matches = match_layers(made()[2], variables, same_head=True)
    (output,) = [m for m in matches if m.layer == "output"]
    assert output.fate == "skipped"
    assert output.reason == "bias: (8,) there, (7,) here"
    assert {m.fate for m in matches if m is not output} == {"loaded"}


def test_a_file_of_which_nothing_fits_is_refused(tmp_path):
    task, config, state = made()
    narrow = ModelConfig("fast_yolo", ("x",), side=1, width=1 / 64)
    other = Config(model=narrow, data=DataConfig(image_size=(64, 64)))
    model = build(other)
    start = create_state(model, make_optimizer(other.optimizer), other, make_mesh())
    save_model(tmp_path / "b.safetensors", as_loaded(model, other, start))
    with pytest.raises(ValueError, match=r"b\.safetensors: no layer of it fits yolov2"):
        load_pretrained(str(tmp_path / "b.safetensors"), state, task, config)


def test_weights_of_an_unknown_network_are_told_the_way(tmp_path):
    task, config, state = made()
    path = tmp_path / "my.weights"
    path.write_bytes(np.array([0, 2, 0, 0, 0], "<i4").tobytes() + bytes(4 * 33))
    with pytest.raises(ValueError, match=r"yolojax convert ITS\.cfg .*my\.weights --to start"):
        load_pretrained(str(path), state, task, config)
