from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from yolojax.models import layers
from yolojax.models.functional import (
    ACTIVATIONS,
    EPSILON,
    batch_norm,
    convolve,
    crop,
    flatten,
    leaky,
    normalise,
    patches,
    reorg,
    shortcut,
)

GOLDEN = Path(__file__).parents[1] / "golden"


def nchw(x):
    return x.transpose(0, 3, 1, 2)


def nhwc(x):
    return x.transpose(0, 2, 3, 1)


def test_leaky_multiplies_negative_values_by_a_tenth():
    np.testing.assert_allclose(leaky(jnp.array([-2.0, 0.0, 3.0])), [-0.2, 0.0, 3.0], rtol=1e-6)
    np.testing.assert_allclose(jax.grad(lambda x: leaky(x).sum())(jnp.array([-2.0, 3.0])), [0.1, 1])


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("linear", [-2.0, 0.0, 3.0]),
        ("relu", [0.0, 0.0, 3.0]),
        ("ramp", [-0.2, 0.0, 3.3]),  # max(x, 0) + 0.1 x
        ("logistic", [1 / (1 + np.exp(2)), 0.5, 1 / (1 + np.exp(-3))]),
        ("elu", [np.exp(-2) - 1, 0.0, 3.0]),
        ("hardtan", [-1.0, 0.0, 1.0]),
        ("lhtan", [-0.002, 0.0, 1.002]),
        ("loggy", [2 / (1 + np.exp(2)) - 1, 0.0, 2 / (1 + np.exp(-3)) - 1]),
        ("plse", [0.25, 0.5, 0.875]),
        ("relie", [-0.02, 0.0, 3.0]),
        ("selu", [1.0507 * 1.6732 * (np.exp(-2) - 1), 0.0, 1.0507 * 3]),
        ("stair", [-1.0, 0.0, 1.0]),
        ("tanh", [np.tanh(-2), 0.0, np.tanh(3)]),
        ("revleaky", [-0.2, 0.0, 3.0]),
        ("relu6", [0.0, 0.0, 3.0]),
        ("swish", [-2 / (1 + np.exp(2)), 0.0, 3 / (1 + np.exp(-3))]),
        ("mish", [-2 * np.tanh(np.log1p(np.exp(-2))), 0.0, 3 * np.tanh(np.log1p(np.exp(3)))]),
        ("hard_mish", [0.0, 0.0, 3.0]),
        ("gelu", [-1 * (1 + np.tanh(-1.59577 - 0.285416)), 0, 1.5 * (1 + np.tanh(3.356934))]),
    ],
)
def test_activations_are_darknets(name, wanted):
    x = jnp.array([-2.0, 0.0, 3.0])
    np.testing.assert_allclose(ACTIVATIONS[name](x), wanted, rtol=1e-6, atol=1e-7)


def test_activations_outside_of_their_middle():
    x = jnp.array([-5.5, -1.5, -1.0, 0.5, 1.5, 7.5])
    wanted_of = {
        "plse": [-0.015, 0.3125, 0.375, 0.5625, 0.6875, 1.035],
        "stair": [-3.0, -1.0, -1.0, 0.0, 0.5, 3.5],  # slopes in -1..0, 1..2, 3..4
        "relu6": [0, 0, 0, 0.5, 1.5, 6],
        "lhtan": [-0.0055, -0.0015, -0.001, 0.5, 1.0005, 1.0065],
        "hard_mish": [0, -0.375, -0.5, 0.5, 1.5, 7.5],
    }
    for name, wanted in wanted_of.items():
        np.testing.assert_allclose(ACTIVATIONS[name](x), wanted, rtol=1e-6, atol=1e-7, err_msg=name)


def test_activations_are_known_to_the_layers_and_finite():
    assert set(ACTIVATIONS) == set(layers.ACTIVATIONS)
    x = jnp.linspace(-200.0, 200.0, 4001)
    values = {name: function(x) for name, function in ACTIVATIONS.items()}
    slopes = jax.jit(jax.jacfwd(lambda t: {n: f(x + t) for n, f in ACTIVATIONS.items()}))(0.0)
    for name, y in values.items():
        slope = slopes[name]
        assert np.isfinite(y).all(), name
        assert np.isfinite(slope).all(), name
        assert (np.diff(y) > -1e-6).all() == (name in layers.MONOTONIC), name


@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_reorg_and_its_gradient_equal_the_c_program(case):
    golden = np.load(GOLDEN / "reorg.npz")
    stride = int(golden[f"{case}_stride"])
    x, gradient = nhwc(golden[f"{case}_in"]), nhwc(golden[f"{case}_grad_out"])
    y, pull = jax.vjp(lambda x: reorg(x, stride), x)
    np.testing.assert_array_equal(y, nhwc(golden[f"{case}_out"]))
    np.testing.assert_array_equal(pull(jnp.asarray(gradient))[0], nhwc(golden[f"{case}_grad_in"]))


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (1, 4, 3, 4), (1, 4, 4, 6)])
def test_reorg_needs_divisible_shapes(shape):
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


@pytest.mark.parametrize("size", [1, 3])
def test_convolution_without_padding_sees_whole_windows_alone(size):
    y = convolve(jnp.ones((1, 4, 5, 1)), jnp.ones((size, size, 1, 1)), padding=0)
    np.testing.assert_array_equal(y[0, ..., 0], np.full((5 - size, 6 - size), size**2))


def test_a_one_by_one_convolution_may_be_padded():
    y = convolve(jnp.ones((1, 1, 1, 1)), jnp.ones((1, 1, 1, 1)), padding=1)
    np.testing.assert_array_equal(y[0, ..., 0], [[0, 0, 0], [0, 1, 0], [0, 0, 0]])


