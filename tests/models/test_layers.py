from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from yolojax.models.layers import EPSILON, ConvLayer, batch_norm, convolve, leaky, reorg
from yolojax.models.pooling import max_pool
from yolojax.models.tables import Conv

GOLDEN = Path(__file__).parents[1] / "golden"


def nhwc(x):
    return x.transpose(0, 2, 3, 1)


def test_leaky_keeps_positive_and_takes_a_tenth_of_negative():
    np.testing.assert_allclose(leaky(jnp.array([-2.0, 0.0, 3.0])), [-0.2, 0.0, 3.0], rtol=1e-6)
    np.testing.assert_allclose(jax.grad(lambda x: leaky(x).sum())(jnp.array([-2.0, 3.0])), [0.1, 1])


@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_reorg_and_its_gradient_equal_the_c_program(case):
    golden = np.load(GOLDEN / "reorg.npz")
    stride = int(golden[f"{case}_stride"])
    x, gradient = nhwc(golden[f"{case}_in"]), nhwc(golden[f"{case}_grad_out"])
    y, pull = jax.vjp(lambda x: reorg(x, stride), x)
    np.testing.assert_array_equal(y, nhwc(golden[f"{case}_out"]))
    np.testing.assert_array_equal(pull(jnp.asarray(gradient))[0], nhwc(golden[f"{case}_grad_in"]))


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (1, 4, 3, 4), (1, 4, 4, 6)])
def test_reorg_refuses_what_it_cannot_divide(shape):
    with pytest.raises(ValueError, match="channels that are a multiple of 4"):
        reorg(jnp.zeros(shape), 2)


def test_one_by_one_convolution_is_the_general_one():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, 3, 5, 8)), jnp.float32)
    kernel = jnp.asarray(rng.standard_normal((1, 1, 8, 4)), jnp.float32)
    general = lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(convolve(x, kernel), general, atol=1e-5)


def test_convolution_pads_both_sides_alike():
    # A 3x3 kernel of ones with stride 2 on 4x4 ones: Darknet starts outside, at -1.
    y = convolve(jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1)), 2)
    np.testing.assert_array_equal(y[0, ..., 0], [[4, 6], [6, 9]])


def test_batch_norm_divides_by_the_unbiased_deviation():
    x = jnp.array([1.0, 3.0]).reshape(1, 1, 2, 1)  # mean 2, variance (1 + 1) / (2 - 1) = 2
    y, mean, var = batch_norm(x, jnp.array([10.0]), jnp.array([5.0]))
    np.testing.assert_allclose([mean[0], var[0]], [2, 2])
    root = np.sqrt(2 + EPSILON)
    np.testing.assert_allclose(y.ravel(), [5 - 10 / root, 5 + 10 / root], rtol=1e-6)


def test_batch_norm_of_constant_input_is_its_bias():
    x = jnp.full((2, 3, 3, 2), 7.3)
    y, _, var = batch_norm(x, jnp.ones(2), jnp.array([1.0, -1.0]))
    assert np.all(np.asarray(var) >= 0)
    np.testing.assert_allclose(y, np.broadcast_to([1.0, -1.0], y.shape), atol=2e-2)


def test_batch_norm_gradient_is_the_exact_one_but_for_one_in_n():
    rng = np.random.default_rng(0)
    x = jnp.asarray(3 + rng.standard_normal((4, 8, 8, 3)), jnp.float32)
    scale, bias = jnp.array([1.0, -2.0, 0.5]), jnp.zeros(3)
    weight = jnp.asarray(rng.standard_normal(x.shape), jnp.float32)

    def plain(x, scale, bias):
        var = x.var((0, 1, 2), ddof=1)
        return (x - x.mean((0, 1, 2))) * lax.rsqrt(var + EPSILON) * scale + bias

    ours = jax.grad(lambda *a: (batch_norm(*a)[0] * weight).sum(), (0, 1, 2))(x, scale, bias)
    exact = jax.grad(lambda *a: (plain(*a) * weight).sum(), (0, 1, 2))(x, scale, bias)
    np.testing.assert_allclose(ours[0], exact[0], atol=3 * 2 / 256)  # 256 values a channel
    for a, b in zip(ours[1:], exact[1:], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_gradients_of_a_layer_equal_the_c_program():
    # Layers 4 (3x3, 8 filters) and 5 (pool) of train_cls.cfg, in its first sub-batch.
    golden = np.load(GOLDEN / "train_cls.npz")
    layer, counts = ConvLayer(Conv(8, 3)), {0: (6, 3, 9), 2: (8, 6, 9), 3: (4, 8, 1)}
    skipped = sum(4 * out + out * inputs * area for out, inputs, area in counts.values())
    floats = np.fromfile(GOLDEN / "weights/train_cls_init.weights", "<f4", offset=20)[skipped:]
    bias, scale = floats[:8], floats[8:16]
    kernel = floats[32 : 32 + 288].reshape(8, 4, 3, 3).transpose(2, 3, 1, 0)
    params = {"kernel": kernel, "scale": scale, "bias": bias}
    x = nhwc(golden["s0_out_03"])
    statistics = {"mean": jnp.zeros(8), "var": jnp.ones(8)}

    def forward(params):
        variables = {"params": params, "batch_stats": statistics}
        y = layer.apply(variables, x, train=True, mutable=["batch_stats"])[0]
        return max_pool(y, 2, 2), y

    pooled, pull, y = jax.vjp(forward, params, has_aux=True)
    np.testing.assert_allclose(y, nhwc(golden["s0_out_04"]), atol=5e-5)
    np.testing.assert_allclose(pooled, nhwc(golden["s0_out_05"]), atol=5e-5)
    gradients = pull(jnp.asarray(nhwc(golden["s0_delta_05"])))[0]
    flat = gradients["kernel"].transpose(3, 2, 0, 1).ravel()
    np.testing.assert_allclose(flat, golden["s0_wgrad_04"], atol=2e-5)
    np.testing.assert_allclose(gradients["scale"], golden["s0_sgrad_04"], atol=2e-5)
    np.testing.assert_allclose(gradients["bias"], golden["s0_bgrad_04"], atol=2e-5)


def test_running_statistics_move_by_a_hundredth():
    layer = ConvLayer(Conv(1, 1))
    x = jnp.array([1.0, 3.0]).reshape(1, 1, 2, 1)
    variables = layer.init(jax.random.key(0), x)
    variables["params"]["kernel"] = jnp.ones((1, 1, 1, 1))
    assert variables["batch_stats"] == {"mean": 0.0, "var": 1.0}
    _, updates = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(updates["batch_stats"]["mean"], [0.02], rtol=1e-5)  # of mean 2
    np.testing.assert_allclose(updates["batch_stats"]["var"], [1.01], rtol=1e-5)  # of variance 2


def test_kernels_start_with_variance_two_over_fan_in():
    x = jnp.zeros((1, 1, 1, 64))
    kernel = ConvLayer(Conv(64, 3)).init(jax.random.key(0), x)["params"]["kernel"]
    np.testing.assert_allclose(np.var(kernel), 2 / (3 * 3 * 64), rtol=0.03)  # 37k draws
