"""The first layers on strips of the images, where a TPU has few images at a time.

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

from yolojax.models.fast.cpu_convolution import convolve
from yolojax.models.fast.pool_unit import convolve_rows, pool_unit, pooled, unit
from yolojax.models.functional import batch_norm, leaky
from yolojax.models.layers import Conv, Table, read_elsewhere

LANES = 128
MOST = 8  # of an image
POOLS = 3  # that strips go through at most; behind them channels fill the lanes
BATCH_LAST, CHANNELS_LAST = Layout((1, 2, 3, 0)), Layout((1, 2, 0, 3))  # of [B, H, W, C]


def strips_for(images: int) -> int:
    """How many strips of each of `images` fill the lanes, a power of 2; 1: none are needed."""
    return max(n for n in (1, 2, 4, MOST) if n == 1 or n * images <= LANES)


def units_for(
    table: Table, size: tuple[int, int], strips: int, mesh: Mesh | None = None
) -> dict[int, Callable]:
    """A function (x, kernel, scale, bias) -> (y, mean, var) for convolutions of `table`, by place.

    It normalises and activates too, and where `pooled` has the place it does the max-pool behind.
    With `strips`, which are fewer if `size` (height, width) cannot be divided so, those of the
    first layers are for TPUs alone; the others choose their form by the platform. `mesh` is what
    the batch is split over, if it is.
    """
    units = dict.fromkeys(pooled(table), pool_unit)
    while strips > 1 and not (places := places_in_strips(table, size, strips)):
        strips //= 2
    if strips > 1:
        first, *between, last = places
        kinds = {at: in_unit if at in units else in_layer for at in between}
        units |= {at: partial(kind, strips=strips) for at, kind in kinds.items()}
        units[first] = partial(first_unit, strips=strips)
        units[last] = partial(last_unit, strips=strips, mesh=mesh)
    return units


def places_in_strips(table: Table, size: tuple[int, int], strips: int) -> list[int]:
    """The places in `table` of the convolutions that `strips` of an image of `size` go through.

    The first one makes a unit; the last one is that before the POOLS-th max-pool, or else before
    the second. [] if there are none such.
    """
    ends, (height, width) = sorted(pooled(table))[:POOLS], size
    if ends[:1] != [0]:
        return []
    for pools in range(len(ends), 1, -1):  # each halves a strip
        places = range(ends[pools - 1] + 1)
        divided = height % (strips * 2**pools) == width % 2**pools == 0
        if divided and all(_suits(table, at) for at in places):
            return [at for at in places if isinstance(table[at], Conv)]
    return []


def _suits(table: Table, at: int) -> bool:
    """Whether strips can go through the layer at place `at`, where nothing else may read them."""
    if at in read_elsewhere(table):
        return False
    if {at, at - 1} & pooled(table):
        return True
    layer = table[at]
    if not (isinstance(layer, Conv) and layer.size in (1, 3)):
        return False
    kind = (layer.stride, layer.batch_norm, layer.activation, layer.groups)
    return kind == (1, True, "leaky", 1) and layer.zeros == layer.size // 2


def first_unit(x, kernel, scale, bias, *, strips: int):
    """Images [B, H, W, in] -> (strips [B * strips, H / strips / 2, W / 2, C], mean, var)."""
    return unit(cut(x, strips).astype(kernel.dtype), kernel, scale, bias, rows=0)


def in_unit(x, kernel, scale, bias, *, strips: int):
    """Strips [N, R, W, in] -> (strips [N, R / 2, W / 2, C], mean, var)."""
    return unit(with_neighbours(x, strips), kernel, scale, bias, rows=0)


def last_unit(x, kernel, scale, bias, *, strips: int, mesh: Mesh | None):
    """Strips [N, R, W, in] -> (whole maps [N / strips, strips * R / 2, W / 2, C], mean, var)."""
    y, mean, var = in_unit(x, kernel, scale, bias, strips=strips)
    return joined(y, strips, mesh), mean, var


def in_layer(x, kernel, scale, bias, *, strips: int):
    """Strips [N, R, W, in] -> (strips [N, R, W, C], mean, var), without a max-pool."""
    if kernel.shape[0] == 1:
        z = convolve(x, kernel)
    else:
        z = convolve_rows(with_neighbours(x, strips), kernel, 1, rows=0)
    y, mean, var = batch_norm(z, scale, bias)
    return leaky(y), mean, var


def cut(x, strips: int):
    """[B, H, W, C] -> [B * strips, H / strips + 2, W, C]: a row more on both sides, or zeros."""
    rows = x.shape[1] // strips
    x = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)))
    parts = [x[:, i * rows : (i + 1) * rows + 2] for i in range(strips)]
    return jnp.stack(parts, 1).reshape(-1, rows + 2, *x.shape[2:])


def joined(y, strips: int, mesh: Mesh | None):
    """Strips [B * strips, R, W, C] -> maps [B, strips * R, W, C], with channels in the lanes.

    Their gradient goes the other way. Not told so, XLA has the channels in the lanes from the last
    convolution on strips on, and rearranges its output, which is four times as large; where they
    fill the lanes, they have been there. Each device joins its own: where the batch is split, XLA
    would else gather what has a layout.
    """

    def join(y):
        y = with_layout_constraint(y, CHANNELS_LAST if y.shape[-1] >= LANES else BATCH_LAST)
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
