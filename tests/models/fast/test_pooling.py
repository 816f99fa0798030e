from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolojax.models import functional
from yolojax.models.fast.pooling import max_pool, pool_halves

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.mark.parametrize("case", ["s2_even", "s2_odd", "s1", "k3s2", "k3s1"])
def test_max_pool_equals_the_c_program(case):
    golden = np.load(GOLDEN / "maxpool.npz")
    size, stride, _ = golden[f"{case}_args"]
    y = max_pool(golden[f"{case}_in"].transpose(0, 2, 3, 1), int(size), int(stride))
    np.testing.assert_array_equal(y, golden[f"{case}_out"].transpose(0, 2, 3, 1))


@pytest.mark.parametrize(
    ("padding", "wanted"),
    [
        (None, [[7, 9, 10], [12, 14, 15]]),  # as 1
        (0, [[7, 9]]),  # as Darknet before August 2018: the odd row and column have no window
        (1, [[7, 9, 10], [12, 14, 15]]),  # at the bottom and right
        (2, [[1, 3, 5], [11, 13, 15]]),  # all round
    ],
)
def test_padding_counts_both_sides(padding, wanted):
    x = jnp.arange(1.0, 16).reshape(1, 3, 5, 1)
    np.testing.assert_array_equal(max_pool(x, 2, 2, padding)[0, ..., 0], wanted)


@pytest.mark.parametrize("shape", [(2, 4, 6, 3), (2, 5, 3, 3), (1, 1, 2, 40)])
def test_both_forms_agree_to_the_bit_with_ties(shape):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.integers(-1, 2, shape), jnp.float32)  # three values: many ties
    weight = jnp.asarray(rng.standard_normal(functional.max_pool(x, 2, 2).shape), jnp.float32)

    def run(pool):
        y, pull = jax.vjp(pool, x)
        return y, pull(weight)[0]

    for a, b in zip(run(pool_halves), run(lambda x: functional.max_pool(x, 2, 2)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_form_of_each_platform():
    def gradient(platform):
        function = jax.jit(jax.grad(lambda x: max_pool(x, 2, 2).sum()))
        lowered = function.trace(jnp.ones((1, 4, 4, 1))).lower(lowering_platforms=(platform,))
        return lowered.as_text()

    assert "select_and_scatter" in gradient("tpu")
    assert "select_and_scatter" not in gradient("cpu")
