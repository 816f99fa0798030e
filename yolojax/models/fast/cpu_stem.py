"""The first convolution in training on CPU, with its normalisation, leaky ReLU and max-pool.

Its output z, by far the largest array of a network, is never written. Blocks of rows are computed,
pooled and summed for the statistics, and computed again for the gradient, which takes less time
than writing and reading z. On several CPU devices each block sends a sum.
"""

import jax
import jax.numpy as jnp
from jax import lax

from yolojax.models.fast.pool_rule import Maxima, activate, pull, signed
from yolojax.models.fast.pooled_convolution import (
    FEW,
    kernel_at_places,
    seen_by,
    split_rows,
    windows,
)
from yolojax.models.fast.pooling import first_best
from yolojax.models.functional import convolve, variance

VALUES = 8  # values in windows per value of two image rows: 4x4 windows with stride 2


def suits(x) -> bool:
    """Return whether `stem_unit` is faster for x [B, H, W, in], with even H and W."""
    return x.shape[-1] <= FEW and x.dtype == jnp.float32


def stem_unit(x, kernel, scale, bias):
    """Map x [B, H, W, in], kernel [3, 3, in, C] to (y [B, H / 2, W / 2, C], mean [C], var [C]).

    Values and gradients are those of pool_unit.plain_unit; see pool_rule.signed for scales of 0.
    """

    def unit(kernel, scale, bias):
        wider = kernel_at_places(kernel)
        return _unit(x, wider.reshape(-1, wider.shape[-1]), scale, bias)

    return signed(unit, kernel, scale, bias)


@jax.custom_vjp
def _unit(x, kernel, scale, bias):
    """Compute `stem_unit` with kernel [16 * in, 4 * C], of the four positions, and scale >= 0."""
    return _forward(x, kernel, scale, bias)[0]


def _forward(x, kernel, scale, bias):
    best, won, total, squares = _pooled(x, kernel)
    count = x.size // x.shape[-1]
    mean = total / count
    var = variance(mean, squares / count, count)
    maxima = Maxima(best, mean, var, scale, bias)
    return (activate(maxima), mean, var), (x, kernel, won, maxima)


def _pooled(x, kernel):
    """Return the maxima of z, their positions (int8), and the sums of z and z**2 [C]."""
    rows, blocks, padded = split_rows(x, VALUES)
    b, h, w, _ = x.shape
    shape = b, h // 2, w // 2, kernel.shape[1] // 4

    def add(i, carry):
        whole, sums = carry
        _, z = _block(padded, kernel, i, rows)
        parts = first_best([z[..., place, :] for place in range(4)], jnp.int8)
        whole = tuple(
            lax.dynamic_update_slice_in_dim(array, part, i * rows, axis=1)
            for array, part in zip(whole, parts, strict=True)
        )
        return whole, sums + jnp.stack([z.sum((1, 2, 3)), jnp.square(z).sum((1, 2, 3))])

    whole = jnp.zeros(shape, x.dtype), jnp.zeros(shape, jnp.int8)
    sums = jnp.zeros((2, b, shape[-1]), x.dtype)
    (best, won), sums = lax.fori_loop(0, blocks, add, (whole, sums))
    return best, won, *sums.sum(1)


def _block(padded, kernel, i, rows: int):
    """Return (windows [B, rows, W / 2, 16 * in], z [B, rows, W / 2, 4, C]) of block `i`."""
    seen = windows(seen_by(padded, i, rows), rows, padded.shape[2] // 2 - 1)
    return seen, (seen @ kernel).reshape(*seen.shape[:3], 4, -1)


def _backward(residuals, gradients):
    x, kernel, won, maxima = residuals
    pulled = pull(maxima, gradients[0], float(x.size // x.shape[-1]))

    def of_z(z, won, own):
        places = jnp.arange(4, dtype=won.dtype)[:, None]
        own = jnp.where(won[..., None, :] == places, own[..., None, :], 0)
        return own + (pulled.slope * z + pulled.start)

    kernel_gradient = _kernel_gradient(x, kernel, won, pulled.own, of_z)
    image_gradient = _image_gradient(x, kernel, won, pulled.own, of_z)
    return image_gradient, kernel_gradient, pulled.scale, pulled.bias


def _kernel_gradient(x, kernel, won, own, of_z):
    rows, blocks, padded = split_rows(x, VALUES)

    def add(i, total):
        seen, z = _block(padded, kernel, i, rows)
        mine = (lax.dynamic_slice_in_dim(a, i * rows, rows, axis=1) for a in (won, own))
        pulled = of_z(z, *mine).reshape(-1, kernel.shape[1])
        return total + seen.reshape(-1, len(kernel)).T @ pulled

    return lax.fori_loop(0, blocks, add, jnp.zeros_like(kernel))


def _image_gradient(x, kernel, won, own, of_z):
    """Compute the gradient of x. Unused for images, so not compiled then."""
    wider = kernel.reshape(4, 4, x.shape[-1], -1)
    z, convolution_pull = jax.vjp(lambda x: convolve(x, wider, 2, 1), x)
    gradient = of_z(z.reshape(*z.shape[:3], 4, -1), won, own)
    return convolution_pull(gradient.reshape(z.shape))[0]


_unit.defvjp(_forward, _backward)
