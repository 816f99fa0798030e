from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolojax.config import Config, ModelConfig
from yolojax.distributed.sharding import make_mesh
from yolojax.tasks import build, on_tpu
from yolojax.training import step
from yolojax.training.optimizer import make_optimizer

CFG = Path(__file__).parent / "golden" / "cfg" / "v2tiny_narrow.cfg"
ANCHORS = ((1.0, 1.0),) * 5


def model(**fields):
    return Config(model=ModelConfig("my", classes=tuple("abcdefghijklmnopqrst"), **fields))


def test_the_layers_of_a_cfg_are_those_of_its_text():
    task = build(model(cfg=CFG.read_text(), anchors=ANCHORS))
    assert (task.head, task.model.table[-1].filters) == ("region", 125)


def test_few_images_on_a_tpu_are_cut_into_strips():
    task = build(model(cfg=CFG.read_text(), anchors=ANCHORS))
    assert (task.model.strips, task.model.mesh) == (1, None)
    mesh = make_mesh(jax.devices()[:2])
    models = [on_tpu(task, images, mesh).model for images in (64, 256)]
    assert [(model.strips, model.mesh) for model in models] == [(4, mesh), (1, mesh)]


def test_a_cfg_with_another_number_of_classes_is_refused():
    config = model(cfg=CFG.read_text(), anchors=ANCHORS)
    config.model.classes = ("cat", "dog")
    with pytest.raises(ValueError, match=r"ends in 125 outputs, but 2 classes .* need 35"):
        build(config)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("epsilon", "gppu", "config.model.epsilon is 'gppu'.*Did you mean 'gpu'"),
        ("dtype", "float16", "config.model.dtype is 'float16'; known: float32, bfloat16"),
        ("name", "yolov3", "config.model.name is 'yolov3'.*Did you mean 'yolov"),
    ],
)
def test_an_unknown_name_gets_a_suggestion(field, value, message):
    config = model(anchors=ANCHORS)
    config.model.name = "yolov2"
    setattr(config.model, field, value)
    with pytest.raises(ValueError, match=message):
        build(config)


@pytest.mark.parametrize(("name", "weight"), [("yolov2", 5.0), ("yolov1", 1.0)])
def test_a_weight_that_is_not_set_is_the_loss_s_own(name, weight):
    """yolov2-voc.cfg and yolov1.cfg differ, so none of their values can be the config's."""

    def loss(value):
        config = model(anchors=((1.0, 1.0),), side=2)
        config.model.name, config.loss.object_weight = name, value
        raw = jnp.full((1, 2, 2, 25) if name == "yolov2" else (1, 4 * 30), 0.2)
        boxes = jnp.array([[[0.1, 0.1, 0.5, 0.6]]])
        batch = {"boxes": boxes, "labels": jnp.zeros((1, 1), int), "mask": jnp.ones((1, 1), bool)}
        return jax.jit(build(config).loss)(raw, batch, 10**6)[0]

    assert loss(None) == loss(weight) != loss(2 * weight)


def test_a_setting_that_the_loss_does_not_have_is_refused():
    config = model(side=2)
    config.model.name, config.loss.box_loss = "yolov1", "ciou"
    with pytest.raises(
        ValueError, match=r"config.loss.box_loss is 'ciou', but the loss yolov1 has no"
    ):
        build(config)


def test_a_schedule_that_the_loss_has_no_use_for_is_not():
    config = model(side=2)
    config.model.name, config.loss.warmup_images = "yolov1", 64
    build(config)


def test_a_train_step_for_tpus_counts_the_images_that_a_device_has_at_a_time(monkeypatch):
    seen = []
    monkeypatch.setattr(
        step, "on_tpu", lambda task, images, mesh: seen.append(images // mesh.size) or task
    )
    config = model(cfg=CFG.read_text(), anchors=ANCHORS)
    config.optimizer.batch_size, config.optimizer.subdivisions = 256, 2
    for platform in ("tpu", "cpu"):
        devices = np.array([SimpleNamespace(platform=platform)] * 4)
        mesh = SimpleNamespace(devices=devices, size=4)
        step.make_train_step(config, build(config), make_optimizer(config.optimizer), mesh)
    assert seen == [32]
