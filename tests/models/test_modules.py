from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolojax.models.functional import flatten, max_pool
from yolojax.models.layers import Connected, Conv, Local
from yolojax.models.modules import ConnectedLayer, ConvLayer, LocalLayer

GOLDEN = Path(__file__).parents[1] / "golden"


def nhwc(x):
    return x.transpose(0, 2, 3, 1)


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def leaky(x):
    return np.where(x > 0, x, 0.1 * x)


def local_by_hand(x, kernel, bias, size, stride, pad):
    """local_layer.c, one place after the other: x [B, C, H, W], kernel [places, out, C, k, k]."""
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    rows, columns = bias.shape[1:]
    y = np.empty((len(x), *bias.shape), np.float32)
    for i in range(rows):
        for j in range(columns):
            window = x[:, :, i * stride :, j * stride :][:, :, :size, :size]
            y[:, :, i, j] = np.einsum("bchw,ochw->bo", window, kernel[i * columns + j])
    return y + bias


def local_params(kernel, bias):
    """Darknet's [H' * W', out, C, k, k] and [out, H', W'] as ours."""
    filters, *places = bias.shape
    kernel = kernel.reshape(*places, filters, -1).transpose(0, 1, 3, 2)
    return {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias.transpose(1, 2, 0))}


@pytest.mark.parametrize(
    ("size", "stride", "padding", "places"),
    [(3, 1, 1, (5, 4)), (3, 2, 1, (3, 2)), (3, 1, 0, (3, 2)), (2, 2, 0, (2, 2)), (1, 1, 0, (5, 4))],
)
def test_a_local_layer_has_a_kernel_for_each_place(size, stride, padding, places):
    x = normal(2, 3, 5, 4)
    kernel, bias = normal(places[0] * places[1], 6, 3, size, size), normal(6, *places)
    layer = LocalLayer(Local(6, size, stride, padding=padding))
    variables = {"params": local_params(kernel, bias)}
    made = jax.eval_shape(layer.init, jax.random.key(0), nhwc(x))
    assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, variables)
    wanted = leaky(local_by_hand(x, kernel, bias, size, stride, padding))
    np.testing.assert_allclose(layer.apply(variables, nhwc(x)), nhwc(wanted), atol=1e-5)


def test_a_connected_layer_reads_a_map_channel_by_channel():
    x, weights, bias = normal(2, 3, 2, 4), normal(5, 24), normal(5)  # planar, [out, in] as Darknet
    layer = ConnectedLayer(Connected(5))
    variables = {"params": {"kernel": jnp.asarray(weights.T), "bias": jnp.asarray(bias)}}
    wanted = leaky(x.reshape(2, -1) @ weights.T + bias)
    np.testing.assert_allclose(layer.apply(variables, nhwc(x)), wanted, atol=1e-5)
    np.testing.assert_allclose(layer.apply(variables, x.reshape(2, -1)), wanted, atol=1e-5)


def test_a_connected_layer_normalises_each_output():
    x, weights, bias, scale = normal(6, 8), normal(4, 8), normal(4), normal(2, 4)[0]
    layer = ConnectedLayer(Connected(4, batch_norm=True, activation="linear"), epsilon="cpu")
    params = {"kernel": weights.T, "bias": bias, "scale": scale}
    stats = {"mean": normal(3, 4)[0], "var": normal(5, 4)[0] ** 2}
    variables = jax.tree.map(jnp.asarray, {"params": params, "batch_stats": stats})
    z = x @ weights.T
    wanted = (z - stats["mean"]) / (np.sqrt(stats["var"]) + 1e-6) * scale + bias
    np.testing.assert_allclose(layer.apply(variables, x), wanted, rtol=1e-4, atol=1e-4)
    y, updates = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    wanted = (z - z.mean(0)) / z.std(0, ddof=1) * scale + bias
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-4)
    moved = updates["batch_stats"]
    np.testing.assert_allclose(moved["mean"], 0.99 * stats["mean"] + 0.01 * z.mean(0), atol=1e-5)
    var = 0.99 * stats["var"] + 0.01 * z.var(0, ddof=1)
    np.testing.assert_allclose(moved["var"], var, rtol=1e-5)


