"""A convolution and its max-pool on CPU, as products of matrices, a block of rows at a time.

Where few channels come out, XLA runs the convolution on one thread and writes its output at full
size, the largest arrays of a network; here what goes into the pool stays in the caches. Where few
channels come in, one product has the outputs at all four places of a window of the pool.
"""

import jax.numpy as jnp
from jax import lax

from yolojax.models.cpu_convolution import BLOCK, rows_of

FEW = 4  # channels in; with more, the zeros in the wider kernel cost too much
MOST_IN, MOST_OUT = 32, 64  # channels; with more, XLA's own convolution is as good


def suits(x, kernel) -> bool:
    """Whether `convolve_and_pool` is the quicker way for x [B, H, W, in] and kernel."""
    (_, h, w, c), out = x.shape, kernel.shape[-1]
    return h % 2 == w % 2 == 0 and c <= MOST_IN and out <= MOST_OUT


def convolve_and_pool(x, kernel):
    """2x2 max-pool of the 3x3 convolution of x [B, H, W, in] -> [B, H / 2, W / 2, out].

    One zero around; H and W even; kernel [3, 3, in, out].
    """
    (b, h, w, c), out = x.shape, kernel.shape[-1]
    product, values = (_at_four_places, 8 * c) if c <= FEW else (_at_each_place, 18 * c)
    rows = rows_of(h // 2, x.dtype.itemsize * b * w * values, BLOCK)
    blocks = -(-h // 2 // rows)
    more = 2 * blocks * rows - h
    x = jnp.pad(x, ((0, 0), (1, 1 + more), (1, 1), (0, 0)))

    def block(i):
        seen = lax.dynamic_slice_in_dim(x, 2 * rows * i, 2 * rows + 2, axis=1)
        return product(seen, kernel, rows, w // 2)

    y = jnp.moveaxis(lax.map(block, jnp.arange(blocks)), 0, 1)
    return y.reshape(b, blocks * rows, w // 2, out)[:, : h // 2]


def _at_four_places(padded, kernel, rows: int, columns: int):
    """The pooled block of padded [B, 2 * rows + 2, 2 * columns + 2, in]: 4x4 windows, 2 apart."""
    windows = [
        padded[:, i : i + 2 * rows : 2, j : j + 2 * columns : 2] for i in range(4) for j in range(4)
    ]
    y = jnp.concatenate(windows, axis=-1) @ kernel_at_places(kernel)
    return y.reshape(len(padded), rows, columns, 4, -1).max(3)


def _at_each_place(padded, kernel, rows: int, columns: int):
    """The same with 3x3 windows."""
    windows = [padded[:, i : i + 2 * rows, j : j + 2 * columns] for i in range(3) for j in range(3)]
    y = jnp.concatenate(windows, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])
    return y.reshape(len(padded), rows, 2, columns, 2, -1).max((2, 4))


def kernel_at_places(kernel):
    """[3, 3, in, out] -> [16 * in, 4 * out]: of 4x4 values the outputs at the middle 2x2 places."""
    places = [(i, j) for i in range(2) for j in range(2)]
    moved = [jnp.pad(kernel, ((i, 1 - i), (j, 1 - j), (0, 0), (0, 0))) for i, j in places]
    return jnp.stack(moved, axis=-2).reshape(16 * kernel.shape[2], -1)
