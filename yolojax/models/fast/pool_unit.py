"""Convolution, batch normalisation, leaky ReLU and 2x2 max-pool as one unit, in training.

`plain_unit` is the definition. The maximum is taken of the output of the convolution, so that
nothing else is ever written at full size (pool_rule.signed says why it may). Which place of a
window won is kept for the backward pass: looked for again, by XLA's select-and-scatter, it costs
more. docs/notes/performance_tpu.md and docs/notes/performance_cpu.md have the figures.

In both forms the four places of a window are axes of a view of z, the output of the convolution:

* BY_CHANNELS: z is computed with a 4x4 window and stride 2, the places as four times as many
  channels. For images, whose few channels leave the multipliers idle anyway.
* BY_HALVES: z is that of the 3x3 convolution, its rows and columns taken in pairs.

CPUs, in float32, take BY_HALVES where maps are large, and cpu_stem for images; GPUs the plain form.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from yolojax.models.fast.cpu_stem import stem_unit, suits
from yolojax.models.fast.pool_rule import Maxima, activate, pull, signed
from yolojax.models.fast.pooled_convolution import FEW, PLACES, kernel_at_places
from yolojax.models.fast.pooling import first_best, max_pool
from yolojax.models.functional import batch_norm, convolve, leaky, variance, wide
from yolojax.models.layers import Table, before_pool
from yolojax.ops.platforms import by_platform

LARGE_SIDE = 40  # from it on, maps are large enough for a unit to pay on CPU


def pooled(table: Table) -> frozenset[int]:
    """The places in `table` of convolutions that make a unit with the max-pool behind them."""
    kinds = {at: (table[at].batch_norm, table[at].activation) for at in before_pool(table)}
    return frozenset(at for at, kind in kinds.items() if kind == (True, "leaky"))


def plain_unit(x, kernel, scale, bias):
    """x [B, H, W, in], kernel [3, 3, in, C] -> (y [B, H / 2, W / 2, C], mean [C], var [C])."""
    y, mean, var = batch_norm(convolve(x, kernel), scale, bias)
    return max_pool(leaky(y), 2, 2), mean, var


def pool_unit(x, kernel, scale, bias):
    """`plain_unit`, in the form that suits the platform and the size."""
    x, (h, w) = x.astype(kernel.dtype), x.shape[1:3]
    if h % 2 or w % 2:
        return plain_unit(x, kernel, scale, bias)
    on_cpu = unit if min(h, w) >= LARGE_SIDE and x.dtype == jnp.float32 else plain_unit
    on_cpu = stem_unit if suits(x) else on_cpu
    return by_platform(x, kernel, scale, bias, tpu=unit, cpu=on_cpu, default=plain_unit)


def unit(x, kernel, scale, bias, *, rows: int = 1):
    """`plain_unit` for even H and W; x is padded with `rows` rows of zeros above and below."""
    form = BY_CHANNELS if x.shape[-1] <= FEW else BY_HALVES
    return signed(
        lambda k, *rest: _finish(form, form.convolve(x, k, rows), *rest), kernel, scale, bias
    )


class Form(NamedTuple):
    """How a form finds the places of the windows."""

    convolve: Callable  # (x, kernel, rows of padding) -> z, rank 4
    view: Callable  # z -> the same with axes for the places
    parts: Callable  # of a view -> for each of PLACES an array [B, H / 2, W / 2, C]
    spread: Callable  # such an array -> one that broadcasts against a view
    numbers: tuple[int, ...]  # the shape in which 0, 1, 2, 3 stand for PLACES of a view
    back: Callable  # the gradient of a view, z -> the gradient of z


def convolve_rows(x, kernel, stride: int, rows: int):
    """Cross-correlation, zero-padded by `rows` above and below and by 1 left and right."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((rows, rows), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _convolve_places(x, kernel, rows: int):
    """The output of the 3x3 convolution at each of PLACES: [B, H / 2, W / 2, 4 * C]."""
    return convolve_rows(x, kernel_at_places(kernel), 2, rows)


BY_CHANNELS = Form(
    convolve=_convolve_places,
    view=lambda z: z.reshape(*z.shape[:3], len(PLACES), -1),
    parts=lambda view: [view[..., i, :] for i in range(len(PLACES))],
    spread=lambda a: a[..., None, :],
    numbers=(4, 1),
    back=lambda view, z: view.reshape(z.shape),
)


def _pairs(z):
    b, h, w, c = z.shape
    return z.reshape(b, h // 2, 2, w // 2, 2, c)


BY_HALVES = Form(
    convolve=lambda x, kernel, rows: (
        convolve(x, kernel) if rows == 1 else convolve_rows(x, kernel, 1, rows)
    ),
    view=_pairs,
    parts=lambda view: [view[:, :, i, :, j] for i, j in PLACES],
    spread=lambda a: a[:, :, None, :, None],
    numbers=(2, 1, 2, 1),
    # Written once for both convolutions of the backward pass; XLA would else write the spread
    # arrays, for each.
    back=lambda view, z: lax.optimization_barrier(view).reshape(z.shape),
)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _finish(form: Form, z, scale, bias):
    """z, scale >= 0 -> (y, mean, var); no gradient flows through the statistics."""
    return _forward(form, z, scale, bias)[0]


class Saved(NamedTuple):
    """What the backward pass needs."""

    z: jax.Array
    won: jax.Array  # the number of the place of each maximum
    maxima: Maxima


def _forward(form: Form, z, scale, bias):
    """-> ((y, mean, var), Saved)"""
    mean, var = _statistics(z, len(scale))
    # The number is kept in the type of z: as int8 it costs more, as TPUs lay it out apart. Without
    # a barrier XLA takes the maximum together with what follows, and reads z again for the number.
    best, won = lax.optimization_barrier(first_best(form.parts(form.view(z)), z.dtype))
    maxima = Maxima(best, mean, var, scale, bias)
    return (activate(maxima), mean, var), Saved(z, won, maxima)


def _statistics(z, channels: int):
    """Mean and unbiased variance of each channel, as in batch_norm; z may have several places.

    First over the axes that z has, so that XLA takes the sums while the convolution writes it.
    """
    squares = jnp.square(wide(z))
    mean, mean_square = (
        values.mean((0, 1, 2)).reshape(-1, channels).mean(0) for values in (wide(z), squares)
    )
    return mean, variance(mean, mean_square, z.size // channels)


def _backward(form: Form, saved: Saved, gradients):
    """The gradient with respect to (z, scale, bias)."""
    z, won, maxima = saved
    pulled = pull(maxima, gradients[0], float(z.size // len(maxima.scale)))
    own = form.spread(pulled.own.astype(z.dtype))
    numbers = jnp.arange(len(PLACES), dtype=won.dtype).reshape(form.numbers)
    own = jnp.where(form.spread(won) == numbers, own, 0)
    whole = wide(own) + (pulled.slope * wide(form.view(z)) + pulled.start)
    return form.back(whole.astype(z.dtype), z), pulled.scale, pulled.bias


_finish.defvjp(_forward, _backward)
