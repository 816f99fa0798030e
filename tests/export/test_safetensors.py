import json
from pathlib import Path

import chex
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from yolojax.config import Config, DataConfig, ModelConfig, to_dict
from yolojax.export.safetensors import flat, load_tensors, nested, save_tensors
from yolojax.loading import load_model
from yolojax.models.network import variable_shapes
from yolojax.tasks import build

GOLDEN = Path(__file__).parents[1] / "golden"
CONFIG = Config(
    model=ModelConfig("yolov2_tiny_voc", ("cat", "dog"), ((1.0, 1.0),), width=1 / 16),
    data=DataConfig(image_size=(32, 32)),
)
KERNEL = "params/output/kernel"


def random_variables():
    shapes = flat(variable_shapes(build(CONFIG).model, (32, 32)))
    generator = np.random.default_rng(0)
    return nested({k: generator.normal(size=s.shape).astype("f4") for k, s in shapes.items()})


@pytest.fixture
def file(tmp_path):
    save_tensors(tmp_path / "a.safetensors", CONFIG, random_variables(), 2**40)
    return tmp_path / "a.safetensors"


def rewrite(file, change=lambda tensors: None, **about):
    """Rewrite `file` with changed tensors and metadata."""
    with safe_open(file, framework="numpy") as opened:
        metadata = {**opened.metadata(), **about}
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata)


def test_save_and_load(file):
    config, variables, seen = load_tensors(file)
    assert (config, seen) == (CONFIG, 2**40)
    chex.assert_trees_all_equal(variables, random_variables())


def test_safetensors_reads_the_file(file):
    kernel = load_file(file)[KERNEL]
    np.testing.assert_array_equal(kernel, random_variables()["params"]["output"]["kernel"])
    with safe_open(file, framework="numpy") as opened:
        about = opened.metadata()
    assert about["format"] == "yolojax 1"
    assert about["seen"] == str(2**40)
    assert json.loads(about["config"])["model"]["classes"] == ["cat", "dog"]
    assert file.stat().st_mode & 0o044  # others may read it, as any file


@pytest.mark.parametrize("name", ["v2_narrow", "v1_narrow", "v1tiny_narrow", "darknet19_narrow"])
def test_views_of_a_weights_file_are_saved_in_order(name, tmp_path):
    weights = GOLDEN / "weights" / f"{name}.weights"
    model = load_model(weights, cfg=GOLDEN / "cfg" / f"{name}.cfg")
    save_tensors(tmp_path / "a.safetensors", model.config, model.variables, model.seen)
    again = load_model(tmp_path / "a.safetensors")
    assert (again.config, again.seen) == (model.config, 123456)
    chex.assert_trees_all_equal(again.variables, model.variables)


def shorter(tensors):
    tensors[KERNEL] = tensors[KERNEL][..., 1:]


def halved(tensors):
    tensors[KERNEL] = tensors[KERNEL].astype(np.float16)


def broken(tensors):
    tensors[KERNEL][0, 0, 0, 0] = np.nan


def renamed(tensors):
    tensors["params/other/kernel"] = tensors.pop(KERNEL)


def other_network():
    return json.dumps(to_dict(Config(model=ModelConfig("yolov2_tiny_voc", ("cat",), ((1, 1),)))))


@pytest.mark.parametrize(
    ("change", "about", "message"),
    [
        (
            shorter,
            {},
            r"output/kernel must be float32 \[1, 1, 64, 7\], got float32 \[1, 1, 64, 6\]",
        ),
        (halved, {}, "must be float32 .* got float16"),
        (broken, {}, "output/kernel has values that are not finite"),
        (renamed, {}, "has no params/output/kernel and has unknown params/other/kernel"),
        (lambda t: t.pop(KERNEL), {}, "has no params/output/kernel; its config describes"),
        (lambda t: None, {"format": "pt"}, "its format is 'pt', not 'yolojax 1'"),
        (lambda t: None, {"config": "{"}, "its metadata is damaged"),
        (lambda t: None, {"config": "[]"}, "its metadata is damaged"),
        (lambda t: None, {"seen": "many"}, "its metadata is damaged"),
        (lambda t: None, {"config": other_network()}, "must be float32"),
    ],
)
def test_tensors_or_metadata_that_do_not_fit_raise(file, change, about, message):
    rewrite(file, change, **about)
    with pytest.raises(ValueError, match=rf"a\.safetensors: .*{message}"):
        load_tensors(file)


def test_a_truncated_file_raises(file):
    data = file.read_bytes()
    for length in (0, 7, 100, len(data) - 1):
        file.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"a\.safetensors: not a \.safetensors file"):
            load_tensors(file)
    with pytest.raises(FileNotFoundError, match="nothing"):
        load_tensors(file.with_name("nothing"))
