"""The layers a network is made of. A network is a tuple of them, in the order of Darknet's .cfg.

The position in the tuple is the number that Darknet prints, counts and routes by, so a table, a
.cfg and a .weights file can be compared line by line.
"""

from typing import NamedTuple


class Conv(NamedTuple):
    """A convolution, zero-padded by size // 2, with batch normalisation or a bias."""

    filters: int
    size: int = 3
    stride: int = 1
    batch_norm: bool = True
    activation: str = "leaky"  # or "linear"
    name: str = ""  # of its parameters: its place in the network


class MaxPool(NamedTuple):
    """Maximum over size x size windows; size - 1 rows and columns of padding in all."""

    size: int = 2
    stride: int = 2


class Route(NamedTuple):
    """The outputs of other layers, concatenated along channels; negative counts back from here."""

    layers: tuple[int, ...]


class Reorg(NamedTuple):
    """Moves stride x stride neighbours into channels, in Darknet's order."""

    stride: int = 2


Layer = Conv | MaxPool | Route | Reorg
Table = tuple[Layer, ...]


def scale_width(table: Table, width: float) -> Table:
    """`table` with the filters of every convolution but the last times `width`, at least 1.

    Filters are rounded to the nearest whole number; in front of a Reorg to the nearest multiple of
    stride**2, which is what it can deal out.

    Raises:
        ValueError: `width` is not above 0.
    """
    if not width > 0:
        raise ValueError(f"width must be above 0, got {width}; 1.0 is the published network.")
    last = max(i for i, layer in enumerate(table) if isinstance(layer, Conv))
    followers = (*table[1:], None)
    return tuple(
        layer._replace(filters=_scaled(layer.filters, width, follower))
        if isinstance(layer, Conv) and i != last
        else layer
        for i, (layer, follower) in enumerate(zip(table, followers, strict=True))
    )


def _scaled(filters: int, width: float, follower: Layer | None) -> int:
    multiple = follower.stride**2 if isinstance(follower, Reorg) else 1
    return max(1, round(filters * width / multiple)) * multiple


def downsampling(table: Table) -> int:
    """How many input pixels the coarsest layer of `table` has per cell, in each direction."""
    factors: list[int] = []
    for layer in table:
        before = factors[-1] if factors else 1
        if isinstance(layer, Route):
            factors.append(factors[layer.layers[0]])
        else:
            factors.append(before * getattr(layer, "stride", 1))
    return max(factors)
