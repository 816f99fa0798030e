"""Gradient norms of the terms: their values, where there are none, and that they change nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.yolov2_voc import smoke
from yolojax.config import Config
from yolojax.distributed.sharding import make_mesh, to_devices
from yolojax.losses.terms import reduce_terms
from yolojax.tasks import build
from yolojax.training import step as steps
from yolojax.training.optimizer import make_optimizer
from yolojax.training.state import create_state

BATCH = 4
NAMES = {"grad_coord", "grad_object", "grad_noobject", "grad_class"}


def lines_and_squares(raw, batch, seen):
    """Two terms whose gradients are known: 3 in every place, and raw itself."""
    return reduce_terms({"lines": 3 * raw, "squares": 0.5 * raw**2})


def plain(raw, batch, seen):
    return jnp.sum(raw**2), {}


def scanned(raw, batch, seen):
    return jax.vmap(lambda one: reduce_terms({"a": one[None]})[0])(raw).mean(), {}


def test_norms_are_those_of_the_averaged_terms():
    raw = jnp.array([[3.0, 0.0], [0.0, 4.0]])
    norms = steps.gradient_norms(lines_and_squares, raw, {}, 0)
    assert norms.keys() == {"grad_lines", "grad_squares"}
    assert norms["grad_lines"] == pytest.approx(3 / 2 * 2)  # 4 places, 2 images
    assert norms["grad_squares"] == pytest.approx(5 / 2)


@pytest.mark.parametrize("loss", [plain, scanned, jax.jit(lines_and_squares)])
def test_a_loss_whose_terms_cannot_be_seen_has_none(loss):
    assert steps.gradient_norms(loss, jnp.ones((2, 3)), {}, 0) == {}


def tiny(subdivisions=1):
    config = Config()
    config.model.classes, config.model.anchors = ("cat", "dog"), ((0.7, 0.7), (1.5, 1.5))
    smoke(config)
    config.model.name = "yolov2_tiny_voc"
    config.data.image_size, config.data.max_boxes = (64, 64), 5
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
    """State and the metrics of each step."""
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
    """Stands in for the norms."""
    return {"grad_images": len(raw), "grad_seen": seen}


@pytest.fixture(scope="module", params=[1, 2])
def runs(request):
    """Subdivisions, and (state, metrics) of three steps with the norms and without them."""
    config = tiny(request.param)
    whole = trained(config, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "gradient_norms", images_and_seen)
        return request.param, whole, trained(config, 3)


def test_the_state_is_the_same_to_the_bit_without_them(runs):
    _, (state, metrics), (without, others) = runs
    jax.tree.map(np.testing.assert_array_equal, state, without)
    for ours, theirs in zip(metrics, others, strict=True):
        assert ours.keys() - theirs.keys() == NAMES
        assert all(ours[name] == theirs[name] for name in ours.keys() - NAMES)
        assert all(np.isfinite(ours[name]) and ours[name] > 0 for name in NAMES)


def test_sub_batches_are_averaged(runs):
    parts, _, (_, (first, *_)) = runs
    assert first["grad_images"] == BATCH / parts
    assert first["grad_seen"] == np.mean([(k + 1) * BATCH / parts for k in range(parts)])
