import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolojax.models.fast import winograd
from yolojax.models.fast.cpu_convolution import (
    convolve,
    convolve_large,
    cpu_form,
    kernel_gradient,
    rows_of,
)
from yolojax.models.functional import convolve as convolve_plain


def arrays(shape, out, dtype=np.float32):
    """x of `shape`, a kernel for `out` channels and the gradient of the output."""
    rng = np.random.default_rng(0)
    shapes = shape, (3, 3, shape[-1], out), (*shape[:-1], out)
    return [jnp.asarray(rng.standard_normal(s), dtype) for s in shapes]


def near(ours, wanted):
    np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 2), (2, 4, 6, 3), (2, 7, 5, 3), (3, 13, 13, 8), (2, 21, 20, 3)]
)
@pytest.mark.parametrize("form", [convolve_large, winograd.convolve_in_training])
def test_values_and_gradients_are_those_of_the_plain_form(form, shape):
    x, kernel, gradient = arrays(shape, 4)
    ours, wanted = (jax.vjp(f, x, kernel) for f in (form, convolve_plain))
    near(ours[0], wanted[0])
    for a, b in zip(ours[1](gradient), wanted[1](gradient), strict=True):
        near(a, b)


@pytest.mark.parametrize("block", [1, 7 * 5 * 2 * 3 * 9 * 4, 1 << 30])  # a row, some, all of them
def test_blocks_of_any_size_give_the_same_gradient(block):
    x, kernel, gradient = arrays((2, 11, 5, 3), 4)
    wanted = jax.vjp(lambda k: convolve_plain(x, k), kernel)[1](gradient)[0]
    near(kernel_gradient(x, gradient, block), wanted)


def test_rows_are_divided_evenly():
    assert rows_of(13, row_bytes=10, block=100) == 7  # 7 and 6, not 10 and 3
    assert rows_of(13, row_bytes=10, block=1000) == 13
    assert rows_of(13, row_bytes=10, block=5) == 1


def test_form_by_shape_and_type():
    kernel = jnp.zeros((3, 3, 512, 128))
    large, small = jax.ShapeDtypeStruct((1, 52, 52, 512), jnp.float32), jnp.zeros((1, 13, 13, 512))
    assert cpu_form(large, kernel) is cpu_form(small, kernel) is winograd.convolve_in_training
    assert cpu_form(large, kernel[..., :32]) is convolve_large
    assert cpu_form(small.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)) is None
    assert cpu_form(small, kernel[..., :8]) is None  # too little to do
    many = jax.ShapeDtypeStruct((64, 13, 13, 512), jnp.float32)
    assert cpu_form(many, kernel[..., :32]) is None  # small maps, few channels


@pytest.mark.parametrize("side", [13, 52])
def test_form_of_each_platform(side):
    def gradient(platform):
        function = jax.jit(jax.grad(lambda x, k: convolve(x, k).sum(), (0, 1)))
        shapes = (1, side, side, 128), (3, 3, 128, 512)
        shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
        return function.trace(*shapes).lower(lowering_platforms=(platform,)).as_text()

    assert "stablehlo.dot_general" in gradient("cpu")
    for platform in ("tpu", "cuda"):
        assert "stablehlo.dot_general" not in gradient(platform)
