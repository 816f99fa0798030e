"""The first convolution in training on CPU, with its normalisation, leaky ReLU and max-pool.

Its output z, the largest array of a network by far, is never written: a block of rows at a time it
is made, pooled and summed up for the statistics, and made again where the gradient needs it, which
takes less time than writing and reading it. The gradient is that of pool_unit.plain_unit.
"""

import jax
import jax.numpy as jnp
from jax import lax

from yolojax.models.layers import EPSILON, leaky, variance
from yolojax.models.pooled_convolution import FEW, kernel_at_places, seen_by, split_rows, windows

LEAST_OUT = 16  # channels; for fewer, a 4x4 window is more work than it spares
VALUES = 8  # numbers in windows for each in two rows of an image: 4x4 windows are 2 apart


def suits(x, kernel) -> bool:
    """Whether `stem_unit` is quicker: few channels in, not too few out; H and W are even."""
    return x.shape[-1] <= FEW and kernel.shape[-1] >= LEAST_OUT and x.dtype == jnp.float32


def stem_unit(x, kernel, scale, bias):
    """x [B, H, W, in], kernel [3, 3, in, C] -> (y [B, H / 2, W / 2, C], mean [C], var [C])."""
    sign = jnp.where(scale < 0, -1.0, 1.0).astype(scale.dtype)
    wider = kernel_at_places(kernel * sign)
    y, mean, var = _unit(x, wider.reshape(-1, wider.shape[-1]), scale * sign, bias)
    return y, mean * sign, var


@jax.custom_vjp
def _unit(x, kernel, scale, bias):
    """`stem_unit` with kernel [16 * in, 4 * C], of the four places, and scale >= 0."""
    return _forward(x, kernel, scale, bias)[0]


def _forward(x, kernel, scale, bias):
    best, won, total, squares = _pooled(x, kernel)
    count = x.size // x.shape[-1]
    mean = total / count
    var = variance(mean, squares / count, count)
    factor = scale * lax.rsqrt(var + EPSILON)
    y = leaky(best * factor + (bias - mean * factor))
    return (y, mean, var), (x, kernel, scale, bias, best, won, mean, var)


def _pooled(x, kernel):
    """Of z: the maxima, the place of each (int8), the sum and that of the squares [C]."""
    rows, blocks, padded = split_rows(x, VALUES)
    b, h, w, _ = x.shape
    shape = b, h // 2, w // 2, kernel.shape[1] // 4

    def add(i, carry):
        best, won, total, squares = carry
        z = _block(padded, kernel, i, rows)
        top, place = _first_best(z)
        best, won = (
            lax.dynamic_update_slice_in_dim(whole, part, i * rows, axis=1)
            for whole, part in ((best, top), (won, place))
        )
        return best, won, total + z.sum((0, 1, 2, 3)), squares + jnp.square(z).sum((0, 1, 2, 3))

    nothing = jnp.zeros(shape[-1], x.dtype)
    first = jnp.zeros(shape, x.dtype), jnp.zeros(shape, jnp.int8), nothing, nothing
    return lax.fori_loop(0, blocks, add, first)


def _block(padded, kernel, i, rows: int):
    """z of block `i`, [B, rows, W / 2, 4, C]."""
    seen = windows(seen_by(padded, i, rows), 4, 2, rows, padded.shape[2] // 2 - 1)
    return (seen @ kernel).reshape(*seen.shape[:3], 4, -1)


def _first_best(z):
    """The maximum over the places of z [..., 4, C], and which was the first to have it."""
    best, *others = (z[..., i, :] for i in range(4))
    won = jnp.zeros(best.shape, jnp.int8)
    for i, other in enumerate(others, 1):
        won = jnp.where(other > best, jnp.int8(i), won)
        best = jnp.maximum(best, other)
    return best, won


def _backward(residuals, gradients):
    x, kernel, scale, bias, best, won, mean, var = residuals
    root = lax.rsqrt(var + EPSILON)
    factor, count = scale * root, x.size // x.shape[-1]
    du = gradients[0] * jnp.where(best * factor + (bias - mean * factor) > 0, 1, 0.1)
    bias_gradient = du.sum((0, 1, 2))
    scale_gradient = (du * (best - mean)).sum((0, 1, 2)) * root
    slope = -factor * root * scale_gradient / count
    start = -factor * bias_gradient / count - slope * mean

    def pulled(z, won, du):
        """The gradient of z, as pool_unit has it: a line in z, and more where the maximum was."""
        return _at_places(won, factor * du) + (slope * z + start)

    kernel_gradient = _kernel_gradient(x, kernel, won, du, pulled)
    image_gradient = _image_gradient(x, kernel, won, du, pulled)
    return image_gradient, kernel_gradient, scale_gradient, bias_gradient


def _at_places(won, values):
    """`values` at the place that won, else 0: [..., C] -> [..., 4, C]."""
    places = jnp.arange(4, dtype=won.dtype)[:, None]
    return jnp.where(won[..., None, :] == places, values[..., None, :], 0)


def _kernel_gradient(x, kernel, won, du, pulled):
    rows, blocks, padded = split_rows(x, VALUES)

    def add(i, total):
        seen = windows(seen_by(padded, i, rows), 4, 2, rows, padded.shape[2] // 2 - 1)
        z = (seen @ kernel).reshape(*seen.shape[:3], 4, -1)
        mine = (lax.dynamic_slice_in_dim(a, i * rows, rows, axis=1) for a in (won, du))
        return total + seen.reshape(-1, len(kernel)).T @ pulled(z, *mine).reshape(
            -1, kernel.shape[1]
        )

    return lax.fori_loop(0, blocks, add, jnp.zeros_like(kernel))


def _image_gradient(x, kernel, won, du, pulled):
    """Compiled only where something asks for it: training does not."""
    wider = kernel.reshape(4, 4, x.shape[-1], -1)
    z, pull = jax.vjp(lambda x: _convolve_by_two(x, wider), x)
    dz = pulled(z.reshape(*won.shape[:3], 4, -1), won, du)
    return pull(dz.reshape(z.shape))[0]


def _convolve_by_two(x, kernel):
    return lax.conv_general_dilated(
        x, kernel, (2, 2), [(1, 1)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


_unit.defvjp(_forward, _backward)
