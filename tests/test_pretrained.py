from dataclasses import replace

import jax
import numpy as np
import pytest

from yolojax.config import Config, DataConfig, ModelConfig
from yolojax.darknet.weights import save_weights
from yolojax.export.safetensors import flat, nested
from yolojax.loading import Loaded
from yolojax.models.network import variable_shapes
from yolojax.pretrained import load_pretrained, match_layers
from yolojax.saving import fresh_state, save_model
from yolojax.tasks import build

DETECTOR = ModelConfig("yolov2", ("a", "b"), ((1.0, 1.0),), width=1 / 32)
DETECTOR_OF_3 = ModelConfig("yolov2", ("a", "b", "c"), ((1.0, 1.0),), width=1 / 32)
CLASSIFIER = ModelConfig("darknet19", ("x", "y", "z"), width=1 / 32)


def made(model=DETECTOR, seed=0):
    """Task, config and a state with random variables, without compiling an initialisation."""
    config = Config(model=model, data=DataConfig(image_size=(64, 64)))
    task, generator = build(config), np.random.default_rng(seed)
    shapes = flat(variable_shapes(task.model, (64, 64)))
    leaves = {k: np.abs(generator.normal(size=s.shape)) for k, s in shapes.items()}
    variables = nested({k: v.astype("f4") for k, v in leaves.items()})
    return task, config, fresh_state(Loaded(task, config, variables, seen=0))


def as_loaded(task, config, state):
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    return Loaded(task, config, variables, seen=77)


def saved(path, *args, **options):
    save_model(path, as_loaded(*made(*args, **options)))
    return str(path)


def same(a, b):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, dict(a), dict(b))))


def test_load_the_backbone_of_a_classifier(tmp_path, capsys):
    task, config, state = made()
    path = saved(tmp_path / "a.safetensors", CLASSIFIER, seed=5)
    started = load_pretrained(path, state, task, config)
    source = made(CLASSIFIER, seed=5)[2]
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
    assert "output            skipped  another kind of head" in said
    assert "head_conv1        new" in said
    assert "18 loaded, 1 skipped, 4 new" in said


def test_load_the_first_layers_of_a_darknet_file(tmp_path):
    task, config, state = made()
    other = as_loaded(*made(seed=5))
    path = tmp_path / "backbone.conv.23"
    save_weights(path, other.task.model, other.variables, 9, upto=23)
    started = load_pretrained(str(path), state, task, config)
    changed = {
        layer for layer in state.params if not same(started.params[layer], state.params[layer])
    }
    assert changed == {layer for layer in state.params if layer.startswith("stage")}


def test_other_shapes_are_skipped():
    variables = as_loaded(*made(DETECTOR_OF_3, seed=5)).variables
    matches = match_layers(made()[2], variables, difference="")
    (output,) = [m for m in matches if m.layer == "output"]
    assert output.outcome == "skipped"
    assert output.reason == "bias: (8,) there, (7,) here"
    assert {m.outcome for m in matches if m is not output} == {"loaded"}


@pytest.mark.parametrize(
    ("classes", "reason"),
    [
        (("c", "d"), "its classes are others: ('c', 'd') there, ('a', 'b') here"),
        (("b", "a"), "its classes have another order: ('b', 'a') there, ('a', 'b') here"),
    ],
)
def test_the_output_layer_of_other_classes_is_loaded_only_if_asked(
    classes, reason, tmp_path, capsys
):
    task, config, state = made()
    path = saved(tmp_path / "a.safetensors", replace(DETECTOR, classes=classes), seed=5)
    started = load_pretrained(path, state, task, config)
    assert same(started.params["output"], state.params["output"])
    assert not same(started.params["head_conv1"], state.params["head_conv1"])
    assert f"skipped  {reason}; --config.init_output=True loads it" in capsys.readouterr().out
    started = load_pretrained(path, state, task, replace(config, init_output=True))
    assert not same(started.params["output"], state.params["output"])


def test_the_output_layer_of_whole_weights_without_class_names_is_loaded_only_if_asked(
    tmp_path, capsys
):
    task, config, state = made()
    other = as_loaded(*made(seed=5))
    path = tmp_path / "own.weights"
    save_weights(path, other.task.model, other.variables, 9)
    started = load_pretrained(str(path), state, task, config)
    assert same(started.params["output"], state.params["output"])
    assert "its classes are not known; --config.init_output=True" in capsys.readouterr().out
    started = load_pretrained(str(path), state, task, replace(config, init_output=True))
    assert same(started.params["output"], other.variables["params"]["output"])


def test_a_file_without_a_fitting_layer_raises(tmp_path):
    task, config, state = made()
    other = ModelConfig("fast_yolo", ("x",), side=1, width=1 / 64)
    path = saved(tmp_path / "b.safetensors", other)
    with pytest.raises(ValueError, match=r"b\.safetensors: no layer of it fits yolov2"):
        load_pretrained(path, state, task, config)


def test_weights_of_an_unknown_network_raise(tmp_path):
    task, config, state = made()
    path = tmp_path / "my.weights"
    path.write_bytes(np.array([0, 2, 0, 0, 0], "<i4").tobytes() + bytes(4 * 33))
    with pytest.raises(ValueError, match=r"yolojax convert ITS\.cfg .*my\.weights --to start"):
        load_pretrained(str(path), state, task, config)
