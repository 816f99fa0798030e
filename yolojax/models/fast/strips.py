"""The first layers on strips of the images, in training on TPUs with few images at a time.

TPUs compute on 128 lanes. The 32 and 64 channels of the first layers leave most lanes empty; 128
images fill them. Fewer images are cut into strips of rows. Strip s of image i is at s + i * strips
of the batch, so each device has the strips of its own images and nothing is sent. Each strip
includes the rows next to it, so values are equal up to rounding.
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
MOST = 8  # strips of an image
POOLS = 3  # max-pools on strips at most; behind them channels fill the lanes
BATCH_LAST, CHANNELS_LAST = Layout((1, 2, 3, 0)), Layout((1, 2, 0, 3))  # of [B, H, W, C]


def strips_for(images: int) -> int:
    """Return the strips per image, a power of 2, with which `images` fill the lanes; 1: whole."""
    return max(n for n in (1, 2, 4, MOST) if n == 1 or n * images <= LANES)


def units_for(
    table: Table, size: tuple[int, int], strips: int, mesh: Mesh | None = None
) -> dict[int, Callable]:
    """Return functions (x, kernel, scale, bias) -> (y, mean, var) for convolutions, by index.

    They include normalisation and activation, and the max-pool where `pooled` has the index. Those
    on strips are for TPUs only; the others choose a form by platform. `strips` is reduced until it
    divides `size` (height, width). `mesh` is the mesh over which the batch is split, if it is.
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
    """Return the indices of the convolutions that run on `strips` of an image of `size`, or [].

    The first forms a unit; the last is the one before the POOLS-th max-pool, or before the second.
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
    """Return whether layer `at` can run on strips, which no other layer may read."""
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
    """Map images [B, H, W, in] to (strips [B * strips, H / strips / 2, W / 2, C], mean, var)."""
    return unit(cut(x, strips).astype(kernel.dtype), kernel, scale, bias, rows=0)


def in_unit(x, kernel, scale, bias, *, strips: int):
    """Map strips [N, R, W, in] to (strips [N, R / 2, W / 2, C], mean, var)."""
    return unit(with_neighbours(x, strips), kernel, scale, bias, rows=0)


def last_unit(x, kernel, scale, bias, *, strips: int, mesh: Mesh | None):
    """Map strips [N, R, W, in] to (maps [N / strips, strips * R / 2, W / 2, C], mean, var)."""
    y, mean, var = in_unit(x, kernel, scale, bias, strips=strips)
    return joined(y, strips, mesh), mean, var


def in_layer(x, kernel, scale, bias, *, strips: int):
    """Map strips [N, R, W, in] to (strips [N, R, W, C], mean, var), without a max-pool."""
    if kernel.shape[0] == 1:
        z = convolve(x, kernel)
    else:
        z = convolve_rows(with_neighbours(x, strips), kernel, 1, rows=0)
    y, mean, var = batch_norm(z, scale, bias)
    return leaky(y), mean, var


def cut(x, strips: int):
    """Cut [B, H, W, C] into [B * strips, H / strips + 2, W, C], with the rows next to them."""
    rows = x.shape[1] // strips
    x = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)))
    parts = [x[:, i * rows : (i + 1) * rows + 2] for i in range(strips)]
    return jnp.stack(parts, 1).reshape(-1, rows + 2, *x.shape[2:])


def joined(y, strips: int, mesh: Mesh | None):
    """Join strips [B * strips, R, W, C] to maps [B, strips * R, W, C], with channels in the lanes.

    Without the constraints XLA moves the channels into the lanes one layer earlier, where the array
    is four times as large. Where the batch is split, each device joins its own strips; XLA gathers
    arrays with a layout constraint.
    """

    def join(y):
        y = with_layout_constraint(y, CHANNELS_LAST if y.shape[-1] >= LANES else BATCH_LAST)
        y = y.reshape(-1, strips * y.shape[1], *y.shape[2:])
        return with_layout_constraint(y, CHANNELS_LAST)

    batch = PartitionSpec("data")
    return (jax.shard_map(join, mesh=mesh, in_specs=batch, out_specs=batch) if mesh else join)(y)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def with_neighbours(y, strips: int):
    """Extend strips [N, R, W, C] to [N, R + 2, W, C] by the rows next to them, or zeros."""
    above, below = _shifted(y[:, -1:], 1, strips), _shifted(y[:, :1], -1, strips)
    return jnp.concatenate([above, y, below], 1)


def _neighbours_forward(y, strips):
    return with_neighbours(y, strips), None


def _neighbours_backward(strips, _, gradient):
    """Add the gradients of the added rows to those of the rows they were copied from.

    XLA fuses sums with padded rows into the next operation. A concatenation, and JAX's gradient of
    slices, would each be a pass over memory.
    """
    rows = gradient.shape[1] - 2
    first, last = _shifted(gradient[:, -1:], 1, strips), _shifted(gradient[:, :1], -1, strips)
    return (gradient[:, 1:-1] + _placed(first, 0, rows) + _placed(last, rows - 1, rows),)


with_neighbours.defvjp(_neighbours_forward, _neighbours_backward)


def _shifted(rows, by: int, strips: int):
    """Shift rows [N, 1, W, C] to the next strip (`by` 1) or the previous one (-1) of an image."""
    of_image = rows.reshape(-1, strips, *rows.shape[1:])
    none = jnp.zeros_like(of_image[:, :1])
    parts = [none, of_image[:, :-1]] if by == 1 else [of_image[:, 1:], none]
    return jnp.concatenate(parts, 1).reshape(rows.shape)


def _placed(row, at: int, rows: int):
    return jnp.pad(row, ((0, 0), (at, rows - 1 - at), (0, 0), (0, 0)))
