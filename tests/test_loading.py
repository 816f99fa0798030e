from pathlib import Path

import chex
import jax.numpy as jnp
import numpy as np
import pytest

from yolojax.config import Config, DataConfig, ModelConfig, to_dict
from yolojax.darknet import published_files
from yolojax.darknet.weights import save_weights
from yolojax.export.safetensors import flat, save_tensors
from yolojax.loading import describe, load_model
from yolojax.models.network import variable_shapes
from yolojax.tasks import build

GOLDEN = Path(__file__).parent / "golden"
WEIGHTS = GOLDEN / "weights" / "v2tiny_narrow.weights"
CFG = GOLDEN / "cfg" / "v2tiny_narrow.cfg"


def write_names(path, count):
    path.write_text("".join(f"thing {i}\n" for i in range(count)))
    return path


def test_load_weights_with_their_cfg(tmp_path):
    names = write_names(tmp_path / "a.names", 20)
    model = load_model(WEIGHTS, cfg=CFG, names=names)
    assert model.seen == 123456
    assert model.config == describe(WEIGHTS, cfg=CFG, names=names)
    assert model.config.model.classes[19] == "thing 19"
    assert model.config.data.image_size == (128, 160)
    shapes = variable_shapes(model.task.model, (128, 160))
    chex.assert_trees_all_equal_shapes(model.variables, shapes)


def test_load_weights_with_a_config(tmp_path):
    config = describe(WEIGHTS, cfg=CFG)
    config.eval.iou_threshold = 0.3
    model = load_model(WEIGHTS, config)
    assert model.config is config
    chex.assert_trees_all_equal(model.variables, load_model(WEIGHTS, cfg=CFG).variables)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """The .weights of a narrow network, with the only entry of the published files."""
    config = Config(
        model=ModelConfig("yolov2_tiny_voc", ("cat", "dog"), ((1.0, 1.0),), width=1 / 16),
        data=DataConfig(image_size=(64, 64)),
    )
    shapes = flat(variable_shapes(build(config).model, (64, 64)))
    variables = {"params": {}, "batch_stats": {}}
    for key, shape in shapes.items():
        collection, layer, leaf = key.split("/")
        variables[collection].setdefault(layer, {})[leaf] = np.ones(shape.shape, np.float32)
    path = tmp_path / "tiny.weights"
    save_weights(path, build(config).model, variables, 5)
    entry = published_files.Weights("tiny.weights", path.stat().st_size, "yolov2_tiny_voc")
    monkeypatch.setattr(published_files, "PUBLISHED_FILES", (entry,))
    monkeypatch.setattr(published_files, "config_of", lambda one: config if one == entry else None)
    return path


def test_load_published_weights_by_their_size(published, tmp_path):
    model = load_model(published)
    assert model.seen == 5
    assert model.config.model.classes == ("cat", "dog")
    names = write_names(tmp_path / "a.names", 2)
    assert load_model(published, names=names).config.model.classes == ("thing 0", "thing 1")
    with pytest.raises(
        ValueError, match=r"b\.names: the network has 2 classes, but there are 3 names"
    ):
        load_model(published, names=write_names(tmp_path / "b.names", 3))


def test_a_published_length_under_another_name_is_said(published, capsys):
    load_model(published)
    assert capsys.readouterr().err == ""
    mine = published.rename(published.with_name("mine.weights"))
    describe(mine)
    wanted = "mine.weights: taken for tiny.weights by its length; if it is yours, give --cfg"
    assert wanted in capsys.readouterr().err


def test_files_beside_the_weights_describe_them(published, tmp_path, capsys):
    text = CFG.read_text()
    (tmp_path / "tiny.cfg").write_text(text)
    config = describe(published)
    assert "tiny.weights: its network is that of tiny.cfg next to it" in capsys.readouterr().err
    assert config.data.image_size == describe(WEIGHTS, cfg=CFG).data.image_size
    count = len(config.model.classes)
    assert config.model.classes[0] == "aeroplane"  # of the published file with this name
    write_names(tmp_path / "tiny.names", count)
    assert describe(published).model.classes[0] == "thing 0"
    assert "that of tiny.cfg and tiny.names next to it" in capsys.readouterr().err
    (tmp_path / "other").mkdir()
    names = write_names(tmp_path / "other" / "a.names", count - 1)
    with pytest.raises(ValueError, match=rf"the network has {count} classes, but there are"):
        describe(published, names=names)


def test_partial_weights_raise(published, monkeypatch):
    entries = tuple(entry._replace(upto=13) for entry in published_files.PUBLISHED_FILES)
    monkeypatch.setattr(published_files, "PUBLISHED_FILES", entries)
    with pytest.raises(ValueError, match=r"the layers before 13 .* --upto 13"):
        load_model(published)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no published file has 215736 bytes; give --cfg or --config"),
        ({"names": "a.names"}, "give --cfg or --config"),
        ({"cfg": CFG, "config": Config()}, "leave cfg and names out"),
        ({"names": "a.names", "config": Config()}, "leave cfg and names out"),
    ],
)
def test_missing_or_contradicting_arguments_raise(options, message):
    with pytest.raises(ValueError, match=message):
        load_model(WEIGHTS, **options)


def test_other_formats_need_no_description(tmp_path):
    config = Config(model=ModelConfig("yolov2_tiny_voc", ("cat",), ((1.0, 1.0),)))
    path = tmp_path / "a.safetensors"
    save_tensors(path, config, {"params": {}}, 0)
    assert to_dict(describe(path)) == to_dict(config)
    with pytest.raises(ValueError, match=r"cfg are for \.weights files"):
        load_model(path, cfg=CFG)
    with pytest.raises(ValueError, match=r"names and upto are for \.weights files"):
        load_model(path, names="a.names", upto=3)
    with pytest.raises(FileNotFoundError, match=r"config\.json: not found"):
        load_model(tmp_path)
    with pytest.raises(FileNotFoundError, match="nothing: not found"):
        describe(tmp_path / "nothing")


def test_config_with_another_model_raises(tmp_path):
    model = load_model(WEIGHTS, cfg=CFG)
    path = tmp_path / "a.safetensors"
    save_tensors(path, model.config, model.variables, 0)
    other = describe(path)
    other.eval.top_k = 7
    other.model.dtype = "bfloat16"
    again = load_model(path, other)
    assert again.config.eval.top_k == 7
    assert again.task.model.dtype == jnp.bfloat16
    other.model.classes = ("cat",) * 20
    message = (
        "with model.classes entry 1 'class 0', the config has entry 1 'cat'; .*cannot be changed"
    )
    with pytest.raises(ValueError, match=message):
        load_model(path, other)
    other.model.classes, other.model.width = model.config.model.classes, 0.5
    with pytest.raises(ValueError, match=r"trained with model\.width 1\.0, the config has 0\.5; "):
        load_model(path, other)
