"""Speed of a run: parts of a step's time, utilization, memory, and traces for XProf."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from yolojax.config import Config
from yolojax.distributed.chips import chip_of, peak_flops
from yolojax.tasks import Task, forward_flops
from yolojax.training.compilation import train_sizes

BACKWARD = 2  # times the forward pass: gradients of a layer's input and of its kernel
RULE = "must be two steps FIRST:LAST, both traced, 1 <= FIRST <= LAST, as in 20:25"


@dataclass
class Window:
    """The time between two lines of the log, in seconds."""

    begin: float  # on time.monotonic()
    steps: int = 0
    input: float = 0.0  # waiting for the next batch
    device: float = 0.0  # waiting for the numbers of a step
    min_seconds: float = 0.0  # time of its steps at the peak of the devices; 0: unknown


def rates(window: Window, now: float, batch_size: int) -> dict[str, float]:
    """Compute images per second of a `window` that ends `now`, and ms of a step and its parts.

    `train/device_ms` is the time that the host waits for the devices, not the time that they
    compute. `train/host_ms` is the rest: dispatch, transfer of the batch, the log.
    """
    seconds = max(now - window.begin, 1e-9)
    parts = {"input": window.input, "device": window.device}
    parts["host"] = max(seconds - window.input - window.device, 0.0)
    per_step = 1000 / max(window.steps, 1)
    values = {
        "train/images_per_sec": window.steps * batch_size / seconds,
        "train/input_wait": window.input / seconds,
        "train/step_ms": seconds * per_step,
    }
    values |= {f"train/{name}_ms": part * per_step for name, part in parts.items()}
    return values | ({"train/mfu": window.min_seconds / seconds} if window.min_seconds else {})


def peak_of(mesh: Mesh, dtype: str) -> float | None:
    """Return the peak operations per second of all devices of `mesh`; None if unknown."""
    chip = chip_of(mesh.devices.flat[0].device_kind)
    return chip and peak_flops(chip, dtype) * mesh.size


def min_step_seconds(task: Task, config: Config, mesh: Mesh) -> dict[tuple[int, int], float]:
    """Compute the time of an update at the devices' peak, by image size; {} for unknown chips.

    Counts the products of convolutions and matrices, three times those of the forward pass
    (Chowdhery et al. 2022, PaLM, appendix B). Recomputation does not count.
    """
    peak = peak_of(mesh, config.model.dtype)
    if peak is None:
        return {}
    images = (1 + BACKWARD) * config.optimizer.batch_size
    return {s: images * forward_flops(task, s) / peak for s in train_sizes(config)}


def device_memory(devices=None) -> dict[str, float]:
    """Return {"hbm_peak_gb", "hbm_limit_gb"} of the fullest local device, in 1e9 bytes.

    Values that the backend does not report are left out; on CPU these are all.
    """
    stats = [device.memory_stats() or {} for device in devices or jax.local_devices()]
    names = {"hbm_peak_gb": "peak_bytes_in_use", "hbm_limit_gb": "bytes_limit"}
    sizes = {ours: max(s.get(name, 0) for s in stats) / 1e9 for ours, name in names.items()}
    return {name: size for name, size in sizes.items() if size}


def planned_bytes(program) -> int | None:
    """Return the memory per device of a compiled `program`; None if it is not reported.

    Arguments and results are included; those that share their memory count once.
    """
    plan = program.memory_analysis()
    if plan is None:
        return None
    sizes = ("argument", "output", "temp", "generated_code")
    return sum(getattr(plan, f"{s}_size_in_bytes") for s in sizes) - plan.alias_size_in_bytes


def planned_gb(programs: dict[tuple[int, int], object]) -> dict[str, float]:
    """Return `planned_bytes` of train steps by image size: {"416x416": 1e9 bytes}."""
    sizes = {f"{h}x{w}": planned_bytes(program) for (h, w), program in programs.items()}
    return {size: round(n / 1e9, 6) for size, n in sizes.items() if n}


def parse_steps(text: str | None) -> tuple[int, int] | None:
    """Parse the first and the last step of --profile-steps; None if it is not given.

    Raises:
        ValueError: it is not FIRST:LAST.
    """
    if not text:
        return None
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise ValueError(f"--profile-steps is {text!r}; it {RULE}.")
    return int(first), int(last)


def check_steps(steps: tuple[int, int] | None, step: int, last_step: int) -> None:
    """Raise ValueError if a run to `last_step` ends before `steps`.

    Steps that are already done are no error, so that the same command can resume a run.
    """
    if steps and steps[1] > last_step:
        raise ValueError(
            f"--profile-steps is {steps[0]}:{steps[1]}, but the run ends with step {last_step}; "
            f"name steps up to {last_step}."
        )
    if steps and steps[1] <= step:
        print(f"--profile-steps {steps[0]}:{steps[1]}: nothing to trace, step {step} is done")


@contextmanager
def profiled(
    steps: tuple[int, int] | None, workdir: Path, step: int
) -> Iterator[Callable[[int, Any], None]]:
    """Yield a function (step, state) to call after each step; it traces `steps`.

    The trace starts when the devices have finished the step before the first, and ends with the
    last. It is written to workdir/profile. `step` is the last step done before the block.
    """
    first, last = steps or (0, 0)
    folder, tracing = workdir / "profile", False

    def start():
        nonlocal tracing
        jax.profiler.start_trace(str(folder))
        tracing = True

    def stop(done: int):
        nonlocal tracing
        tracing = False
        jax.profiler.stop_trace()
        print(f"{folder}: a trace to step {done}; open it with `tensorboard --logdir {folder}`")

    def after_step(done: int, state: Any) -> None:
        if not steps or done not in (first - 1, last):
            return
        jax.block_until_ready(state)
        if done == first - 1:
            start()
        elif tracing:
            stop(done)

    try:
        if first - 1 <= step < last:
            start()
        yield after_step
    finally:
        if tracing:  # the run was stopped or has failed
            jax.profiler.stop_trace()
            print(f"{folder}: a trace of the steps before the run was stopped")
