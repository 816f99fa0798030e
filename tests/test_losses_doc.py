"""The loss in docs/losses.md is complete, keeps the contract and trains."""

import re
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_detector

from yolojax.cli.main import main
from yolojax.distributed.sharding import make_mesh
from yolojax.losses.matcher import ASSIGNMENTS
from yolojax.losses.targets import IGNORES
from yolojax.losses.terms import BOX_TERMS, CLASS_TERMS, OBJECTNESS_TERMS
from yolojax.losses.testing.checks import EVERY
from yolojax.tasks import LOSSES, build
from yolojax.training.optimizer import make_optimizer
from yolojax.training.state import create_state
from yolojax.training.step import make_train_step

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "losses.md").read_text()


@pytest.fixture
def my_loss(tmp_path):
    """The page's my_losses.py, as config.loss.name has it."""
    (text,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "my_losses.py").write_text(text)
    return f"{tmp_path}/my_losses.py:my_loss"


def test_it_passes_every_check(my_loss, capsys):
    assert main(["check-loss", my_loss, "--config.loss.arguments.power=3"]) == 0
    assert "(region): 15 of 15 checks passed" in capsys.readouterr().out


def test_it_trains_for_two_steps_and_shows_its_terms(my_loss):
    config = small_detector.of_quickstart().config
    config.loss.name, config.loss.arguments = my_loss, (("power", 3.0),)
    mesh, optimizer = make_mesh(jax.devices()[:1]), make_optimizer(config.optimizer)
    task = build(config)
    batch = {
        "image": np.zeros((config.optimizer.batch_size, 64, 64, 3), np.uint8),
        "boxes": np.tile(np.float32([0.1, 0.2, 0.5, 0.7]), (config.optimizer.batch_size, 2, 1)),
        "labels": np.ones((config.optimizer.batch_size, 2), np.int32),
        "mask": np.tile([True, False], (config.optimizer.batch_size, 1)),
    }
    step = jax.jit(make_train_step(config, task, optimizer))
    state = create_state(task, optimizer, config, mesh)
    for _ in range(2):
        state, numbers = step(state, batch)
    assert int(state.step) == 2
    assert np.isfinite(numbers["loss"])
    terms, _, assignment = task.loss.compute(jnp.zeros((8, 2, 2, 3 * 9)), batch, 0)
    chex.assert_shape([terms["coord"], terms["class"]], (8, 2, 2, 3))
    assert assignment.responsible.sum() == 8
    assert numbers["grad_coord"] > 0


def test_every_variant_and_every_check_is_on_the_page():
    variants = (BOX_TERMS, OBJECTNESS_TERMS, CLASS_TERMS, ASSIGNMENTS, IGNORES)
    assert [name for table in variants for name in table if f'`"{name}"`' not in PAGE] == []
    assert [name for name in LOSSES if f"`{name}`" not in PAGE] == []
    assert [name for name in EVERY if f"| {name.split(':')[0]}" not in PAGE] == []
