from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolojax.models.backbones import DARKNET19
from yolojax.models.fast import pool_unit, pooled_convolution
from yolojax.models.fast.cpu_stem import stem_unit
from yolojax.models.fast.pool_unit import BY_CHANNELS, BY_HALVES, plain_unit, pooled, unit
from yolojax.models.layers import AvgPool, Conv, MaxPool, Reorg, Route
from yolojax.models.network import Network
from yolojax.models.yolov2 import yolov2

FORMS = {"channels": BY_CHANNELS, "halves": BY_HALVES}


def arguments(dtype=np.float32, scale=(1.0, -0.5, 2.0, -0.1, 0.7), whole=False):
    """x, kernel, scale and bias; with `whole` small whole numbers, so that many maxima tie."""
    rng = np.random.default_rng(0)
    x, kernel, bias = (rng.standard_normal(shape) for shape in [(2, 6, 8, 3), (3, 3, 3, 5), 5])
    if whole:
        x, kernel = np.abs(x).round(), kernel.round()
    return tuple(jnp.asarray(a, dtype) for a in (x, kernel, scale, bias))


def outcome(function, values):
    """What it returns, and the gradients of all four arguments."""
    (y, mean, var), pull = jax.vjp(function, *values)
    weights = np.random.default_rng(1).standard_normal(y.shape)
    gradients = pull((jnp.asarray(weights, y.dtype), jnp.zeros_like(mean), jnp.zeros_like(var)))
    return y, mean, var, *gradients


@pytest.fixture(params=FORMS)
def form(request, monkeypatch):
    """The one that `unit` takes, whatever its input."""
    monkeypatch.setattr(pool_unit, "BY_CHANNELS", FORMS[request.param])
    monkeypatch.setattr(pool_unit, "BY_HALVES", FORMS[request.param])


PRECISIONS = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(np.float64, 1e-13), (np.float32, 2e-5)]
)


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("whole", [False, True])
@PRECISIONS
def test_values_and_gradients_are_those_of_the_plain_form(dtype, tolerance, whole):
    with jax.enable_x64(dtype == np.float64):
        check_against_plain(unit, arguments(dtype, whole=whole), tolerance)


@pytest.mark.parametrize("block", [1, 1 << 20])  # a pair of rows at a time, or all
@pytest.mark.parametrize("whole", [False, True])
@PRECISIONS
def test_values_and_gradients_of_the_first_unit_on_cpu(dtype, tolerance, whole, block, monkeypatch):
    monkeypatch.setattr(pooled_convolution, "BLOCK", block)
    with jax.enable_x64(dtype == np.float64):
        check_against_plain(stem_unit, arguments(dtype, whole=whole), tolerance)


def check_against_plain(function, values, tolerance):
    for ours, wanted in zip(outcome(function, values), outcome(plain_unit, values), strict=True):
        assert ours.dtype == values[0].dtype
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("unit", [unit, stem_unit])
def test_a_scale_of_zero_differs_only_in_its_gradient(unit):
    """There the maxima of the plain form all tie; this one takes the derivative from above."""
    with jax.enable_x64(True):
        at, above = arguments(np.float64, np.zeros(5)), arguments(np.float64, np.full(5, 1e-9))
        ours, wanted = outcome(unit, at), outcome(plain_unit, at)
        for i in (0, 1, 2, 3, 4, 6):
            np.testing.assert_allclose(ours[i], wanted[i], atol=1e-12)
        np.testing.assert_allclose(ours[5], outcome(plain_unit, above)[5], atol=1e-5)


@pytest.mark.usefixtures("form")
def test_bfloat16_keeps_statistics_and_their_gradients_in_float32():
    x, kernel, scale, bias = arguments()
    y, *rest = outcome(unit, (x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16), scale, bias))
    exact = outcome(plain_unit, (x, kernel, scale, bias))
    assert y.dtype == jnp.bfloat16
    assert [a.dtype.name for a in rest] == [*["float32"] * 2, *["bfloat16"] * 2, *["float32"] * 2]
    np.testing.assert_allclose(y.astype(np.float32), exact[0], atol=0.03)


def test_units_are_convolutions_with_a_pool_that_nothing_else_reads():
    assert pooled(yolov2(125)) == {0, 2, 6, 10}  # 16 goes into the passthrough
    assert pooled(DARKNET19) == {0, 2, 6, 10, 16}
    for conv in (Conv(2, 1), Conv(2, stride=2), Conv(2, batch_norm=False), Conv(2, padding=0)):
        assert not pooled((conv, MaxPool()))
    assert not pooled((Conv(2, activation="relu"), MaxPool()))
    assert not pooled((Conv(2), MaxPool(2, 1)))
    assert not pooled((Conv(2), Reorg(), MaxPool()))
    assert pooled((Conv(2), MaxPool(), Conv(2), Route((-3,)))) == set()
    assert pooled((Conv(2), MaxPool(), Route((1,)))) == {0}


def test_form_of_each_platform():
    def gradient(platform, size):
        def loss(*values):
            return pool_unit.pool_unit(*values)[0].sum()

        _, *rest = arguments()
        traced = jax.jit(jax.grad(loss, 1)).trace(jnp.zeros((1, *size, 3)), *rest)
        return traced.lower(lowering_platforms=(platform,)).as_text()

    assert "while" in gradient("cpu", (4, 4))  # blocks of rows
    assert "while" not in gradient("cpu", (5, 4))
    assert "select_and_scatter" not in gradient("tpu", (4, 4))
    assert "4x4x3x20x" in gradient("tpu", (4, 4))  # the larger window
    assert "select_and_scatter" in gradient("cuda", (4, 4))
    assert "select_and_scatter" in gradient("tpu", (5, 4))  # odd


# The second pair's few channels have an input gradient; AvgPool lets any size pass.
NARROW = (Conv(3), MaxPool(), Conv(1), MaxPool(), Conv(8), MaxPool(), Conv(4), MaxPool(), AvgPool())


@pytest.mark.parametrize("shape", [(96, 64, 3), (90, 98, 1), (84, 88, 3), (33, 40, 3)])
def test_a_network_trained_on_cpu_is_that_of_its_layers_one_by_one(shape):
    table = tuple(
        replace(layer, name=f"conv{at}") if isinstance(layer, Conv) else layer
        for at, layer in enumerate(NARROW)
    )
    model, rng = Network(table), np.random.default_rng(0)
    images = jnp.asarray(rng.random((2, *shape)), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    variables = jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape), a.dtype), variables)

    @partial(jax.jit, static_argnames="apart")
    def step(params, apart):
        def loss(params):
            values = variables | {"params": params}
            mode = {"train": True, "mutable": ["batch_stats"], "all_outputs": apart}
            out, new = model.apply(values, images, **mode)
            return jnp.square((out[-1] if apart else out) - 1).mean(), new

        return jax.value_and_grad(loss, has_aux=True)(params)

    ours, wanted = (jax.tree.leaves(step(variables["params"], apart)) for apart in (False, True))
    for a, b in zip(ours, wanted, strict=True):
        assert np.linalg.norm(a - b) <= 2e-4 * np.linalg.norm(b) + 1e-6
