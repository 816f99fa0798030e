from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolojax.config import OptimizerConfig
from yolojax.training.optimizer import frozen, kernels, layer_factors, learning_rate, make_optimizer

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "lr_schedule.npz")
B = 64


def steps(rate, at, scales, burn_in=0):
    return OptimizerConfig(
        learning_rate=rate,
        burn_in_images=burn_in * B,
        step_images=tuple(B * i for i in at),
        step_scales=scales,
    )


def poly(rate, batches, burn_in=0):
    return OptimizerConfig(
        learning_rate=rate, policy="poly", images=batches * B, burn_in_images=burn_in * B
    )


SCHEDULES = {  # the training values of the .cfg files
    "yolov1": steps(5e-4, (200, 400, 600, 20000, 30000), (2.5, 2, 2, 0.1, 0.1)),
    "yolov1-tiny": steps(5e-4, (200, 400, 600, 800, 20000, 30000), (2.5, 2, 2, 2, 0.1, 0.1)),
    "yolov2-voc": steps(1e-3, (40000, 60000), (0.1, 0.1), burn_in=1000),
    "yolov2": steps(1e-3, (400000, 450000), (0.1, 0.1), burn_in=1000),
    "yolov2-tiny": steps(1e-3, (400000, 450000), (0.1, 0.1), burn_in=1000),
    "yolov2-tiny-voc": OptimizerConfig(learning_rate=1e-3, policy="constant"),
    "yolo9000": steps(1e-3, (400000, 450000), (0.1, 0.1), burn_in=1000),
    "darknet19": poly(0.1, 800000, burn_in=1000),
    "darknet19_448": poly(1e-3, 100000),
    "extraction": poly(0.1, 1600000),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_rate_equals_darknet_at_every_recorded_batch(name):
    seen = GOLDEN["iterations"].astype(np.int32) * B
    ours = jax.vmap(learning_rate(SCHEDULES[name]))(seen)
    # float32 on both sides: near the end of poly, 1 - it / max has few digits left.
    np.testing.assert_allclose(ours, GOLDEN[name], rtol=2e-6, atol=1e-9)


def test_only_kernels_decay():
    params = {"stage1_conv1": {"kernel": 1.0, "bias": 1.0, "scale": 1.0}}
    assert kernels(params) == {"stage1_conv1": {"kernel": True, "bias": False, "scale": False}}


def test_two_updates_by_hand():
    """u = g + decay w; then u' = momentum u + g' + decay w'."""
    optimizer = make_optimizer(OptimizerConfig(momentum=0.5, weight_decay=0.1))
    params = {"a": {"kernel": jnp.array(2.0)}}
    state = optimizer.init(params)
    first, state = optimizer.update({"a": {"kernel": jnp.array(1.0)}}, state, params)
    np.testing.assert_allclose(first["a"]["kernel"], 1 + 0.1 * 2)
    second, _ = optimizer.update({"a": {"kernel": jnp.array(3.0)}}, state, params)
    np.testing.assert_allclose(second["a"]["kernel"], 0.5 * 1.2 + 3 + 0.1 * 2)


def test_rate_is_the_same_function_of_images_for_any_batch_size():
    rate = learning_rate(OptimizerConfig(batch_size=8, step_images=(640,), step_scales=(0.1,)))
    other = learning_rate(OptimizerConfig(batch_size=64, step_images=(640,), step_scales=(0.1,)))
    assert float(rate(639)) == float(other(639)) == pytest.approx(1e-3)
    assert float(rate(640)) == float(other(640)) == pytest.approx(1e-4)


def test_errors_name_the_field():
    with pytest.raises(ValueError, match=r"optimizer.policy is 'cosine'; known: constant, steps"):
        learning_rate(OptimizerConfig(policy="cosine"))
    with pytest.raises(ValueError, match="step_images has 1 values and step_scales 0"):
        learning_rate(OptimizerConfig(step_images=(1,)))


def test_the_last_entry_that_matches_a_layer_sets_its_rate():
    config = OptimizerConfig(layer_rates=(("stage", 0.1), ("stage1_", 0.0)))
    params = dict.fromkeys(("stage1_conv1", "stage2_conv1", "output"))
    assert layer_factors(config, params) == {
        "stage1_conv1": 0.0,
        "stage2_conv1": 0.1,
        "output": 1.0,
    }


@pytest.mark.parametrize("entry", [("stge", 0.1), ("stage", -1.0)])
def test_a_rate_that_matches_no_layer_is_refused(entry):
    with pytest.raises(ValueError, match=r"start of a layer's name \(stage1_conv1\)"):
        layer_factors(OptimizerConfig(layer_rates=(entry,)), {"stage1_conv1": None})


def test_frozen_layers_get_no_gradient():
    def loss(params):
        params = frozen(params, {"a": 0, "b": 1.0})
        return params["a"]["kernel"] * params["b"]["kernel"]

    params = {"a": {"kernel": 2.0}, "b": {"kernel": 3.0}}
    grads = jax.grad(loss)(params)
    assert (grads["a"]["kernel"], grads["b"]["kernel"]) == (0.0, 2.0)