def test_groups_are_convolutions_side_by_side():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, 5, 4, 6)), jnp.float32)
    kernel = jnp.asarray(rng.standard_normal((3, 3, 2, 9)), jnp.float32)
    parts = [convolve(x[..., 2 * i : 2 * i + 2], kernel[..., 3 * i : 3 * i + 3]) for i in range(3)]
    found = convolve(x, kernel, groups=3)
    np.testing.assert_allclose(found, np.concatenate(parts, -1), atol=1e-5)


def shortcut_by_loops(x, other):
    """blas.c, shortcut_cpu: one value after the other of planar arrays, out += add."""
    out, add = np.array(nchw(x)), np.asarray(nchw(other))
    stride, sample = max(add.shape[3] // out.shape[3], 1), max(out.shape[3] // add.shape[3], 1)
    for b, k, j, i in np.ndindex(*map(min, out.shape, add.shape)):
        out[b, k, j * sample, i * sample] += add[b, k, j * stride, i * stride]
    return nhwc(out)


@pytest.mark.parametrize(
    "shape", [(2, 4, 6, 3), (2, 4, 6, 5), (2, 8, 12, 2), (2, 9, 13, 3), (2, 2, 3, 4), (2, 5, 7, 3)]
)
def test_shortcut_equals_loops_over_values(shape):
    rng = np.random.default_rng(0)
    x, other = rng.standard_normal((2, 4, 6, 3)), rng.standard_normal(shape)
    x, other = jnp.asarray(x, jnp.float32), jnp.asarray(other, jnp.float32)
    np.testing.assert_allclose(shortcut(x, other), shortcut_by_loops(x, other), atol=1e-6)


def test_patches_are_in_order_of_channel_row_column():
    x = np.arange(2 * 9).reshape(1, 2, 3, 3)  # the value says the place in Darknet's planar order
    seen = patches(jnp.asarray(nhwc(x), jnp.float32), 3, 1, 1)
    np.testing.assert_array_equal(seen[0, 1, 1], np.arange(18))
    corner = [0, 0, 0, 0, 0, 1, 0, 3, 4]  # above and left of the map there are zeros
    np.testing.assert_array_equal(seen[0, 0, 0, :9], corner)


def test_flatten_goes_channel_by_channel():
    x = np.arange(2 * 3 * 2 * 4).reshape(2, 3, 2, 4)  # planar: channel, row, column
    np.testing.assert_array_equal(flatten(jnp.asarray(nhwc(x))), x.reshape(2, -1))
    np.testing.assert_array_equal(flatten(jnp.ones((2, 5))), np.ones((2, 5)))


def test_crop_takes_the_middle_and_moves_it_around_zero():
    image = jnp.arange(5 * 4 * 3).reshape(1, 5, 4, 3) / 60
    np.testing.assert_allclose(crop(image, 3, 2), 2 * image[:, 1:4, 1:3] - 1, atol=1e-6)
    # (5 - 4) / 2 and (4 - 3) / 2 are 0 in whole numbers: the odd row and column go at the end.
    np.testing.assert_allclose(crop(image, 4, 3), 2 * image[:, :4, :3] - 1, atol=1e-6)
    np.testing.assert_allclose(crop(image, 0, 0), 2 * image - 1, atol=1e-6)  # all of it


def test_crop_needs_images_of_its_size():
    with pytest.raises(ValueError, match="at least 4x5 for the crop, got 4x4"):
        crop(jnp.zeros((1, 4, 4, 3)), 4, 5)


def test_epsilon_of_each_program():
    x, zero, one = jnp.array([[2.0]]), jnp.zeros(1), jnp.ones(1)
    var = jnp.array([1e-6])  # so small that it matters
    settings = x, zero, var, one, jnp.array([5.0])
    np.testing.assert_allclose(normalise(*settings, "gpu"), [[5 + 2 / np.sqrt(1.1e-5)]], rtol=1e-6)
    np.testing.assert_allclose(normalise(*settings, "cpu"), [[5 + 2 / (1e-3 + 1e-6)]], rtol=1e-6)


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


def test_batch_norm_of_more_positions_than_an_int32_holds():
    x = jax.ShapeDtypeStruct((2**14, 416, 416, 1), jnp.bfloat16)  # 64 images on each of 256 chips
    channel = jax.ShapeDtypeStruct((1,), jnp.float32)
    gradients = jax.grad(lambda *a: batch_norm(*a)[0].sum(), (0, 1, 2))
    assert jax.eval_shape(gradients, x, channel, channel)[0].shape == x.shape


def test_batch_norm_of_vectors_and_its_gradient_follow_the_c_program():
    # batchnorm_layer.c: forward over N - 1, backward over N, for a connected layer's [B, C].
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((2, 6, 4))
    scale, bias = rng.standard_normal((2, 4))
    deviation = np.sqrt(((x - x.mean(0)) ** 2).sum(0) / 5 + EPSILON)
    normal = (x - x.mean(0)) / deviation
    y, pull = jax.vjp(lambda *a: batch_norm(*a)[0], *map(jnp.float32, (x, scale, bias)))
    np.testing.assert_allclose(y, normal * scale + bias, atol=1e-5)
    wanted = scale / deviation * (g - g.mean(0) - normal * (g * normal).mean(0))
    for ours, plain in zip(
        pull(jnp.float32(g)), (wanted, (g * normal).sum(0), g.sum(0)), strict=True
    ):
        np.testing.assert_allclose(ours, plain, atol=1e-5)


def test_batch_norm_of_one_vector_stays_finite():
    y, _, var = batch_norm(jnp.array([[3.0, -4.0]]), jnp.ones(2), jnp.array([1.0, 2.0]))
    np.testing.assert_array_equal(var, [0, 0])
    np.testing.assert_allclose(y, [[1, 2]], atol=1e-5)
