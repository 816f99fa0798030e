"""Batch normalisation and leaky ReLU behind a max-pool: the part that all units share.

z is the output of the convolution, u the normalised maxima of z, y their leaky ReLU, n the
normalised z. As in functional.batch_norm, the gradient of z is
factor * (du where z is a maximum - (sum du + n * sum(du * n)) / count):
du at the positions of the maxima, and a linear function of z.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from yolojax.models.functional import EPSILON, leaky, wide


class Maxima(NamedTuple):
    """The maxima of z [B, H / 2, W / 2, C], and the float32 normalisation of each channel."""

    best: jax.Array
    mean: jax.Array
    var: jax.Array
    scale: jax.Array  # at least 0
    bias: jax.Array


class Pulled(NamedTuple):
    """Gradients. That of z is `own` at the maxima, plus `slope` * z + `start` everywhere."""

    own: jax.Array  # [B, H / 2, W / 2, C]
    slope: jax.Array  # [C]
    start: jax.Array
    scale: jax.Array
    bias: jax.Array


def signed(unit: Callable, kernel, scale, bias):
    """Apply `unit` (kernel, scale, bias) -> (y, mean, var), which needs scales >= 0, to any scales.

    Where the scale is positive, y increases with z, so the maximum may be taken of z. Where it is
    negative, the kernel is negated first. Where it is 0, all values of a window tie in the plain
    form; the gradient of that scale is then the derivative from above, all else is equal.
    """
    sign = jnp.where(scale < 0, -1.0, 1.0).astype(scale.dtype)
    y, mean, var = unit(kernel * sign.astype(kernel.dtype), scale * sign, bias)
    return y, mean * sign, var


def activate(maxima: Maxima):
    """Compute y in the type of z."""
    return leaky(_normalised(maxima).astype(maxima.best.dtype))


def _normalised(maxima: Maxima):
    best, mean, var, scale, bias = maxima
    factor = scale * lax.rsqrt(var + EPSILON)
    return wide(best) * factor + (bias - mean * factor)


def pull(maxima: Maxima, gradient, count: int) -> Pulled:
    """Compute the gradients from that of y; z has `count` values per channel."""
    root = lax.rsqrt(maxima.var + EPSILON)
    factor = maxima.scale * root
    du = wide(gradient) * jnp.where(_normalised(maxima) > 0, 1, 0.1)
    bias = du.sum((0, 1, 2))
    scale = (du * (wide(maxima.best) - maxima.mean)).sum((0, 1, 2)) * root
    slope = -factor * root * scale / count
    start = -factor * bias / count - slope * maxima.mean
    return Pulled(factor * du, slope, start, scale, bias)
