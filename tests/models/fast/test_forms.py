"""The plain layers and the fast forms of one network compute the same."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolojax.config import Config, DataConfig, ModelConfig
from yolojax.distributed.sharding import make_mesh
from yolojax.models import functional
from yolojax.models.fast.forms import choose_forms
from yolojax.models.layers import Conv, MaxPool
from yolojax.tasks import build, for_inference
from yolojax.training.optimizer import make_optimizer
from yolojax.training.state import create_state
from yolojax.training.step import make_train_step

SIZE = (64, 96)


def make_config(fast_forms):
    model = ModelConfig("yolov2", classes=("a", "b"), anchors=((1.0, 2.0), (2.0, 1.0)))
    model.width, model.fast_forms = 1 / 8, fast_forms
    config = Config(model=model, data=DataConfig(image_size=SIZE))
    config.optimizer.batch_size = 2
    # With seed 0 one activation is so near the kink of leaky ReLU or to a tie of a max-pool that
    # rounding decides its gradient on JAX 0.12.
    config.seed = 1
    return config


def random_batch():
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(size=(2, 3, 2, 2)), axis=2)
    return {
        "image": jnp.asarray(rng.integers(0, 256, (2, *SIZE, 3), np.uint8)),
        "boxes": jnp.float32(corners.reshape(2, 3, 4)),
        "labels": jnp.asarray(rng.integers(0, 2, (2, 3)), jnp.int32),
        "mask": jnp.ones((2, 3), bool),
        "image_id": jnp.arange(2),
    }


def test_off_leaves_the_plain_functions_alone():
    table = (Conv(8), MaxPool())
    plain = choose_forms("off", table, SIZE, units=True, strips=4)
    assert plain == (functional.convolve, functional.max_pool, {})
    assert choose_forms("auto", table, SIZE, units=True).units.keys() == {0}
    assert not choose_forms("auto", table, SIZE, units=False).units


def test_an_unknown_choice_is_refused():
    with pytest.raises(ValueError, match=r"config.model.fast_forms is 'of'.*Did you mean 'off'"):
        build(make_config("of"))


def test_a_training_step_and_inference_are_those_of_the_plain_layers():
    found = {}
    for fast_forms in ("auto", "off"):
        config = make_config(fast_forms)
        task, optimizer = build(config), make_optimizer(config.optimizer)
        state = create_state(task, optimizer, config, make_mesh(jax.devices()[:1]))
        step = jax.jit(make_train_step(config, task, optimizer))
        text = step.lower(state, random_batch()).as_text()
        # Not so in the plain form: the windows of the first unit as matrices, in a loop.
        assert ("while" in text) == (fast_forms == "auto")
        new, metrics = step(state, random_batch())
        variables = {"params": new.params, "batch_stats": new.batch_stats}
        quick, folded = for_inference(task, variables, "cpu")
        assert (quick.model is task.model) == (fast_forms == "off")
        images = random_batch()["image"] / 255
        raw = jax.jit(partial(quick.model.apply, train=False))(folded, images)
        found[fast_forms] = (state.params, new.params, new.batch_stats, metrics["loss"], raw)
    before, params, statistics, loss, raw = found["off"]
    _, fast_params, fast_statistics, fast_loss, fast_raw = found["auto"]
    np.testing.assert_allclose(fast_loss, loss, rtol=1e-5)
    np.testing.assert_allclose(fast_raw, raw, atol=1e-3 * np.std(raw))
    for a, b, start in zip(*map(jax.tree.leaves, (fast_params, params, before)), strict=True):
        assert np.linalg.norm(a - b) <= 1e-3 * np.linalg.norm(b - start) + 1e-7
    for a, b in zip(*map(jax.tree.leaves, (fast_statistics, statistics)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_plain_layers_import_no_fast_form():
    folder = Path(functional.__file__).parent
    texts = {path.name: path.read_text() for path in folder.glob("*.py")}
    users = {name for name, text in texts.items() if "models.fast" in text}
    assert users == {"network.py"}
    assert texts["network.py"].count("models.fast") == 1  # choose_forms
