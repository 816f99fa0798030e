"""One mesh with one axis: the batch is split over it, the state too or on every device whole."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

MIN_SPLIT = 2**16  # values; what is smaller is not worth a collective of its own


def make_mesh(devices: list | None = None) -> Mesh:
    """The ("data",) mesh over `devices`, all there are by default, host after host.

    So the rows of a global batch lie in the order of the hosts that read them, which jax.make_mesh
    does not promise: it goes through a pod as the chips are wired.
    """
    devices = devices if devices is not None else jax.devices()
    ordered = sorted(devices, key=lambda device: (device.process_index, device.id))
    # Explicit axis types, the default, refuse the reshapes of a detection loss.
    return Mesh(np.array(ordered), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def platform_of(mesh: Mesh) -> str:
    """What the devices of `mesh` are, all of one kind: "cpu", "gpu" or "tpu"."""
    return mesh.devices.flat[0].platform


def split(mesh: Mesh) -> NamedSharding:
    """Every device holds an equal share of axis 0."""
    return NamedSharding(mesh, PartitionSpec("data"))


def places(tree: Any, mesh: Mesh, *, sharded: bool = False) -> Any:
    """Where each leaf of `tree` (arrays or their shapes) lies on `mesh`: a NamedSharding each.

    Whole on every device or, with `sharded`, every device has an equal part of each leaf of
    MIN_SPLIT values or more, along its longest axis that the devices divide.
    """
    return jax.tree.map(
        lambda leaf: _place(leaf.shape, mesh) if sharded else replicated(mesh), tree
    )


def _place(shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
    axes = [axis for axis, length in enumerate(shape) if length % mesh.size == 0]
    if math.prod(shape) < MIN_SPLIT or not axes:
        return replicated(mesh)
    longest = max(axes, key=lambda axis: (shape[axis], axis))
    return NamedSharding(mesh, PartitionSpec(*[None] * longest, "data"))


def placed(tree: Any, mesh: Mesh, *, sharded: bool = False) -> Any:
    """The shapes of `tree`, each with its place on `mesh`: what a program is compiled for."""
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        tree,
        places(tree, mesh, sharded=sharded),
    )


def places_of(tree: Any) -> Any:
    """The sharding of each array of `tree`."""
    return jax.tree.map(lambda leaf: leaf.sharding, tree)


def constrained(tree: Any, mesh: Mesh, *, sharded: bool) -> Any:
    """`tree`, inside a program over `mesh`, laid out as `places` says."""
    return jax.lax.with_sharding_constraint(tree, places(tree, mesh, sharded=sharded))


def check_batch_size(batch_size: int, subdivisions: int, mesh: Mesh) -> None:
    """Raises ValueError unless every device gets the same share of every sub-batch."""
    parts = subdivisions * mesh.size
    if batch_size < 1 or batch_size % parts:
        raise ValueError(
            f"config.optimizer.batch_size is {batch_size}; it must be a multiple of {parts} "
            f"({subdivisions} subdivisions on {mesh.size} devices)."
        )


def to_devices(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """The rows that this process has read, as the global batch split over `mesh`."""
    return {k: jax.make_array_from_process_local_data(split(mesh), v) for k, v in batch.items()}


def all_rows(rows: np.ndarray, mesh: Mesh) -> np.ndarray | jax.Array:
    """The rows [B, ...] of all processes from the [b, ...] of this one; they are not waited for."""
    if jax.process_count() == 1:
        return rows
    return gatherer(mesh)(jax.make_array_from_process_local_data(split(mesh), rows))


def fetch(tree: Any, mesh: Mesh) -> Any:
    """The arrays of `tree`, which lie on `mesh`, as NumPy arrays, whole in every process."""
    return jax.device_get(tree if jax.process_count() == 1 else gatherer(mesh)(tree))


@lru_cache
def gatherer(mesh: Mesh) -> Callable:
    """A jitted function that lays the arrays of its argument whole on every device."""
    return jax.jit(lambda tree: tree, out_shardings=replicated(mesh))