@pytest.mark.parametrize("epsilon", ["gpu", "cpu"])
def test_a_convolution_normalises_with_its_epsilon(epsilon):
    layer = ConvLayer(Conv(1, 1, activation="linear"), epsilon=epsilon)
    params = {"kernel": jnp.ones((1, 1, 1, 1)), "scale": jnp.ones(1), "bias": jnp.zeros(1)}
    stats = {"mean": jnp.zeros(1), "var": jnp.zeros(1)}  # only the epsilon is left
    y = layer.apply({"params": params, "batch_stats": stats}, jnp.ones((1, 1, 1, 1)))
    np.testing.assert_allclose(y.ravel(), {"gpu": 1e5**0.5, "cpu": 1e6}[epsilon], rtol=1e-5)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (ConnectedLayer(Connected(4, name="head")), (1, 3, 3, 2)),
        (LocalLayer(Local(4, name="head")), (1, 3, 3, 2)),
    ],
)
def test_layers_of_one_image_size_refuse_others(layer, shape):
    variables = jax.eval_shape(layer.init, jax.random.key(0), jnp.zeros((1, 2, 3, 2)))
    with pytest.raises(ValueError, match=r"'head'.*at one image size alone"):
        jax.eval_shape(layer.apply, variables, jnp.zeros(shape))


def test_gradients_of_a_convolution_equal_the_c_program():
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


def test_gradients_of_local_and_connected_layers_equal_the_c_program():
    # Layers 5 (local 3x3, 6 filters on a 2x2 map of 8) and 6 (connected, 60) of train_v1.cfg.
    golden = np.load(GOLDEN / "train_v1.npz")
    floats = np.fromfile(GOLDEN / "weights/train_v1_init.weights", "<f4", offset=20)
    ends = np.cumsum([24, 4 * 6 * 72, 60, 60 * 24])  # these two layers are the last of the file
    local_bias, local_kernel, bias, kernel = np.split(floats[-ends[-1] :], ends[:-1])
    local = local_params(local_kernel.reshape(4, 6, 8, 3, 3), local_bias.reshape(6, 2, 2))
    connected = {"kernel": jnp.asarray(kernel.reshape(60, 24).T), "bias": jnp.asarray(bias)}

    def forward(local, connected, x):
        y = LocalLayer(Local(6)).apply({"params": local}, x)
        layer = ConnectedLayer(Connected(60, activation="linear"))
        return layer.apply({"params": connected}, y), y

    x = nhwc(golden["s0_out_04"])
    raw, pull, y = jax.vjp(forward, local, connected, jnp.asarray(x), has_aux=True)
    np.testing.assert_allclose(y, nhwc(golden["s0_out_05"]), atol=1e-5)
    np.testing.assert_allclose(raw, golden["s0_out_06"], atol=1e-5)
    local, connected, x = pull(jnp.asarray(golden["s0_delta_06"]))
    flat = local["kernel"].transpose(0, 1, 3, 2).ravel()
    np.testing.assert_allclose(flat, golden["s0_wgrad_05"], atol=1e-5)
    np.testing.assert_allclose(flatten(local["bias"][None])[0], golden["s0_bgrad_05"], atol=1e-5)
    np.testing.assert_allclose(connected["kernel"].T.ravel(), golden["s0_wgrad_06"], atol=1e-5)
    np.testing.assert_allclose(connected["bias"], golden["s0_bgrad_06"], atol=1e-5)


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


@pytest.mark.parametrize(
    ("layer", "inputs"), [(ConnectedLayer(Connected(64)), 64), (LocalLayer(Local(64)), 9 * 64)]
)
def test_matrices_start_uniform_within_the_root_of_two_over_inputs(layer, inputs):
    kernel = layer.init(jax.random.key(0), jnp.zeros((1, 1, 1, 64)))["params"]["kernel"]
    bound = np.sqrt(2 / inputs)
    assert 0.99 * bound < np.max(kernel) <= bound
    assert -bound <= np.min(kernel) < -0.99 * bound
    np.testing.assert_allclose(np.var(kernel), bound**2 / 3, rtol=0.05)  # 4096 draws at least
