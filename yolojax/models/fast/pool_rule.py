"""Batch normalisation and leaky ReLU behind a max-pool: what all forms of a unit share.

z is the output of the convolution, u the normalised maxima of z, y their leaky ReLU. The gradient
of z is factor * (du where z is a maximum - (sum du + n * sum(du * n)) / count), n the normalised z:
as in layers.batch_norm, du at the places that won, and a line in z.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from yolojax.models.functional import EPSILON, leaky, wide


class Maxima(NamedTuple):
    """The maxima of z [B, H / 2, W / 2, C], and of each channel what normalises them, float32."""

    best: jax.Array
    mean: jax.Array
    var: jax.Array
    scale: jax.Array  # at least 0
    bias: jax.Array


class Pulled(NamedTuple):
    """The gradients: that of z is `own` where it won, and `slope` * z + `start` everywhere."""

    own: jax.Array  # [B, H / 2, W / 2, C]
    slope: jax.Array  # [C]
    start: jax.Array
    scale: jax.Array
    bias: jax.Array


def signed(unit: Callable, kernel, scale, bias):
    """`unit` (kernel, scale, bias) -> (y, mean, var), which wants scales of at least 0, of any.

    y rises with z where the scale is positive, so the maximum may be taken of z; where it is
    negative, the kernel is negated first. At 0 a window of the plain form is all ties; the gradient
    of such a scale is the derivative from above, everything else as in the plain form.
    """
    sign = jnp.where(scale < 0, -1.0, 1.0).astype(scale.dtype)
    y, mean, var = unit(kernel * sign.astype(kernel.dtype), scale * sign, bias)
    return y, mean * sign, var


def activate(maxima: Maxima):
    """y, in the type of z."""
    return leaky(_normalised(maxima).astype(maxima.best.dtype))


def _normalised(maxima: Maxima):
    best, mean, var, scale, bias = maxima
    factor = scale * lax.rsqrt(var + EPSILON)
    return wide(best) * factor + (bias - mean * factor)


def pull(maxima: Maxima, gradient, count: int) -> Pulled:
    """Of the gradient of y, where z has `count` values of each channel."""
    root = lax.rsqrt(maxima.var + EPSILON)
    factor = maxima.scale * root
    du = wide(gradient) * jnp.where(_normalised(maxima) > 0, 1, 0.1)
    bias = du.sum((0, 1, 2))
    scale = (du * (wide(maxima.best) - maxima.mean)).sum((0, 1, 2)) * root
    slope = -factor * root * scale / count
    start = -factor * bias / count - slope * maxima.mean
    return Pulled(factor * du, slope, start, scale, bias)
