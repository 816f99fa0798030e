"""The programs cost what they did, told by the compiler and not by a clock."""

import json

import jax
import jax.numpy as jnp
import pytest
from program_costs import (
    ADVICE,
    RECORD,
    TOLERANCES,
    compiled,
    costs,
    differences,
    loss_and_gradient,
    loss_arguments,
    measure,
    narrow_config,
    versions,
)

from yolojax.distributed.sharding import make_mesh
from yolojax.tasks import build
from yolojax.training.step import jit_train_step

RECORDED = json.loads(RECORD.read_text())


@pytest.fixture(scope="module", autouse=True)
def _same_compiler():
    if versions() != RECORDED["versions"]:
        pytest.skip(
            f"costs were recorded with {RECORDED['versions']}, here is {versions()}: another "
            "compiler makes other programs; `python tests/program_costs.py` records anew"
        )


def test_programs_cost_what_they_did():
    found = measure()
    assert found["programs"].keys() == RECORDED["programs"].keys()
    lines = [
        f"{name}: {line}"
        for name, recorded in RECORDED["programs"].items()
        for line in differences(recorded, found["programs"][name])
    ]
    if found["compilations"] != RECORDED["compilations"]:
        lines.append(f"compiled {found['compilations']}, recorded {RECORDED['compilations']}")
    assert not lines, "\n" + "\n".join(lines) + ADVICE


def exceeded(recorded, found):
    return {line.split(":")[0] for line in differences(recorded, found)}


def test_a_loss_computed_twice_is_caught():
    loss = build(narrow_config()).loss

    def twice(raw, batch, seen):
        value, metrics = loss(raw, batch, seen)
        return value + loss(2 * raw, batch, seen)[0], metrics

    found = costs(compiled(loss_and_gradient(twice), *loss_arguments()))
    recorded = RECORDED["programs"]["loss"]
    assert exceeded(recorded, found) >= {"flops", "bytes_accessed"}


def test_a_second_forward_pass_is_caught():
    task, config = build(narrow_config()), narrow_config()
    image = jnp.zeros((config.eval.batch_size, *config.data.image_size, 3))
    variables = jax.eval_shape(
        lambda key: task.model.init(key, image[:1], train=False), jax.random.key(0)
    )

    def both(variables, image):
        views = (image, image[:, :, ::-1])
        return sum(task.model.apply(variables, view, train=False) for view in views)

    found = costs(compiled(both, variables, image))
    assert exceeded(RECORDED["programs"]["network"], found) >= {"flops", "bytes_accessed"}


def test_a_state_that_is_not_donated_is_caught():
    state, mesh = jnp.zeros((100, 100)), make_mesh(jax.devices()[:1])

    def step(state, batch):
        return state + batch.mean(), {}

    donated = jit_train_step(step, mesh).lower(state, state).compile()
    kept = jax.jit(step).lower(state, state).compile()
    assert costs(donated)["donated_bytes"] == state.nbytes
    assert exceeded(costs(donated), costs(kept)) >= {"donated_bytes"}
    assert RECORDED["programs"]["train"]["donated_bytes"] > 1e6


def test_small_changes_pass_and_losses_of_a_tenth_do_not():
    recorded = dict.fromkeys(TOLERANCES, 1000)
    assert not differences(recorded, recorded | {"flops": 1019, "temporary_bytes": 965})
    (line,) = differences(recorded, recorded | {"flops": 1100})
    assert line == "flops: 1,100, recorded 1,000 (+10.0%, allowed 2%)"
