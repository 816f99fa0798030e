"""3x3 convolutions on CPU: the same values, with products of matrices where they are quicker.

XLA on CPU computes the gradient of a kernel as a convolution with a window as large as the map,
which is slow where maps are large; as the product of what each window saw and the gradient of the
output it takes a half to a tenth of the time. With many channels all three convolutions, forward
and back, are quicker by Winograd's form. docs/notes/performance_cpu.md has the figures.
"""

import jax
import jax.numpy as jnp
from jax import lax

from yolojax.models.fast import winograd

BLOCK = 2 << 20  # bytes of windows at a time: about what the cores' second-level caches hold
LARGE_SIDE = 20  # from it on a map is large
LEAST_WORK = 1 << 26  # multiplications; below it no form takes long


def convolve_plain(x, kernel):
    """x [B, H, W, in] with kernel [3, 3, in, out], one zero around -> [B, H, W, out], by XLA."""
    return lax.conv_general_dilated(
        x, kernel, (1, 1), [(1, 1)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def cpu_form(x, kernel):
    """The form that shapes and type ask for; None: XLA's own is as good."""
    work = x.size * kernel.size // x.shape[-1]
    if x.dtype != jnp.float32 or work < LEAST_WORK:
        return None
    if min(kernel.shape[2:]) >= winograd.LEAST_CHANNELS:
        return winograd.convolve_in_training
    return convolve_large if min(x.shape[1:3]) >= LARGE_SIDE else None


@jax.custom_vjp
def convolve_large(x, kernel):
    """`convolve_plain`; the gradient of the kernel is a sum of products."""
    return convolve_plain(x, kernel)


def _forward_large(x, kernel):
    return convolve_plain(x, kernel), (x, kernel)


def _backward_large(residuals, gradient):
    x, kernel = residuals
    _, pull = jax.vjp(lambda x: convolve_plain(x, kernel), x)
    return *pull(gradient), kernel_gradient(x, gradient)


convolve_large.defvjp(_forward_large, _backward_large)


def kernel_gradient(x, gradient, block: int = BLOCK):
    """Of x [B, H, W, in] and the output's gradient [B, H, W, out] -> [3, 3, in, out].

    The windows of some rows at a time are laid out as a matrix of at most `block` bytes, or those
    of one row; the last block may have fewer rows, and is padded with rows of gradient 0.
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
    """Rows of a block: the most that fit into it, at least 1, shared out evenly over `height`."""
    most = min(max(block // row_bytes, 1), height)
    return -(-height // -(-height // most))


def _windows(padded, h: int, w: int):
    """The windows of padded [B, h + 2, w + 2, C], a row of 9 * C for each place, [B * h * w, :]."""
    seen = [padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)]
    return jnp.concatenate(seen, axis=-1).reshape(-1, 9 * padded.shape[-1])
