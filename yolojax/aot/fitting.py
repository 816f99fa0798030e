"""Propose changes that make a train step fit the memory of a chip."""

import math
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from yolojax.distributed.sharding import with_shardings
from yolojax.training.state import TrainState

GIB = 2**30
# The compiler has already reduced the memory of a program that it refuses. Tiny YOLOv2 on v5e was
# refused at 2048 images with 13 MiB each, and needed 15 MiB each at 1024.
MARGIN = 0.85


class Need(NamedTuple):
    """The memory of a train step on each device, in bytes."""

    used: float  # total
    limit: float  # of a chip
    state: int  # part of `used` for the train state
    split_state: int  # the same with config.mesh.shard_state
    gradient: int  # of all parameters once, which accumulation adds
    batch: int  # images of one update
    subdivisions: int


def need_of(
    state: TrainState, mesh: Mesh, *, used: float, limit: float, batch: int, subdivisions: int
) -> Need:
    """The Need of a step with `state` (shapes and places) and `batch` images on each device."""
    return Need(
        used=used,
        limit=limit,
        state=bytes_per_device(state),
        split_state=bytes_per_device(with_shardings(state, mesh, sharded=True)),
        gradient=bytes_per_device(with_shardings(state.params, mesh)),
        batch=batch,
        subdivisions=subdivisions,
    )


def bytes_per_device(tree: Any) -> int:
    """Bytes per device of the arrays in `tree` (shapes with shardings)."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )


def images_that_fit(need: Need, fixed: float) -> int:
    """Estimate how many images fit at a time next to `fixed` bytes, linear in the images."""
    at_once = need.batch / need.subdivisions
    each = (need.used - need.state) / at_once
    return max(0, int((MARGIN * need.limit - fixed) / each))


def proposals(need: Need) -> list[str]:
    """List what to change, most useful first. Estimates are linear in the images at a time."""
    found = []
    if images := images_that_fit(need, need.state):
        batch = min(images * need.subdivisions, need.batch)
        found.append(f"--batch-per-device {round_down(batch)}")
    fixed = need.state + need.gradient * (need.subdivisions == 1)
    parts = [k for k in range(need.subdivisions + 1, need.batch + 1) if need.batch % k == 0]
    small = [k for k in parts if need.batch // k <= images_that_fit(need, fixed)]
    if small:
        found.append(
            f"--config.optimizer.subdivisions={small[0]} (gradients accumulate over "
            f"{need.batch // small[0]} images at a time on each device; each sub-batch has its own "
            "batch statistics)"
        )
    freed = need.state - need.split_state
    if freed > 0:
        enough = need.used - freed <= need.limit
        verdict = "which is enough" if enough else "not enough alone"
        found.append(f"--config.mesh.shard_state=True (frees {freed / GIB:.2f} GiB, {verdict})")
    return found


def round_down(images: int) -> int:
    """Round down to a multiple of 8 from 8 on, since TPU tiles have 8 rows and 128 lanes."""
    return images - images % 8 if images >= 8 else images
