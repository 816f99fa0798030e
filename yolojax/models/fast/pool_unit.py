"""Convolution, batch normalisation, leaky ReLU and 2x2 max-pool as one unit, in training.

`plain_unit` is the definition. The other forms take the maximum of the output of the convolution
(see pool_rule.signed), so nothing else is written at full size. They save the position of each
maximum for the backward pass, which costs less than XLA's select-and-scatter.
docs/notes/performance_tpu.md and docs/notes/performance_cpu.md have the figures.

In both forms the four positions of a window are axes of a view of z, the output of the convolution:

* BY_CHANNELS: z has a 4x4 window, stride 2 and the positions as four times as many channels. It
  is for images, whose few channels leave multipliers idle anyway.
* BY_HALVES: z is that of the 3x3 convolution, with rows and columns in pairs.

CPUs in float32 use BY_HALVES for large maps and cpu_stem for images. GPUs use the plain form.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import lax

from yolojax.models.fast.cpu_convolution import convolve
from yolojax.models.fast.cpu_stem import stem_unit, suits
from yolojax.models.fast.pool_rule import Maxima, activate, pull, signed
from yolojax.models.fast.pooled_convolution import FEW, PLACES, kernel_at_places
from yolojax.models.fast.pooling import before_pool, first_best, max_pool
from yolojax.models.functional import batch_norm, leaky, variance, wide
from yolojax.models.layers import Table
from yolojax.ops.platforms import by_platform

LARGE_SIDE = 40  # side from which a unit is faster on CPU


def pooled(table: Table) -> frozenset[int]:
    """Return the indices of convolutions that form a unit with the max-pool behind them."""
    kinds = {at: (table[at].batch_norm, table[at].activation) for at in before_pool(table)}
    return frozenset(at for at, kind in kinds.items() if kind == (True, "leaky"))


def plain_unit(x, kernel, scale, bias):
    """Map x [B, H, W, in], kernel [3, 3, in, C] to (y [B, H / 2, W / 2, C], mean [C], var [C])."""
    chex.assert_shape(kernel, (3, 3, x.shape[-1], len(scale)))
    y, mean, var = batch_norm(convolve(x, kernel), scale, bias)
    return max_pool(leaky(y), 2, 2), mean, var


def pool_unit(x, kernel, scale, bias):
    """Compute `plain_unit` in the form that suits platform and size."""
    x, (h, w) = x.astype(kernel.dtype), x.shape[1:3]
    if h % 2 or w % 2:
        return plain_unit(x, kernel, scale, bias)
    on_cpu = unit if min(h, w) >= LARGE_SIDE and x.dtype == jnp.float32 else plain_unit
    on_cpu = stem_unit if suits(x) else on_cpu
    return by_platform(x, kernel, scale, bias, tpu=unit, cpu=on_cpu, default=plain_unit)


def unit(x, kernel, scale, bias, *, rows: int = 1):
    """Compute `plain_unit` for even H and W; x is padded by `rows` rows above and below."""
    form = BY_CHANNELS if x.shape[-1] <= FEW else BY_HALVES
    return signed(
        lambda k, *rest: _finish(form, form.convolve(x, k, rows), *rest), kernel, scale, bias
    )


class Form(NamedTuple):
    """How a form accesses the positions of the windows."""

    convolve: Callable  # (x, kernel, rows of padding) -> z, rank 4
    view: Callable  # z -> the same with axes for the positions
    parts: Callable  # of a view -> for each of PLACES an array [B, H / 2, W / 2, C]
    spread: Callable  # such an array -> one that broadcasts against a view
    numbers: tuple[int, ...]  # the shape in which 0, 1, 2, 3 stand for PLACES of a view
    back: Callable  # the gradient of a view, z -> the gradient of z


def convolve_rows(x, kernel, stride: int, rows: int):
    """Cross-correlate, zero-padded by `rows` above and below and by 1 left and right."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((rows, rows), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _convolve_places(x, kernel, rows: int):
    """Compute the 3x3 convolution at each of PLACES: [B, H / 2, W / 2, 4 * C]."""
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
    # Written once for both convolutions of the backward pass. Without the barrier XLA writes the
    # spread arrays, once for each.
    back=lambda view, z: lax.optimization_barrier(view).reshape(z.shape),
)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _finish(form: Form, z, scale, bias):
    """Map z and scale >= 0 to (y, mean, var); no gradient flows through the statistics."""
    return _forward(form, z, scale, bias)[0]


class Saved(NamedTuple):
    """Residuals of the backward pass."""

    z: jax.Array
    won: jax.Array  # the position of each maximum
    maxima: Maxima


def _forward(form: Form, z, scale, bias):
    """Return ((y, mean, var), Saved)."""
    mean, var = _statistics(z, len(scale))
    # Positions have the type of z: int8 has another layout on TPUs and costs more. Without the
    # barrier XLA fuses the maximum with what follows, and reads z again for the position.
    best, won = lax.optimization_barrier(first_best(form.parts(form.view(z)), z.dtype))
    maxima = Maxima(best, mean, var, scale, bias)
    return (activate(maxima), mean, var), Saved(z, won, maxima)


def _statistics(z, channels: int):
    """Compute mean and unbiased variance of each channel; z may hold several positions.

    The first sum is over the axes of z, so XLA fuses it with the convolution.
    """
    squares = jnp.square(wide(z))
    mean, mean_square = (
        values.mean((0, 1, 2)).reshape(-1, channels).mean(0) for values in (wide(z), squares)
    )
    return mean, variance(mean, mean_square, z.size // channels)


def _backward(form: Form, saved: Saved, gradients):
    """Compute the gradients with respect to (z, scale, bias)."""
    z, won, maxima = saved
    pulled = pull(maxima, gradients[0], float(z.size // len(maxima.scale)))
    own = form.spread(pulled.own.astype(z.dtype))
    numbers = jnp.arange(len(PLACES), dtype=won.dtype).reshape(form.numbers)
    own = jnp.where(form.spread(won) == numbers, own, 0)
    whole = wide(own) + (pulled.slope * wide(form.view(z)) + pulled.start)
    return form.back(whole.astype(z.dtype), z), pulled.scale, pulled.bias


_finish.defvjp(_forward, _backward)
