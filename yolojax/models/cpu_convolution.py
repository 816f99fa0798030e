"""3x3 convolutions on CPU: the same values, and a gradient of the kernel that is a product.

XLA on CPU computes that gradient as a convolution with a window as large as the map, which is slow
where maps are large. As the product of what each window saw and the gradient of the output it is
two to ten times as fast (docs/performance_cpu.md).
"""

import jax
import jax.numpy as jnp
from jax import lax

BLOCK = 2 << 20  # bytes of windows at a time: about what the cores' second-level caches hold
LEAST_SIDE = 20  # below it, XLA's own form is as fast
LEAST_WORK = 1 << 26  # multiplications; below it no form takes long


def convolve_plain(x, kernel):
    """`convolve_3x3` in XLA's own operation, also for the gradients."""
    return lax.conv_general_dilated(
        x, kernel, (1, 1), [(1, 1)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def is_worth_it(x, kernel) -> bool:
    """Whether shapes and type of x [B, H, W, in] and kernel [3, 3, in, out] gain by the product."""
    side, work = min(x.shape[1:3]), x.size * kernel.size // x.shape[-1]
    return x.dtype == jnp.float32 and side >= LEAST_SIDE and work >= LEAST_WORK


@jax.custom_vjp
def convolve_3x3(x, kernel):
    """x [B, H, W, in] with kernel [3, 3, in, out], one zero around -> [B, H, W, out]."""
    return convolve_plain(x, kernel)


def _forward(x, kernel):
    return convolve_plain(x, kernel), (x, kernel)


def _backward(residuals, gradient):
    x, kernel = residuals
    _, pull = jax.vjp(lambda x: convolve_plain(x, kernel), x)
    return *pull(gradient), kernel_gradient(x, gradient)


convolve_3x3.defvjp(_forward, _backward)


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
        windows = [seen[:, i : i + rows, j : j + w] for i in range(3) for j in range(3)]
        windows = jnp.concatenate(windows, axis=-1).reshape(-1, 9 * c)
        return total + windows.T @ pulled.reshape(-1, out)

    total = lax.fori_loop(0, blocks, add, jnp.zeros((9 * c, out), x.dtype))
    return total.reshape(3, 3, c, out)


def rows_of(height: int, row_bytes: int, block: int) -> int:
    """Rows of a block: the most that fit into it, at least 1, shared out evenly over `height`."""
    most = min(max(block // row_bytes, 1), height)
    return -(-height // -(-height // most))
