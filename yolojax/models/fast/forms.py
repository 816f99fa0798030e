"""The forms in which a network runs its layers: plain, or those that suit the platform."""

from collections.abc import Callable
from typing import NamedTuple

from jax.sharding import Mesh

from yolojax.models import functional
from yolojax.models.fast.cpu_convolution import convolve
from yolojax.models.fast.pooling import max_pool
from yolojax.models.fast.strips import units_for
from yolojax.models.layers import Table

FAST_FORMS = ("auto", "off")  # the values of config.model.fast_forms


class Forms(NamedTuple):
    """The functions of one network."""

    convolve: Callable  # functional.convolve, or another form of it
    max_pool: Callable  # likewise
    # (x, kernel, scale, bias) -> (y, mean, var) of a convolution, by its index in the table: with
    # normalisation and activation, and with the max-pool behind it where there is one.
    units: dict[int, Callable]


def choose_forms(
    fast_forms: str,
    table: Table,
    image_size: tuple[int, int],
    *,
    units: bool,
    strips: int = 1,
    mesh: Mesh | None = None,
) -> Forms:
    """Return the forms for the layers of `table`.

    All forms compute the same values up to rounding; each is tested against the plain one. Which
    one runs depends on platform, shapes and type.

    Args:
        fast_forms: "auto", or "off" for the plain layers only.
        table: the layers.
        image_size: (height, width).
        units: whether layers may be joined into units, which is for training.
        strips: as Network.strips.
        mesh: as Network.mesh.
    """
    if fast_forms == "off":
        return Forms(functional.convolve, functional.max_pool, {})
    joined = units_for(table, image_size, strips, mesh) if units else {}
    return Forms(convolve, max_pool, joined)
