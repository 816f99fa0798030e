"""Gradient norms of the terms: their values, and that they do not change the training."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_detector

from yolojax.distributed.sharding import make_mesh, to_devices
from yolojax.losses.terms import LossTerms, SumOfTerms
from yolojax.tasks import build
from yolojax.training import step as steps
from yolojax.training.optimizer import make_optimizer
from yolojax.training.state import create_state

BATCH = 4
NAMES = {"grad_coord", "grad_object", "grad_noobject", "grad_class"}


@SumOfTerms
def lines_and_squares(raw, batch, seen):
    """Two terms with the gradients 3 and raw."""
    return LossTerms({"lines": 3 * raw, "squares": 0.5 * raw**2})


def test_norms_are_those_of_the_averaged_terms():
    raw = jnp.array([[3.0, 0.0], [0.0, 4.0]])
    norms = steps.gradient_norms(lines_and_squares, raw, {}, 0)
    assert norms.keys() == {"grad_lines", "grad_squares"}
    assert norms["grad_lines"] == pytest.approx(3 / 2 * 2)  # 4 places, 2 images
    assert norms["grad_squares"] == pytest.approx(5 / 2)


def test_a_loss_without_terms_has_no_norms():
    def loss(raw, batch, seen):
        return jnp.sum(raw**2), {}

    assert steps.gradient_norms(loss, jnp.ones((2, 3)), {}, 0) == {}


def tiny(subdivisions=1):
    config = small_detector.of_quickstart().config
    config.optimizer.batch_size, config.optimizer.subdivisions = BATCH, subdivisions
    return config


def batches(count):
    random = np.random.default_rng(0)
    for _ in range(count):
        corner = random.uniform(0, 0.6, (BATCH, 5, 2))
        yield {
            "image": random.integers(0, 255, (BATCH, 64, 64, 3), np.uint8),
            "boxes": np.concatenate([corner, corner + 0.3], -1).astype(np.float32),
            "labels": random.integers(0, 2, (BATCH, 5)).astype(np.int32),
            "mask": random.random((BATCH, 5)) < 0.4,
        }


def trained(config, count):
    """Return the state, and the metrics of each step."""
    mesh, task = make_mesh(jax.devices()[:1]), build(config)
    optimizer = make_optimizer(config.optimizer)
    state = create_state(task, optimizer, config, mesh)
    step = steps.jit_train_step(steps.make_train_step(config, task, optimizer), mesh)
    found = []
    for batch in batches(count):
        state, metrics = step(state, to_devices(batch, mesh))
        found.append(jax.device_get(metrics))
    return jax.device_get(state), found


def images_and_seen(loss, raw, batch, seen):
    """Replace the norms."""
    return {"grad_images": len(raw), "grad_seen": seen}


@pytest.fixture(scope="module", params=[1, 2])
def runs(request):
    """Train three steps with norms and without -> subdivisions, (state, metrics) of both."""
    config = tiny(request.param)
    whole = trained(config, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "gradient_norms", images_and_seen)
        return request.param, whole, trained(config, 3)


def test_the_state_is_equal_without_norms(runs):
    _, (state, metrics), (without, others) = runs
    chex.assert_trees_all_equal(state, without)
    for ours, theirs in zip(metrics, others, strict=True):
        assert ours.keys() - theirs.keys() == NAMES
        assert all(ours[name] == theirs[name] for name in ours.keys() - NAMES)
        assert all(np.isfinite(ours[name]) and ours[name] > 0 for name in NAMES)


def test_sub_batches_are_averaged(runs):
    parts, _, (_, (first, *_)) = runs
    assert first["grad_images"] == BATCH / parts
    assert first["grad_seen"] == np.mean([(k + 1) * BATCH / parts for k in range(parts)])
