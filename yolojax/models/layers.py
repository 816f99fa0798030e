"""The layers a network is made of. A network is a tuple of them, in the order of Darknet's .cfg.

The position in the tuple is the number that Darknet prints, counts and routes by, so a table, a
.cfg and a .weights file can be compared line by line. What closes a .cfg (softmax, cost, region,
detection) is no layer here: it says what the output means, which is a head's business.
"""

import math
from itertools import pairwise
from typing import NamedTuple


class Conv(NamedTuple):
    """A convolution, zero-padded, with batch normalisation or a bias."""

    filters: int
    size: int = 3
    stride: int = 1
    batch_norm: bool = True
    activation: str = "leaky"  # a key of layers.ACTIVATIONS
    name: str = ""  # of its parameters: its place in the network
    padding: int | None = None  # zeros on each side; None: size // 2


class Local(NamedTuple):
    """A convolution with a kernel of its own at each place (YOLOv1 since 2016)."""

    filters: int
    size: int = 3
    stride: int = 1
    activation: str = "leaky"
    name: str = ""
    padding: int = 1  # zeros on each side


class Connected(NamedTuple):
    """A fully connected layer; a map [H, W, C] goes in channel by channel, as Darknet has it."""

    outputs: int
    batch_norm: bool = False
    activation: str = "leaky"
    name: str = ""


class MaxPool(NamedTuple):
    """Maximum over size x size windows."""

    size: int = 2
    stride: int = 2
    padding: int | None = None  # rows and columns in all; None: size - 1


class AvgPool(NamedTuple):
    """The mean over all places: a map of one cell."""


class Route(NamedTuple):
    """The outputs of other layers, concatenated along channels; negative counts back from here."""

    layers: tuple[int, ...]


class Reorg(NamedTuple):
    """Moves stride x stride neighbours into channels, in Darknet's order."""

    stride: int = 2


class Dropout(NamedTuple):
    """Sets a share of the values to 0 in training and scales the others up by 1 / (1 - rate)."""

    rate: float = 0.5


class Crop(NamedTuple):
    """The middle of the images, moved from 0..1 to -1..1 (YOLOv1 of the paper)."""

    height: int = 0  # 0: all of it
    width: int = 0


Layer = Conv | Local | Connected | MaxPool | AvgPool | Route | Reorg | Dropout | Crop
Table = tuple[Layer, ...]
WITH_PARAMETERS = (Conv, Local, Connected)


def scale_width(table: Table, width: float) -> Table:
    """`table` with the filters of every layer that has any, but the last, times `width`.

    Filters (of a Connected: outputs) are rounded to the nearest whole number, at least 1; in front
    of a Reorg to the nearest multiple of stride**2, which is what it can deal out.

    Raises:
        ValueError: `width` is not above 0.
    """
    if not width > 0:
        raise ValueError(f"width must be above 0, got {width}; 1.0 is the published network.")
    last = max(i for i, layer in enumerate(table) if isinstance(layer, WITH_PARAMETERS))
    followers = (*table[1:], None)
    return tuple(
        _scaled(layer, width, follower)
        if isinstance(layer, WITH_PARAMETERS) and i != last
        else layer
        for i, (layer, follower) in enumerate(zip(table, followers, strict=True))
    )


def _scaled(layer: Layer, width: float, follower: Layer | None) -> Layer:
    field = "outputs" if isinstance(layer, Connected) else "filters"
    multiple = follower.stride**2 if isinstance(follower, Reorg) else 1
    value = max(1, round(getattr(layer, field) * width / multiple)) * multiple
    return layer._replace(**{field: value})


def routed(table: Table) -> frozenset[int]:
    """The places in `table` whose outputs a Route reads."""
    routes = ((at, layer) for at, layer in enumerate(table) if isinstance(layer, Route))
    return frozenset(i % at for at, route in routes for i in route.layers)


def before_pool(table: Table) -> frozenset[int]:
    """The places in `table` of the 3x3 convolutions that only a 2x2 max-pool reads."""
    pairs = enumerate(pairwise(table))
    return frozenset(at for at, pair in pairs if _is_before_pool(*pair)) - routed(table)


def _is_before_pool(layer: Layer, follower: Layer) -> bool:
    if not (isinstance(layer, Conv) and isinstance(follower, MaxPool)):
        return False
    sizes = (layer.size, layer.stride, follower.size, follower.stride)
    return sizes == (3, 1, 2, 2) and {layer.padding, follower.padding} <= {None, 1}


def downsampling(table: Table) -> int:
    """How many input pixels the coarsest map of `table` has per cell, in each direction."""
    factors: list[int] = []
    for layer in table:
        before = factors[-1] if factors else 1
        if isinstance(layer, Route):
            factors.append(factors[layer.layers[0]])
        elif isinstance(layer, Connected | AvgPool):
            break  # from here on there are no places
        else:
            factors.append(before * getattr(layer, "stride", 1))
    return math.lcm(*factors)
