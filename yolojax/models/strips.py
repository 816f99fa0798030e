"""The first two pool units on strips of the images, where a TPU has few images at a time.

TPUs compute on 128 numbers side by side. Where these are channels, the 32 and 64 of the first
layers leave most of the places empty; 128 images fill them. So fewer images are cut into strips of
rows, strip s of image i at s + i * strips of the batch: a device that has an image has its strips,
and nothing is sent. Every strip sees the rows next to it, so no number changes but by rounding.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint
from jax.sharding import Mesh, PartitionSpec

from yolojax.models.pool_unit import pool_unit, pooled, unit
from yolojax.models.tables import Table, routed

LANES = 128
MOST = 8  # of an image
FIRST, SECOND = 0, 2  # the places of the two units in a table
BATCH_LAST, CHANNELS_LAST = Layout((1, 2, 3, 0)), Layout((1, 2, 0, 3))  # of [B, H, W, C]


def strips_for(images: int) -> int:
    """How many strips of each of `images` fill the lanes, a power of 2; 1: none are needed."""
    return max(n for n in (1, 2, 4, MOST) if n == 1 or n * images <= LANES)


def units_for(
    table: Table, size: tuple[int, int], strips: int, mesh: Mesh | None = None
) -> dict[int, Callable]:
    """The function (x, kernel, scale, bias) -> (y, mean, var) of each unit in `table`, by place.

    With `strips`, which are fewer if `size` (height, width) cannot be divided so, the first two are
    for TPUs alone, unless something reads between them; the others choose their form by the
    platform. `mesh` is what the batch is split over, if it is.
    """
    units = dict.fromkeys(pooled(table), pool_unit)
    height, width = size
    while strips > 1 and (height % (4 * strips) or width % 4):  # each of two pools halves a strip
        strips //= 2
    if strips > 1 and {FIRST, SECOND} <= units.keys() and FIRST + 1 not in routed(table):
        units[FIRST] = partial(first_unit, strips=strips)
        units[SECOND] = partial(second_unit, strips=strips, mesh=mesh)
    return units


def first_unit(x, kernel, scale, bias, *, strips: int):
    """Images [B, H, W, in] -> (strips [B * strips, H / strips / 2 + 2, W / 2, C], mean, var)."""
    y, mean, var = unit(cut(x, strips), kernel, scale, bias, rows=0)
    return with_neighbours(y, strips), mean, var


def second_unit(x, kernel, scale, bias, *, strips: int, mesh: Mesh | None):
    """What `first_unit` returns -> (whole maps [B, H / 4, W / 4, C'], mean, var)."""
    y, mean, var = unit(x, kernel, scale, bias, rows=0)
    return joined(y, strips, mesh), mean, var


def cut(x, strips: int):
    """[B, H, W, C] -> [B * strips, H / strips + 2, W, C]: a row more on both sides, or zeros."""
    rows = x.shape[1] // strips
    x = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)))
    parts = [x[:, i * rows : (i + 1) * rows + 2] for i in range(strips)]
    return jnp.stack(parts, 1).reshape(-1, rows + 2, *x.shape[2:])


def joined(y, strips: int, mesh: Mesh | None):
    """Strips [B * strips, R, W, C], in the lanes -> maps [B, strips * R, W, C], channels there.

    Their gradient goes the other way. Not told so, XLA has the channels in the lanes from the
    second convolution on, and rearranges its output, which is four times as large. Each device
    joins its own: where the batch is split, XLA would else gather what has a layout.
    """

    def join(y):
        y = with_layout_constraint(y, BATCH_LAST)
        y = y.reshape(-1, strips * y.shape[1], *y.shape[2:])
        return with_layout_constraint(y, CHANNELS_LAST)

    batch = PartitionSpec("data")
    return (jax.shard_map(join, mesh=mesh, in_specs=batch, out_specs=batch) if mesh else join)(y)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def with_neighbours(y, strips: int):
    """Strips [N, R, W, C] -> [N, R + 2, W, C], with the rows next to them, or zeros."""
    above, below = _shifted(y[:, -1:], 1, strips), _shifted(y[:, :1], -1, strips)
    return jnp.concatenate([above, y, below], 1)


def _neighbours_forward(y, strips):
    return with_neighbours(y, strips), None


def _neighbours_backward(strips, _, gradient):
    """Each row that was lent gives its gradient back.

    Sums with padded rows become part of what follows; a concatenation, and what JAX derives for
    the slices, would each be a pass over memory.
    """
    rows = gradient.shape[1] - 2
    first, last = _shifted(gradient[:, -1:], 1, strips), _shifted(gradient[:, :1], -1, strips)
    return (gradient[:, 1:-1] + _placed(first, 0, rows) + _placed(last, rows - 1, rows),)


with_neighbours.defvjp(_neighbours_forward, _neighbours_backward)


def _shifted(rows, by: int, strips: int):
    """Rows [N, 1, W, C] -> those of the strip before (`by` 1) or after (-1) of the same image."""
    of_image = rows.reshape(-1, strips, *rows.shape[1:])
    none = jnp.zeros_like(of_image[:, :1])
    parts = [none, of_image[:, :-1]] if by == 1 else [of_image[:, 1:], none]
    return jnp.concatenate(parts, 1).reshape(rows.shape)


def _placed(row, at: int, rows: int):
    return jnp.pad(row, ((0, 0), (at, rows - 1 - at), (0, 0), (0, 0)))
