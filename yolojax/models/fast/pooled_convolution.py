"""A convolution and its max-pool on CPU, as products of matrices, a block of rows at a time.

XLA writes the output of a convolution at full size, the largest arrays of a network; here what goes
into the pool stays in the caches. Where few channels come in, one product has the outputs at all
four places of a window of the pool; else these are those of a tile, by Winograd's form.
"""

from functools import partial, reduce

import jax
import jax.numpy as jnp
from jax import lax

from yolojax.models.fast import winograd
from yolojax.models.fast.cpu_convolution import BLOCK, rows_of

PLACES = ((0, 0), (0, 1), (1, 0), (1, 1))  # of a window, in the order in which ties are won
FEW = 4  # channels in; with more, the zeros in the wider kernel cost too much
MOST_IN, MOST_OUT = 64, 128  # channels; with more, convolution and pool are as quick apart
WIDE_OUT, WIDE_SIDE = 64, 80  # with more channels out than that, maps of smaller sides too


def suits(x, kernel) -> bool:
    """Whether `convolve_and_pool` is the quicker way for x [B, H, W, in] and kernel."""
    (_, h, w, c), out = x.shape, kernel.shape[-1]
    large = out <= WIDE_OUT or min(h, w) >= WIDE_SIDE
    return h % 2 == w % 2 == 0 and c <= MOST_IN and out <= MOST_OUT and large


def convolve_and_pool(x, kernel):
    """2x2 max-pool of the 3x3 convolution of x [B, H, W, in] -> [B, H / 2, W / 2, out].

    One zero around; H and W even; kernel [3, 3, in, out], or what `winograd.transform` made of it.
    """
    transformed = kernel.ndim == 3
    if x.shape[-1] <= FEW and not transformed:
        return by_blocks(x, 8, partial(_by_four_places, kernel_at_places(kernel)))
    kernel = kernel if transformed else winograd.transform(kernel)
    # Tiles hold 8 times as many; blocks of twice the bytes are quicker for them.
    return by_blocks(x, 4, partial(_by_tiles, kernel))


def _by_four_places(kernel, seen, rows: int, columns: int):
    y = windows(seen, rows, columns) @ kernel.reshape(-1, kernel.shape[-1])
    return y.reshape(*y.shape[:3], 4, -1).max(3)


def _by_tiles(transformed, seen, rows: int, columns: int):
    m = jnp.einsum("atc,aco->ato", winograd.tiles_of(seen), transformed)
    y = reduce(jnp.maximum, (y for line in winograd.outputs_of(m) for y in line))
    return y.reshape(len(seen), rows, columns, -1)


def kernel_at_places(kernel):
    """[3, 3, in, out] -> [4, 4, in, 4 * out]: of a 4x4 window the outputs at its middle places."""
    moved = [jnp.pad(kernel, ((i, 1 - i), (j, 1 - j), (0, 0), (0, 0))) for i, j in PLACES]
    return jnp.concatenate(moved, axis=-1)


def by_blocks(x, values: int, product):
    """What `product` makes of all rows of x [B, H, W, C] -> [B, H / 2, W / 2, ...].

    It is called with rows of padded x, with how many rows it is to give, and with W / 2; its
    windows hold `values` times as many numbers as those rows.
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
    """(rows of the output in a block, blocks, x [B, H, W, C] with one zero around); see by_blocks.

    Blocks are equal: the rows of one divide H / 2.
    """
    b, h, w, c = x.shape
    most = rows_of(h // 2, x.dtype.itemsize * b * w * c * values, BLOCK)
    rows = next(n for n in range(most, 0, -1) if h // 2 % n == 0)
    return rows, h // 2 // rows, jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))


def seen_by(padded, i, rows: int):
    """The rows of padded that block `i` sees, 2 * rows + 2 of them."""
    return lax.dynamic_slice_in_dim(padded, 2 * rows * i, 2 * rows + 2, axis=1)


def windows(padded, rows: int, columns: int):
    """The 4x4 windows of padded, with stride 2: [B, rows, columns, 16 * C]."""
    seen = [
        padded[:, i : i + 2 * rows : 2, j : j + 2 * columns : 2] for i in range(4) for j in range(4)
    ]
    return jnp.concatenate(seen, axis=-1)
