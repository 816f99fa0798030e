import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolojax.models.layers import (
    AvgPool,
    Connected,
    Conv,
    Crop,
    Dropout,
    Local,
    MaxPool,
    Reorg,
    Route,
    Shortcut,
)
from yolojax.models.network import Network, variable_shapes

SMALL = (
    Conv(4, name="a"),
    MaxPool(),
    Conv(8, name="b"),
    Route((-3,)),
    Reorg(2),
    Route((-1, -3)),
    Conv(8, 3, groups=2, name="c"),
    Shortcut(2, "leaky"),
    Conv(6, 1, batch_norm=False, activation="linear", name="output"),
)
IMAGE = jax.random.uniform(jax.random.key(1), (3, 8, 6, 3))


@functools.cache
def variables():
    return jax.jit(Network(SMALL).init)(jax.random.key(0), IMAGE)


def train(model, values):
    raw, updates = model.apply(values, IMAGE, train=True, mutable=["batch_stats"])
    return raw, updates["batch_stats"]


@pytest.mark.parametrize(("size", "name"), [((33, 64), "height"), ((64, 0), "width")])
def test_image_size_must_be_a_multiple_of_the_downsampling(size, name):
    model = Network((Conv(2, stride=2, name="a"), *[MaxPool()] * 4, Conv(1, name="b")))
    with pytest.raises(ValueError, match=f"image {name} must be a multiple of 32.*try 32 or 64"):
        variable_shapes(model, size)


def test_a_connected_network_takes_one_image_size():
    model = Network((MaxPool(), Local(2, name="local"), Connected(3, name="output")))
    shapes = variable_shapes(model, (4, 6))
    assert jax.tree.map(jnp.shape, shapes["params"]["output"]) == {"kernel": (12, 3), "bias": (3,)}
    with pytest.raises(ValueError, match=r"'local'.*one image size alone"):
        jax.eval_shape(model.apply, shapes, jnp.zeros((1, 6, 6, 3)))


def test_all_outputs_has_the_output_of_every_layer():
    # Crop to -1..1, the mean of it, and the two of them (one cell each) side by side.
    model = Network((Crop(2, 2), AvgPool(), Crop(1, 1), AvgPool(), Route((1, -1))))
    image = jnp.arange(12.0).reshape(1, 2, 2, 3) / 12
    outputs = model.apply({}, image, all_outputs=True)
    np.testing.assert_allclose(outputs[0], 2 * image - 1, atol=1e-6)
    mean = 2 * image.mean((1, 2), keepdims=True) - 1
    np.testing.assert_allclose(outputs[1], mean, atol=1e-6)
    np.testing.assert_array_equal(outputs[4], np.concatenate([outputs[1], outputs[3]], -1))
    np.testing.assert_array_equal(model.apply({}, image), outputs[-1])


def test_dropout_keeps_the_mean_and_is_for_training_only():
    model, ones = Network((Dropout(0.25),)), jnp.ones((1, 40, 40, 3))
    dropped = [
        model.apply({}, ones, train=True, rngs={"dropout": jax.random.key(i)}) for i in (0, 0, 1)
    ]
    assert set(np.unique(dropped[0])) == {0, np.float32(4 / 3)}
    assert np.mean(dropped[0] == 0) == pytest.approx(0.25, abs=0.03)  # 4800 draws
    np.testing.assert_array_equal(dropped[0], dropped[1])
    assert np.any(dropped[0] != dropped[2])
    np.testing.assert_array_equal(model.apply({}, ones), ones)
    with pytest.raises(Exception, match="dropout"):
        model.apply({}, ones, train=True)


