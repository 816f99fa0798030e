"""Convolutions on CPU as products of matrices, where these are faster.

XLA on CPU computes the gradient of a 3x3 kernel as a convolution with a window as large as the map.
For large maps the product of all windows and the gradient of the output takes a half to a tenth of
the time. With many channels Winograd's form is faster in all three convolutions, forward and
backward. docs/notes/performance_cpu.md has the figures.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from yolojax.models import functional
from yolojax.models.fast import winograd
from yolojax.ops.platforms import by_platform

BLOCK = 2 << 20  # bytes of windows at a time: about what the cores' second-level caches hold
LARGE_SIDE = 20  # from it on a map is large
LEAST_WORK = 1 << 26  # multiplications; below it no form takes long


def convolve(x, kernel, stride=1, padding=None, groups=1):
    """Compute functional.convolve in the form that suits platform, shapes and type."""
    padding = kernel.shape[0] // 2 if padding is None else padding
    plain = partial(functional.convolve, stride=stride, padding=padding, groups=groups)
    form = (*kernel.shape[:2], stride, padding, groups)
    if form == (1, 1, 1, 0, 1):
        # On CPU the product is two to three times as fast, forward and backward.
        return by_platform(x, kernel, cpu=lambda x, k: x @ k[0, 0], default=plain)
    if form == (3, 3, 1, 1, 1) and (on_cpu := cpu_form(x, kernel)):
        return by_platform(x, kernel, cpu=on_cpu, default=plain)
    return plain(x, kernel)


def cpu_form(x, kernel):
    """Return the form of a 3x3 convolution for these shapes and type; None: XLA's is as fast."""
    work = x.size * kernel.size // x.shape[-1]
    if x.dtype != jnp.float32 or work < LEAST_WORK:
        return None
    if min(kernel.shape[2:]) >= winograd.LEAST_CHANNELS:
        return winograd.convolve_in_training
    return convolve_large if min(x.shape[1:3]) >= LARGE_SIDE else None


@jax.custom_vjp
def convolve_large(x, kernel):
    """Convolve x with kernel [3, 3, in, out]; the gradient of the kernel is a sum of products."""
    return functional.convolve(x, kernel)


def _forward_large(x, kernel):
    return functional.convolve(x, kernel), (x, kernel)


def _backward_large(residuals, gradient):
    x, kernel = residuals
    _, pull = jax.vjp(lambda x: functional.convolve(x, kernel), x)
    return *pull(gradient), kernel_gradient(x, gradient)


convolve_large.defvjp(_forward_large, _backward_large)


def kernel_gradient(x, gradient, block: int = BLOCK):
    """Compute the gradient [3, 3, in, out] from x [B, H, W, in] and the output's [B, H, W, out].

    The windows of as many rows as fit into `block` bytes, at least one, form a matrix. The last
    block is padded with rows of gradient 0.
    """
    (b, h, w, c), out = x.shape, gradient.shape[-1]
    rows = rows_of(h, x.dtype.itemsize * b * w * 9 * c, block)
    blocks = -(-h // rows)
    more = blocks * rows - h
    x = jnp.pad(x, ((0, 0), (1, 1 + more), (1, 1), (0, 0)))
    gradient = jnp.pad(gradient, ((0, 0), (0, more), (0, 0), (0, 0)))

    def add(i, total):
        seen = lax.dynamic_slice_in_dim(x, i * rows, rows + 2, axis=1)
        pulled = lax.dynamic_slice_in_dim(gradient, i * rows, rows, axis=1)
        return total + _windows(seen, rows, w).T @ pulled.reshape(-1, out)

    first = jnp.zeros((9 * c, out), x.dtype)
    total = add(0, first) if blocks == 1 else lax.fori_loop(0, blocks, add, first)
    return total.reshape(3, 3, c, out)


def rows_of(height: int, row_bytes: int, block: int) -> int:
    """Return the rows of a block: as many as fit, at least 1, divided evenly over `height`."""
    most = min(max(block // row_bytes, 1), height)
    return -(-height // -(-height // most))


def _windows(padded, h: int, w: int):
    """Return the windows of padded [B, h + 2, w + 2, C] as a matrix [B * h * w, 9 * C]."""
    seen = [padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)]
    return jnp.concatenate(seen, axis=-1).reshape(-1, 9 * padded.shape[-1])
