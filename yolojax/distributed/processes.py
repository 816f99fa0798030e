"""Runs of several processes, each a host of a pod or one GPU: start, main process, agreement."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from yolojax import progress
from yolojax.distributed import heartbeat
from yolojax.distributed.heartbeat import barrier

__all__ = ["all_agree", "barrier", "from_main", "is_main", "records_folder", "start"]

START_TIMEOUT = 300  # seconds that the processes wait for each other at the start
VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


def start(distributed: bool | None = None) -> None:
    """Join the other processes of this run, if there are any; call before any other use of JAX.

    The processes are given by JAX_COORDINATOR_ADDRESS (host:port of process 0), JAX_NUM_PROCESSES
    and JAX_PROCESS_ID, or JAX finds them: by SLURM, Open MPI, or the metadata of Cloud TPU.

    Args:
        distributed: whether there are other processes; None: decide by the environment.

    Raises:
        ValueError: `distributed` is true and the environment does not say where the processes are,
            or some of VARIABLES are missing.
    """
    if distributed is False or not (distributed or is_multiprocess_environment(os.environ)):
        return
    arguments = _from_environment(os.environ)
    heartbeat.on_abort(lambda: "" if heartbeat.is_multiprocess() else _start_failed(arguments))
    try:
        jax.distributed.initialize(**arguments, initialization_timeout=START_TIMEOUT)
    except (RuntimeError, ValueError) as error:
        if distributed is None and not names_other_processes(os.environ):
            return  # a single machine with TPUs outside of Google's cloud
        raise ValueError(
            f"the processes of this run did not find each other: {error} Set "
            f"{', '.join(VARIABLES)} on each, or give --no-distributed if this is the only one."
        ) from error
    if jax.process_count() > 1:
        heartbeat.start_heartbeat()
    if not is_main():  # only the main process prints; errors of all go to stderr
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - open until the process ends
        progress.hide()


def _start_failed(arguments: dict) -> str:
    count = arguments.get("num_processes", "the")
    address = arguments.get("coordinator_address", "their coordinator")
    return (
        f"not all of {count} processes reached {address} in {START_TIMEOUT} s; run the same "
        "command on every host, and check the output of those that are missing."
    )


def is_multiprocess_environment(environment) -> bool:
    """Return whether the variables of `environment`, or the machine, name other processes."""
    if names_other_processes(environment):
        return True
    # A host of a TPU pod looks like a single one; jax.distributed.initialize is harmless there.
    platforms = environment.get("JAX_PLATFORMS", "tpu")
    on_tpu = any(Path("/dev").glob("accel[0-9]*")) or Path("/dev/vfio").is_dir()
    return "tpu" in platforms and on_tpu and find_spec("libtpu") is not None


def names_other_processes(environment) -> bool:
    """Return whether the variables of `environment` alone name other processes."""
    counts = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
    several = any(int(environment.get(name) or 1) > 1 for name in counts)
    return several or any(environment.get(name) for name in VARIABLES)


def _from_environment(environment) -> dict:
    """Return the arguments of jax.distributed.initialize from VARIABLES; {} if none is set."""
    given = {name: environment[name] for name in VARIABLES if environment.get(name)}
    if not given:
        return {}
    missing = [name for name in VARIABLES if name not in given]
    if missing:
        raise ValueError(
            f"{' and '.join(given)} is set, but {' and '.join(missing)} is not; set all of "
            f"{', '.join(VARIABLES)} (host:port of process 0, number of processes, index of this)."
        )
    address, count, index = (given[name] for name in VARIABLES)
    integers = count.isdecimal() and index.isdecimal()
    if ":" not in address or not integers or int(index) >= int(count):
        raise ValueError(
            f"{', '.join(f'{k}={v}' for k, v in given.items())}: must be HOST:PORT and two whole "
            "numbers, the second from 0 to the first minus 1."
        )
    arguments = {"coordinator_address": address}
    return arguments | {"num_processes": int(count), "process_id": int(index)}


def is_main() -> bool:
    """Return whether this is the process that writes the records of the run."""
    return jax.process_index() == 0


@contextmanager
def records_folder(workdir: Path) -> Iterator[Path]:
    """Yield the folder for this process's records: `workdir`, or a temporary one if not main.

    All processes then run the same lines, and one of them leaves records.
    """
    if is_main():
        yield workdir
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(scratch) / workdir.resolve().name


def from_main(function: Callable[[], int]) -> int:
    """Call `function` in the main process only, and return its result in every process."""
    value = function() if is_main() else 0
    if jax.process_count() == 1:
        return value
    barrier()
    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def all_agree(value: bool) -> bool:
    """Return whether `value` is true in every process; all must call this."""
    if jax.process_count() == 1:
        return value
    barrier()
    return bool(multihost_utils.process_allgather(value).all())