def test_the_epsilon_reaches_every_layer_that_normalises():
    table = (Conv(2, 1, name="a"), Connected(2, batch_norm=True, name="b"))
    image = jax.random.uniform(jax.random.key(0), (1, 2, 2, 3))
    gpu, cpu = (Network(table, epsilon=epsilon) for epsilon in ("gpu", "cpu"))
    values = gpu.init(jax.random.key(0), image)
    for name in ("a", "b"):  # such a variance is of the size of the epsilons
        stats = values["batch_stats"]
        small = {
            **values,
            "batch_stats": {**stats, name: {**stats[name], "var": jnp.full(2, 1e-4)}},
        }
        ratio = cpu.apply(small, image) / gpu.apply(small, image)
        np.testing.assert_allclose(ratio, np.sqrt(1.1e-4) / 1.0001e-2, rtol=1e-4)


def test_bfloat16_keeps_variables_and_raw_in_float32():
    exact, rounded = Network(SMALL), Network(SMALL, jnp.bfloat16)
    raw, stats = jax.jit(lambda v: train(rounded, v))(variables())
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((raw, stats)))
    made = variable_shapes(rounded, (8, 6))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(made))
    exact_raw, exact_stats = jax.jit(lambda v: train(exact, v))(variables())
    assert not np.array_equal(raw, exact_raw)  # it did compute in another precision
    np.testing.assert_allclose(raw, exact_raw, atol=0.1)  # of a deviation of about 1
    np.testing.assert_allclose(stats["b"]["var"], exact_stats["b"]["var"], rtol=1e-3)


def test_bfloat16_keeps_the_variables_of_every_kind_of_layer_in_float32():
    table = (Local(4, name="a"), Connected(4, batch_norm=True, name="b"), Connected(2, name="c"))
    made = variable_shapes(Network(table, jnp.bfloat16), (4, 4))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(made))
    rounded = jax.eval_shape(
        lambda v, x: Network(table, jnp.bfloat16).apply(v, x, all_outputs=True),
        made,
        jnp.zeros((1, 4, 4, 3)),
    )
    assert [output.dtype for output in rounded] == [jnp.bfloat16] * 3  # but they computed in it


def test_evaluation_is_the_same_for_any_batch():
    model = Network(SMALL)
    together, alone = (jax.jit(model.apply)(variables(), x) for x in (IMAGE, IMAGE[1:2]))
    np.testing.assert_allclose(together[1:2], alone, atol=1e-5)


def test_training_moves_all_statistics_and_reaches_all_parameters():
    model = Network(SMALL)

    def loss(params):
        raw, stats = train(model, {**variables(), "params": params})
        return jnp.square(raw - 1).mean(), stats

    gradients, stats = jax.jit(jax.grad(loss, has_aux=True))(variables()["params"])
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), stats, variables()["batch_stats"])
    assert jax.tree.all(moved)
    assert jax.tree.all(jax.tree.map(lambda g: bool(jnp.any(g != 0)), gradients))


@pytest.mark.parametrize(
    ("precision", "expected"),
    [(None, "DEFAULT"), ("tensorfloat32", "HIGH"), ("float32", "HIGHEST")],
)
def test_precision_of_float32_products(precision, expected):
    """In both passes; the backend decides what a name means, so only the program is looked at."""
    model = Network((Conv(4, 3, name="a"), Conv(4, 3, name="b")), precision=precision)
    image = jnp.zeros((1, 8, 8, 3))
    variables = model.init(jax.random.key(0), image)
    gradient = jax.grad(lambda v: model.apply(v, image).sum())
    text = jax.jit(gradient).lower(variables).as_text()
    found = set(re.findall(r"#stablehlo<precision (\w+)>", text))
    assert found == {expected}
    assert text.count("stablehlo.convolution") >= 4


@pytest.mark.parametrize("table", [SMALL, (Conv(4, 7, 2, name="a"),), (Crop(4, 4), AvgPool())])
@pytest.mark.parametrize("train", [True, False])
def test_bytes_are_divided_by_255(table, train):
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    model = Network(table)
    values = model.init(jax.random.key(0), images)
    ours, plain = (
        model.apply(values, x, train=train, mutable=["batch_stats"])[0]
        for x in (images, np.float32(images) / 255)
    )
    np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-5)
