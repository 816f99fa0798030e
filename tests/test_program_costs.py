"""The compiled programs cost what is recorded for the installed version of JAX."""

import jax
import jax.numpy as jnp
import pytest
from program_costs import (
    ADVICE,
    TOLERANCES,
    compiled,
    costs,
    differences,
    loss_and_gradient,
    loss_arguments,
    measure,
    narrow_config,
    recorded,
)

from yolojax.distributed.sharding import make_mesh
from yolojax.tasks import build
from yolojax.training.step import jit_train_step


@pytest.fixture(scope="module", name="record")
def recorded_costs():
    return recorded()


def test_a_version_without_costs_is_an_error(monkeypatch):
    monkeypatch.setattr(jax, "__version__", "0.0.1")
    with pytest.raises(LookupError, match=r"no costs for jax 0.0.1.*tests/program_costs.py"):
        recorded()


def test_programs_cost_what_is_recorded(record):
    found = measure()
    assert found["programs"].keys() == record["programs"].keys()
    lines = [
        f"{name}: {line}"
        for name, expected in record["programs"].items()
        for line in differences(expected, found["programs"][name])
    ]
    if found["compilations"] != record["compilations"]:
        lines.append(f"compiled {found['compilations']}, recorded {record['compilations']}")
    assert not lines, "\n" + "\n".join(lines) + ADVICE


def exceeded(expected, actual):
    return {line.split(":")[0] for line in differences(expected, actual)}


def test_a_loss_computed_twice_is_caught(record):
    loss = build(narrow_config()).loss

    def twice(raw, batch, seen):
        value, metrics = loss(raw, batch, seen)
        return value + loss(2 * raw, batch, seen)[0], metrics

    found = costs(compiled(loss_and_gradient(twice), *loss_arguments()))
    assert exceeded(record["programs"]["loss"], found) >= {"flops", "bytes_accessed"}


def test_a_second_forward_pass_is_caught(record):
    task, config = build(narrow_config()), narrow_config()
    image = jnp.zeros((config.eval.batch_size, *config.data.image_size, 3))
    variables = jax.eval_shape(
        lambda key: task.model.init(key, image[:1], train=False), jax.random.key(0)
    )

    def both(variables, image):
        views = (image, image[:, :, ::-1])
        return sum(task.model.apply(variables, view, train=False) for view in views)

    found = costs(compiled(both, variables, image))
    assert exceeded(record["programs"]["network"], found) >= {"flops", "bytes_accessed"}


def test_a_state_that_is_not_donated_is_caught(record):
    state, mesh = jnp.zeros((100, 100)), make_mesh(jax.devices()[:1])

    def step(state, batch):
        return state + batch.mean(), {}

    donated = jit_train_step(step, mesh).lower(state, state).compile()
    copied = jax.jit(step).lower(state, state).compile()
    assert costs(donated)["donated_bytes"] == state.nbytes
    assert exceeded(costs(donated), costs(copied)) >= {"donated_bytes"}
    assert record["programs"]["train"]["donated_bytes"] > 1e6


def test_changes_within_the_tolerance_pass():
    expected = dict.fromkeys(TOLERANCES, 1000)
    assert not differences(expected, expected | {"flops": 1019, "temporary_bytes": 965})
    (line,) = differences(expected, expected | {"flops": 1100})
    assert line == "flops: 1,100, recorded 1,000 (+10.0%, allowed 2%)"
