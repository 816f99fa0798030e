"""Several processes, one run: how they find each other, and that one of them speaks.

Each process is a host of a pod, or one GPU; `peers` is about their being alive.
"""

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
from yolojax.distributed.heartbeat import meet

__all__ = ["all_agree", "from_main", "is_main", "meet", "records_folder", "start"]

PATIENCE = 300  # seconds that the processes of a run wait for each other at the start
VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


def start(wanted: bool | None = None) -> None:
    """Join the other processes of this run, where there are any; before any other use of JAX.

    They are found by JAX_COORDINATOR_ADDRESS (host:port of process 0), JAX_NUM_PROCESSES and
    JAX_PROCESS_ID, or as JAX finds them itself: by SLURM, Open MPI, or the metadata of Cloud TPU.

    Args:
        wanted: True: there are others; False: there are none; None: look for signs of them.

    Raises:
        ValueError: they are wanted and nothing says where they are, or VARIABLES are incomplete.
    """
    if wanted is False or not (wanted or is_one_of_several(os.environ)):
        return
    arguments = _from_environment(os.environ)
    heartbeat.on_abort(lambda: "" if heartbeat.several() else _not_all_came(arguments))
    try:
        jax.distributed.initialize(**arguments, initialization_timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        if wanted is None and not has_signs(os.environ):
            return  # a machine with TPUs that stands alone, outside of Google's cloud
        raise ValueError(
            f"the processes of this run did not find each other: {error} Set "
            f"{', '.join(VARIABLES)} on each, or give --no-distributed if this is the only one."
        ) from error
    if jax.process_count() > 1:
        heartbeat.watch()
    if not is_main():  # what a run says is said once; errors go to stderr
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives
        progress.hide()


def _not_all_came(arguments: dict) -> str:
    count = arguments.get("num_processes", "the")
    place = arguments.get("coordinator_address", "their coordinator")
    return (
        f"not all of {count} processes came to {place} in {PATIENCE} s; give the same command on "
        "every host, and see on those that are not there what ended it."
    )


def is_one_of_several(environment) -> bool:
    """Whether the variables of `environment`, or the machine, say that a run has more processes."""
    if has_signs(environment):
        return True
    # A host of a pod slice looks like one that stands alone; to initialise that does no harm.
    platforms = environment.get("JAX_PLATFORMS", "tpu")
    on_tpu = any(Path("/dev").glob("accel[0-9]*")) or Path("/dev/vfio").is_dir()
    return "tpu" in platforms and on_tpu and find_spec("libtpu") is not None


def has_signs(environment) -> bool:
    """Whether the variables of `environment` alone say so."""
    tasks = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
    several = any(int(environment.get(name) or 1) > 1 for name in tasks)
    return several or any(environment.get(name) for name in VARIABLES)


def _from_environment(environment) -> dict:
    """The arguments of jax.distributed.initialize that VARIABLES hold; {} where none is set."""
    given = {name: environment[name] for name in VARIABLES if environment.get(name)}
    if not given:
        return {}
    missing = [name for name in VARIABLES if name not in given]
    if missing:
        raise ValueError(
            f"{' and '.join(given)} is set, but {' and '.join(missing)} is not; set all of "
            f"{', '.join(VARIABLES)} (host:port of process 0, how many there are, which this is)."
        )
    address, count, index = (given[name] for name in VARIABLES)
    whole = count.isdecimal() and index.isdecimal()
    if ":" not in address or not whole or int(index) >= int(count):
        raise ValueError(
            f"{', '.join(f'{k}={v}' for k, v in given.items())}: must be HOST:PORT and two whole "
            "numbers, the second from 0 to the first minus 1."
        )
    arguments = {"coordinator_address": address}
    return arguments | {"num_processes": int(count), "process_id": int(index)}


def is_main() -> bool:
    """Whether this process is the one that keeps the records of the run."""
    return jax.process_index() == 0


@contextmanager
def records_folder(workdir: Path) -> Iterator[Path]:
    """The folder for what this process writes: `workdir`, or one that is thrown away.

    So all processes run the same lines, and one of them leaves records.
    """
    if is_main():
        yield workdir
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(scratch) / workdir.resolve().name


def from_main(decide: Callable[[], int]) -> int:
    """What `decide()` returns in the main process, the only one that calls it, in every process."""
    value = decide() if is_main() else 0
    if jax.process_count() == 1:
        return value
    meet()
    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def all_agree(yes: bool) -> bool:
    """Whether every process says yes; all must ask."""
    if jax.process_count() == 1:
        return yes
    meet()
    return bool(multihost_utils.process_allgather(yes).all())
