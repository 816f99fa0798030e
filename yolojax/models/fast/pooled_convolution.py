"""A convolution and its max-pool on CPU, as products of matrices, a block of rows at a time.

XLA writes the output of a convolution at full size, the largest array of a network; here the input
of the pool stays in the caches. For few input channels one product has the outputs at all four
positions of a pool window. For others these are the outputs of a tile in Winograd's form.
"""

from functools import partial, reduce

import chex
import jax
import jax.numpy as jnp
from jax import lax

from yolojax.models.fast import winograd
from yolojax.models.fast.cpu_convolution import BLOCK, rows_of

PLACES = ((0, 0), (0, 1), (1, 0), (1, 1))  # of a window; the first wins a tie
FEW = 4  # input channels; with more, the zeros in the wider kernel cost too much
MOST_IN, MOST_OUT = 64, 128  # channels; with more, two layers are as fast
WIDE_OUT, WIDE_SIDE = 64, 80  # with more output channels, so are they on smaller maps


def suits(x, kernel) -> bool:
    """Return whether `convolve_and_pool` is faster for x [B, H, W, in] and kernel."""
    (_, h, w, c), out = x.shape, kernel.shape[-1]
    large = out <= WIDE_OUT or min(h, w) >= WIDE_SIDE
    return h % 2 == w % 2 == 0 and c <= MOST_IN and out <= MOST_OUT and large


def convolve_and_pool(x, kernel):
    """Compute the 2x2 max-pool [B, H / 2, W / 2, out] of the 3x3 convolution of x [B, H, W, in].

    Padding is 1, H and W are even; kernel is [3, 3, in, out], or its `winograd.transform`.
    """
    chex.assert_rank([x, kernel], [4, {3, 4}])
    transformed = kernel.ndim == 3
    if x.shape[-1] <= FEW and not transformed:
        return by_blocks(x, 8, partial(_by_four_places, kernel_at_places(kernel)))
    kernel = kernel if transformed else winograd.transform(kernel)
    # Tiles hold 8 times as many values; for them blocks of twice the bytes are faster.
    return by_blocks(x, 4, partial(_by_tiles, kernel))


def _by_four_places(kernel, seen, rows: int, columns: int):
    y = windows(seen, rows, columns) @ kernel.reshape(-1, kernel.shape[-1])
    return y.reshape(*y.shape[:3], 4, -1).max(3)


def _by_tiles(transformed, seen, rows: int, columns: int):
    m = jnp.einsum("atc,aco->ato", winograd.tiles_of(seen), transformed)
    y = reduce(jnp.maximum, (y for line in winograd.outputs_of(m) for y in line))
    return y.reshape(len(seen), rows, columns, -1)


def kernel_at_places(kernel):
    """Map [3, 3, in, out] to [4, 4, in, 4 * out]: the outputs at the middle of a 4x4 window."""
    moved = [jnp.pad(kernel, ((i, 1 - i), (j, 1 - j), (0, 0), (0, 0))) for i, j in PLACES]
    return jnp.concatenate(moved, axis=-1)


def by_blocks(x, values: int, product):
    """Apply `product` to blocks of rows of x [B, H, W, C] -> [B, H / 2, W / 2, ...].

    Its arguments are rows of padded x, the number of output rows, and W / 2. Its windows hold
    `values` times as many values as those rows.
    """
    rows, blocks, padded = split_rows(x, values)
    product = partial(product, rows=rows, columns=x.shape[2] // 2)

    def fill(i, y):
        return lax.dynamic_update_slice_in_dim(
            y, product(seen_by(padded, i, rows)), i * rows, axis=1
        )

    block = jax.eval_shape(product, seen_by(padded, 0, rows))
    first = jnp.zeros((len(x), blocks * rows, *block.shape[2:]), x.dtype)
    return lax.fori_loop(0, blocks, fill, first)


def split_rows(x, values: int):
    """Return (output rows of a block, blocks, x [B, H, W, C] padded by 1); see `by_blocks`.

    Blocks are equal: their rows divide H / 2.
    """
    b, h, w, c = x.shape
    most = rows_of(h // 2, x.dtype.itemsize * b * w * c * values, BLOCK)
    rows = next(n for n in range(most, 0, -1) if h // 2 % n == 0)
    return rows, h // 2 // rows, jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))


def seen_by(padded, i, rows: int):
    """Return the 2 * rows + 2 rows of padded that block `i` reads."""
    return lax.dynamic_slice_in_dim(padded, 2 * rows * i, 2 * rows + 2, axis=1)


def windows(padded, rows: int, columns: int):
    """Return the 4x4 windows of padded with stride 2: [B, rows, columns, 16 * C]."""
    seen = [
        padded[:, i : i + 2 * rows : 2, j : j + 2 * columns : 2] for i in range(4) for j in range(4)
    ]
    return jnp.concatenate(seen, axis=-1)
