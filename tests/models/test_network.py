import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolojax.models import NETWORKS, build_network
from yolojax.models.network import Network, variable_shapes
from yolojax.models.tables import Conv, MaxPool, Reorg, Route

SMALL = (
    Conv(4, name="a"),
    MaxPool(),
    Conv(8, name="b"),
    Route((-3,)),
    Reorg(2),
    Route((-1, -3)),
    Conv(6, 1, batch_norm=False, activation="linear", name="output"),
)
IMAGE = jax.random.uniform(jax.random.key(1), (3, 8, 6, 3))


@functools.cache
def variables():
    return jax.jit(Network(SMALL).init)(jax.random.key(0), IMAGE)


def train(model, values):
    raw, updates = model.apply(values, IMAGE, train=True, mutable=["batch_stats"])
    return raw, updates["batch_stats"]


@pytest.mark.parametrize("name", NETWORKS)
def test_raw_has_a_cell_for_32_pixels_and_the_head_s_channels(name):
    model = build_network(name, num_classes=4, num_anchors=2)
    shapes = variable_shapes(model, (64, 96))
    image = jax.ShapeDtypeStruct((5, 64, 96, 3), jnp.float32)
    assert jax.eval_shape(model.apply, shapes, image).shape == (5, 2, 3, 2 * (5 + 4))


def test_variables_are_named_by_place():
    shapes = variable_shapes(build_network("yolov2", num_classes=2, num_anchors=3), (32, 32))
    assert set(shapes["params"]["stage3_conv2"]) == {"kernel", "scale", "bias"}
    assert set(shapes["params"]["output"]) == {"kernel", "bias"}
    assert set(shapes["batch_stats"]["stage3_conv2"]) == {"mean", "var"}
    assert "output" not in shapes["batch_stats"]


@pytest.mark.parametrize(("size", "name"), [((33, 64), "height"), ((64, 0), "width")])
def test_image_size_must_be_a_multiple_of_32(size, name):
    with pytest.raises(ValueError, match=f"image {name} must be a multiple of 32.*try 32 or 64"):
        variable_shapes(build_network("yolov2", num_classes=2, num_anchors=3), size)


def test_unknown_network_gets_a_suggestion():
    with pytest.raises(ValueError, match="Did you mean 'yolov2_tiny_voc'"):
        build_network("yolov2_tiny_vco", num_classes=1, num_anchors=1)


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
