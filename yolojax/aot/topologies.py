"""Describe slices of TPU pods by name, without hardware, through libtpu."""

import importlib.util
import math
import os
from typing import NamedTuple

import jax
from jax.experimental import topologies
from jax.sharding import Mesh

from yolojax.distributed.chips import CHIPS, Chip
from yolojax.distributed.sharding import make_mesh

FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
DEEP = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8")
SHAPES = {"v5e": FLAT, "v6e": FLAT, "v5p": DEEP, "v4": DEEP, "v3": FLAT}
SETTINGS = {"v4": {"chip_config_name": "megacore"}}  # a device is a chip, not one of its cores
ENVIRONMENT = {  # keep libtpu from querying a metadata server
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-1",
}
LOCK = "/tmp/libtpu_lockfile"  # written by libtpu


class Topology(NamedTuple):
    """A slice of a pod."""

    name: str  # "v5e:4x4"
    chip: Chip
    mesh: Mesh  # of all its chips


def prepare() -> None:
    """Keep JAX on the CPU and libtpu from looking for a TPU. Call this before JAX is used.

    JAX's compilation cache is disabled, since cached programs do not report their costs.
    """
    os.environ.update(ENVIRONMENT)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)


def expand(text: str) -> list[str]:
    """Expand the topologies in KIND:PART,PART,...: "v5e:1,16,8x8" -> v5e:1x1, v5e:4x4, v5e:8x8.

    Raises:
        ValueError: a part is neither a known shape nor the number of chips of one.
    """
    kind, _, parts = text.partition(":")
    return [f"{kind}:{_shape(text, kind, part)}" for part in parts.split(",")]


def _shape(text: str, kind: str, part: str) -> str:
    for shape in SHAPES.get(kind, ()):
        if part in (shape, str(chips_in(shape))):
            return shape
    known = {kind: SHAPES[kind]} if kind in SHAPES else SHAPES
    lists = "; ".join(f"{kind}: {', '.join(shapes)}" for kind, shapes in known.items())
    raise ValueError(
        f"--topology {text}: {kind}:{part} is unknown; give a shape or a number of chips of "
        f"{lists}."
    )


def chips_in(shape: str) -> int:
    """ "4x4" -> 16."""
    return math.prod(map(int, shape.split("x")))


def describe(name: str) -> Topology:
    """Describe the topology `name`, KIND:SHAPE.

    Raises:
        ValueError: libtpu is not installed, does not know `name`, or is in use.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise ValueError("libtpu, the TPU compiler, is missing: pip install 'yolojax[tpu]'.")
    kind = name.partition(":")[0]
    try:
        found = topologies.get_topology_desc(
            platform="tpu", topology_name=name, **SETTINGS.get(kind, {})
        )
    except jax.errors.JaxRuntimeError as error:
        raise ValueError(_explain(name, str(error))) from error
    return Topology(name, CHIPS[kind], make_mesh(list(found.devices)))


def _explain(name: str, error: str) -> str:
    if "lockfile" in error:
        return (
            "libtpu serves one process at a time, and another process uses it: try again when that "
            f"has ended. If there is none, remove {LOCK}."
        )
    return f"libtpu cannot describe {name}: {error}"
