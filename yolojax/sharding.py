"""One mesh with one axis: the batch is split over it, the state is on every device."""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def make_mesh(devices: list | None = None) -> Mesh:
    """The ("data",) mesh over `devices`, all there are by default."""
    devices = devices if devices is not None else jax.devices()
    # Explicit axis types, the default, refuse the reshapes of a detection loss.
    return jax.make_mesh((len(devices),), ("data",), devices=devices, axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """Every device holds an equal share of axis 0."""
    return NamedSharding(mesh, PartitionSpec("data"))


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
