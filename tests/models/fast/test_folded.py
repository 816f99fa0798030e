import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolojax.models import NETWORKS, build_network, count_outputs
from yolojax.models.fast import winograd
from yolojax.models.fast.folded import Folded, fold
from yolojax.models.fast.pooled_convolution import convolve_and_pool, suits
from yolojax.models.fast.pooling import before_pool, max_pool
from yolojax.models.functional import convolve
from yolojax.models.layers import Conv, MaxPool, Route, Shortcut
from yolojax.models.network import Network, variable_shapes
from yolojax.tasks import Task, for_inference

SIZE = (64, 96)


def make_case(name, epsilon="gpu", dtype=jnp.float32):
    """A narrow network, random variables (small variances too) and two pictures."""
    outputs = count_outputs(NETWORKS[name].head, classes=4, boxes=3, side=7)
    model = build_network(name, outputs, width=1 / 16, epsilon=epsilon, dtype=dtype)
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        if path[-1].key == "kernel":
            return rng.standard_normal(leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))
        if path[-1].key in ("var", "scale"):
            return 10.0 ** rng.uniform(-1, 0.2, leaf.shape)
        return 0.2 * rng.standard_normal(leaf.shape)

    shapes = variable_shapes(model, SIZE)
    variables = jax.tree_util.tree_map_with_path(lambda *a: jnp.float32(draw(*a)), shapes)
    return model, variables, jnp.asarray(rng.uniform(size=(2, *SIZE, 3)), jnp.float32)


@pytest.mark.parametrize(
    ("name", "epsilon", "least_channels"),  # every kernel transformed, or none
    [("yolov2", "gpu", 1), ("yolov2_tiny_voc", "cpu", 10**6), ("extraction", "cpu", 1)],
)
def test_folded_network_is_the_network(name, epsilon, least_channels):
    model, variables, images = make_case(name, epsilon)
    wanted = jax.jit(model.apply)(variables, images)
    quick, folded = fold(model, variables, least_channels)
    assert isinstance(quick, Folded)
    forms = {leaf for leaves in folded["params"].values() for leaf in leaves}
    assert ("transformed" in forms) == (least_channels == 1)
    found = jax.jit(quick.apply)(folded, images)
    # 1e-5 of the deviation for each of 20 layers with rounding of their own.
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.std(wanted))


def test_shortcuts_and_groups_are_folded():
    table = (
        Conv(64, name="a"),
        MaxPool(),
        Conv(128, groups=2, name="b"),
        MaxPool(),
        Conv(64, name="c"),
        Shortcut(1, "leaky"),
        Conv(5, 1, batch_norm=False, name="d"),
    )
    model, rng = Network(table), np.random.default_rng(0)
    shapes = variable_shapes(model, SIZE)
    variables = jax.tree.map(lambda a: jnp.float32(rng.uniform(0, 0.3, a.shape)), shapes)
    for leaves in variables["params"].values():
        leaves["kernel"] -= 0.15
    images = jnp.float32(rng.uniform(size=(2, *SIZE, 3)))
    quick, folded = fold(model, variables)
    assert "transformed" in folded["params"]["c"]
    assert "kernel" in folded["params"]["b"]
    wanted = jax.jit(model.apply)(variables, images)
    found = jax.jit(quick.apply)(folded, images)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.std(wanted))


@pytest.mark.parametrize("shape", [(1, 1, 1, 2), (2, 4, 6, 3), (2, 7, 5, 3), (2, 41, 40, 2)])
def test_winograd_is_the_convolution(shape):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal(shape), jnp.float32)
    kernel = jnp.asarray(rng.standard_normal((3, 3, shape[-1], 4)), jnp.float32)
    wanted = convolve(x, kernel)
    found = winograd.convolve(x, winograd.transform(kernel))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.std(wanted))


@pytest.mark.parametrize(
    "shape", [(2, 6, 10, 3), (1, 200, 208, 1), (3, 8, 4, 32), (1, 130, 96, 20), (2, 96, 94, 64)]
)
def test_pooled_convolution_is_both_layers(shape):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal(shape), jnp.float32)
    kernel = jnp.asarray(rng.standard_normal((3, 3, shape[-1], 24)), jnp.float32)
    assert suits(x, kernel)
    wanted = max_pool(convolve(x, kernel), 2, 2)
    for form in (kernel, winograd.transform(kernel)):
        found = jax.jit(convolve_and_pool)(x, form)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.std(wanted))


def test_before_pool_needs_a_pool_as_the_only_reader():
    pair = Conv(8), MaxPool()
    assert before_pool((*pair, Conv(8), Conv(8), MaxPool())) == {0, 3}
    assert before_pool((*pair, Conv(8), Route((-3,)))) == set()
    assert before_pool((*pair, Conv(8), Route((-1, 0)))) == set()
    assert before_pool((*pair, Conv(8), Route((1,)))) == {0}
    other = (Conv(8, size=1), Conv(8, stride=2), Conv(8, padding=0), Conv(8, activation="mish"))
    assert not any(before_pool((conv, MaxPool())) for conv in other)
    assert not any(before_pool((Conv(8), pool)) for pool in (MaxPool(2, 1), MaxPool(3, 2)))


def test_other_models_are_not_folded():
    other, variables = object(), {"params": {}}
    assert fold(other, variables) == (other, variables)
    model, variables, _ = make_case("yolov2", dtype=jnp.bfloat16)
    assert fold(model, variables)[0] is model
    connected = build_network("yolov1_tiny", count_outputs("yolov1", classes=4, boxes=2, side=7))
    assert fold(connected, {})[0] is connected


def test_only_cpus_take_the_folded_form():
    model, variables, _ = make_case("yolov2_tiny_voc")
    task = Task(model, decode=None, loss=None)
    assert for_inference(task, variables, "tpu") == (task, variables)
    assert isinstance(for_inference(task, variables, "cpu")[0].model, Folded)


def test_a_folded_network_refuses_training_and_wrong_sizes():
    model, variables, images = make_case("yolov2_tiny_voc")
    quick, folded = fold(model, variables)
    with pytest.raises(ValueError, match="no statistics to train with"):
        quick.apply(folded, images, train=True)
    with pytest.raises(ValueError, match="image height must be a multiple of 32"):
        quick.apply(folded, images[:, :50])
