"""Convolution, batch normalisation, leaky ReLU and 2x2 max-pool as one unit, for TPUs in training.

`plain_unit` is the definition. What follows the convolution rises with its output where the scale
of the normalisation is positive, so the maximum may be taken of the output itself, and nothing
else is ever written at full size. Where the scale is negative the kernel is negated first.

Two forms differ in how the gradient finds its way back through the maximum. `unit_by_windows` has
XLA look for it again (select-and-scatter). `unit_by_places` computes the four places of a window as
four times as many channels of a convolution with a 4x4 window and stride 2, which suits layers of
few channels, and remembers which place won. docs/performance_tpu.md has the figures.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from yolojax.models.layers import EPSILON, batch_norm, convolve, leaky, variance, wide
from yolojax.models.pooling import max_pool, pool_windows
from yolojax.models.tables import Conv, Layer, MaxPool, Route, Table

PLACES = ((0, 0), (0, 1), (1, 0), (1, 1))  # of a window, in the order in which ties are won


def pooled(table: Table) -> frozenset[int]:
    """The places in `table` of convolutions that make a unit with the max-pool behind them."""
    routes = ((at, layer) for at, layer in enumerate(table) if isinstance(layer, Route))
    read = {i % at for at, route in routes for i in route.layers}
    pairs = enumerate(pairwise(table))
    return frozenset(i for i, pair in pairs if i not in read and _is_unit(*pair))


def _is_unit(layer: Layer, follower: Layer) -> bool:
    if not (isinstance(layer, Conv) and isinstance(follower, MaxPool)):
        return False
    kind = (layer.size, layer.stride, layer.batch_norm, layer.activation)
    paddings = {layer.padding, follower.padding}
    return kind == (3, 1, True, "leaky") and follower[:2] == (2, 2) and paddings <= {None, 1}


def pool_unit(x, kernel, scale, bias):
    """`plain_unit`, in the form that suits the platform."""
    form = unit_by_places if _suits_places(x) else unit_by_windows
    return lax.platform_dependent(x, kernel, scale, bias, tpu=form, default=plain_unit)


def _suits_places(x) -> bool:
    """Images; wider layers pay more for the larger window than the select-and-scatter takes."""
    return x.shape[-1] <= 4 and x.shape[1] % 2 == x.shape[2] % 2 == 0


def plain_unit(x, kernel, scale, bias):
    """x [B, H, W, in], kernel [3, 3, in, C] -> (y [B, H / 2, W / 2, C], mean [C], var [C])."""
    y, mean, var = batch_norm(convolve(x, kernel), scale, bias)
    return max_pool(leaky(y), 2, 2), mean, var


def unit_by_windows(x, kernel, scale, bias):
    """`plain_unit`; x of any size."""
    return _signed(_in_place, _by_windows, x, kernel, scale, bias)


def unit_by_places(x, kernel, scale, bias):
    """`plain_unit`; H and W even."""
    return _signed(_in_places, _by_places, x, kernel, scale, bias)


def _signed(convolution: Callable, finish: Callable, x, kernel, scale, bias):
    sign = jnp.where(scale < 0, -1.0, 1.0).astype(scale.dtype)
    z = convolution(x, kernel * sign.astype(kernel.dtype))
    y, mean, var = finish(z, scale * sign, bias)
    return y, mean * sign, var


def _in_place(x, kernel):
    """-> [B, H, W, 1, C]"""
    return convolve(x, kernel)[..., None, :]


def _in_places(x, kernel):
    """The output of the 3x3 convolution at each of PLACES: [B, H / 2, W / 2, 4, C]."""
    kernels = [jnp.pad(kernel, ((i, 1 - i), (j, 1 - j), (0, 0), (0, 0))) for i, j in PLACES]
    z = lax.conv_general_dilated(
        x,
        jnp.concatenate(kernels, -1),
        (2, 2),
        [(1, 1)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return z.reshape(*z.shape[:3], len(PLACES), -1)


class Saved(NamedTuple):
    """What the backward pass needs of z [B, ..., places, C], the output of the convolution."""

    z: jax.Array
    best: jax.Array  # the maxima [B, H / 2, W / 2, C]
    won: jax.Array | None  # the number of the place of each; None: to be looked for
    mean: jax.Array  # [C], float32, as all that follows
    var: jax.Array
    scale: jax.Array
    bias: jax.Array


def _finish(pool: Callable, z, scale, bias):
    """z, scale >= 0 -> ((y, mean, var), Saved)."""
    mean, var = _statistics(z)
    best, won = pool(z)
    factor = scale * lax.rsqrt(var + EPSILON)
    y = leaky(_affine(best, mean, factor, bias).astype(best.dtype))
    return (y, mean, var), Saved(z, best, won, mean, var, scale, bias)


def _affine(best, mean, factor, bias):
    return wide(best) * factor + (bias - mean * factor)


def _statistics(z):
    """Mean and unbiased variance of each channel of z [B, ..., places, C], as in batch_norm."""
    axes, values = (0, 1, 2), wide(z)
    # Channels and places first: XLA takes the sums while the convolution writes z.
    mean, mean_square = (v.mean(axes).mean(0) for v in (values, jnp.square(values)))
    return mean, variance(mean, mean_square, z.size // z.shape[-1])


def _pull(scatter: Callable, saved: Saved, gradients):
    """The gradient with respect to (z, scale, bias).

    With u the normalised maxima, du their gradient and n the normalised z, that of z is, as in
    batch_norm, factor * (du where z is a maximum - (sum du + n * sum(du * n)) / count). The last
    two terms are a line in z, the first comes from `scatter`.
    """
    z, best, _, mean, var, scale, bias = saved
    root = lax.rsqrt(var + EPSILON)
    factor, count = scale * root, float(z.size // z.shape[-1])
    du = wide(gradients[0]) * jnp.where(_affine(best, mean, factor, bias) > 0, 1, 0.1)
    bias_gradient = du.sum((0, 1, 2))
    scale_gradient = (du * (wide(best) - mean)).sum((0, 1, 2)) * root
    slope = -factor * root * scale_gradient / count
    start = -factor * bias_gradient / count - slope * mean
    scattered = scatter(saved, (factor * du).astype(best.dtype))
    pulled = wide(scattered) + (slope * wide(z) + start)
    return pulled.astype(z.dtype), scale_gradient, bias_gradient


def _pool_windows(z):
    return pool_windows(z[..., 0, :], 2, 2, 1), None


def _scatter_windows(saved: Saved, gradient):
    """The gradient of the maxima -> that of z without normalisation."""
    _, pull = jax.vjp(lambda z: _pool_windows(z)[0], saved.z)
    return pull(gradient)[0]


def _pool_places(z):
    """The maxima over the places of z and which was the first to have it.

    The number is kept in the type of the values: as int8 it costs more, as TPUs lay it out apart.
    """
    best, *others = (z[..., i, :] for i in range(len(PLACES)))
    won = jnp.zeros_like(best)
    for i, other in enumerate(others, 1):
        won = jnp.where(other > best, jnp.asarray(i, won.dtype), won)
        best = jnp.maximum(best, other)
    # Else XLA merges the maximum with what follows, and reads z twice.
    return lax.optimization_barrier((best, won))


def _scatter_places(saved: Saved, gradient):
    places = jnp.arange(len(PLACES), dtype=saved.won.dtype)[:, None]
    return jnp.where(saved.won[..., None, :] == places, gradient[..., None, :], 0)


def _rule(pool: Callable, scatter: Callable) -> Callable:
    """(z, scale >= 0, bias) -> (y, mean, var), with its gradient; none of the statistics'."""

    @jax.custom_vjp
    def finish(z, scale, bias):
        return _finish(pool, z, scale, bias)[0]

    finish.defvjp(partial(_finish, pool), partial(_pull, scatter))
    return finish


_by_windows = _rule(_pool_windows, _scatter_windows)
_by_places = _rule(_pool_places, _scatter_places)
