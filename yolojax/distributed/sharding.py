"""A mesh with one axis, "data": batches are sharded over it, the state is replicated or sharded."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

MIN_SHARDED_SIZE = 2**16  # values; a smaller leaf is not worth a collective


def make_mesh(devices: list | None = None) -> Mesh:
    """Make the ("data",) mesh over `devices`, by default all, ordered by process.

    The rows of a global batch are then in the order of the processes that read them.
    jax.make_mesh does not promise this: it orders the chips of a pod by their links.
    """
    devices = devices if devices is not None else jax.devices()
    ordered = sorted(devices, key=lambda device: (device.process_index, device.id))
    # Explicit axis types, the default, refuse the reshapes of a detection loss.
    return Mesh(np.array(ordered), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding that holds the whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def platform_of(mesh: Mesh) -> str:
    """Return the platform of the devices of `mesh`: "cpu", "gpu" or "tpu"."""
    return mesh.devices.flat[0].platform


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Return the sharding that divides axis 0 equally among the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def state_shardings(tree: Any, mesh: Mesh, *, sharded: bool = False) -> Any:
    """Return the NamedSharding of each leaf of `tree`, arrays or their shapes.

    Leaves are replicated. With `sharded`, each leaf of MIN_SHARDED_SIZE values or more is divided
    equally among the devices, along its longest axis whose length they divide.
    """
    return jax.tree.map(
        lambda leaf: _longest_axis(leaf.shape, mesh) if sharded else replicated(mesh), tree
    )


def _longest_axis(shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
    axes = [axis for axis, length in enumerate(shape) if length % mesh.size == 0]
    if math.prod(shape) < MIN_SHARDED_SIZE or not axes:
        return replicated(mesh)
    longest = max(axes, key=lambda axis: (shape[axis], axis))
    return NamedSharding(mesh, PartitionSpec(*[None] * longest, "data"))


def with_shardings(tree: Any, mesh: Mesh, *, sharded: bool = False) -> Any:
    """Return `tree` as ShapeDtypeStructs with the shardings of `state_shardings`."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        tree,
        state_shardings(tree, mesh, sharded=sharded),
    )


def abstract(tree: Any) -> Any:
    """Return the arrays of `tree` as ShapeDtypeStructs with their shardings."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), tree
    )


def shardings_of(tree: Any) -> Any:
    """Return the sharding of each array of `tree`."""
    return jax.tree.map(lambda leaf: leaf.sharding, tree)


def constrain_state(tree: Any, mesh: Mesh, *, sharded: bool) -> Any:
    """Constrain `tree`, inside a jitted function, to the shardings of `state_shardings`."""
    return jax.lax.with_sharding_constraint(tree, state_shardings(tree, mesh, sharded=sharded))


def check_batch_size(batch_size: int, subdivisions: int, mesh: Mesh) -> None:
    """Raise ValueError unless every device gets the same share of every sub-batch."""
    parts = subdivisions * mesh.size
    if batch_size < 1 or batch_size % parts:
        raise ValueError(
            f"config.optimizer.batch_size is {batch_size}; it must be a multiple of {parts} "
            f"({subdivisions} subdivisions on {mesh.size} devices)."
        )


def to_devices(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Make the global batch, sharded over `mesh`, from the rows that this process has read."""
    sharding = batch_sharding(mesh)
    return {k: jax.make_array_from_process_local_data(sharding, v) for k, v in batch.items()}


def gather_rows(rows: np.ndarray, mesh: Mesh) -> np.ndarray | jax.Array:
    """Gather the rows [B, ...] of all processes from the [b, ...] of each, without waiting."""
    if jax.process_count() == 1:
        return rows
    rows = jax.make_array_from_process_local_data(batch_sharding(mesh), rows)
    return make_gather(mesh)(rows)


def fetch(tree: Any, mesh: Mesh) -> Any:
    """Copy the arrays of `tree`, on `mesh`, to whole NumPy arrays in every process."""
    return jax.device_get(tree if jax.process_count() == 1 else make_gather(mesh)(tree))


@lru_cache
def make_gather(mesh: Mesh) -> Callable:
    """Return a jitted function that replicates the arrays of its argument on every device."""
    return jax.jit(lambda tree: tree, out_shardings=replicated(mesh))
