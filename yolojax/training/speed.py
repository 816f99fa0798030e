"""How fast a run is: the parts of a step's time, the share of the chips' peak, their memory."""

from dataclasses import dataclass

import jax
from jax.sharding import Mesh

from yolojax.config import Config
from yolojax.distributed.chips import chip_of, peak_flops
from yolojax.tasks import Task, forward_flops
from yolojax.training.programs import train_sizes

BACKWARD = 2  # times the forward pass: gradients of a layer's input and of its kernel


@dataclass
class Window:
    """The time between two lines of a log, and what went on in it; seconds."""

    begin: float  # on time.monotonic()
    steps: int = 0
    input: float = 0.0  # waiting for the next batch
    device: float = 0.0  # waiting for the numbers of a step
    least: float = 0.0  # what the devices would need for its steps at their peak; 0: not known


def rates(window: Window, now: float, batch_size: int) -> dict[str, float]:
    """images/s of a `window` that ends `now`, and milliseconds of a step and of its parts.

    `train/device_ms` is not how long a device computes, but how long the host had nothing to do
    but to wait for it. `train/host_ms` is the rest: dispatch, transfer of the batch, the log.
    """
    seconds = max(now - window.begin, 1e-9)
    parts = {"input": window.input, "device": window.device}
    parts["host"] = max(seconds - window.input - window.device, 0.0)
    a_step = 1000 / max(window.steps, 1)
    found = {
        "train/images_per_sec": window.steps * batch_size / seconds,
        "train/input_wait": window.input / seconds,
        "train/step_ms": seconds * a_step,
    }
    found |= {f"train/{name}_ms": part * a_step for name, part in parts.items()}
    return found | ({"train/mfu": window.least / seconds} if window.least else {})


def peak_of(mesh: Mesh, dtype: str) -> float | None:
    """Operations a second of all devices of `mesh` at most; None where their chip is not known."""
    chip = chip_of(mesh.devices.flat[0].device_kind)
    return chip and peak_flops(chip, dtype) * mesh.size


def least_seconds(task: Task, config: Config, mesh: Mesh) -> dict[tuple[int, int], float]:
    """What an update needs at the peak of all devices, by image size; {} of unknown chips.

    Counted are products of convolutions and matrices, three times those of the forward pass
    (Chowdhery et al. 2022, PaLM, appendix B); what a program computes twice does not count.
    """
    peak = peak_of(mesh, config.model.dtype)
    if peak is None:
        return {}
    images = (1 + BACKWARD) * config.optimizer.batch_size
    return {s: images * forward_flops(task, s) / peak for s in train_sizes(config)}


def device_memory(devices=None) -> dict[str, float]:
    """{"hbm_peak_gb", "hbm_limit_gb"} of the fullest device of this process, 1e9 bytes.

    What the backend does not tell is left out: on CPU all of it.
    """
    stats = [device.memory_stats() or {} for device in devices or jax.local_devices()]
    names = {"hbm_peak_gb": "peak_bytes_in_use", "hbm_limit_gb": "bytes_limit"}
    found = {ours: max(s.get(name, 0) for s in stats) / 1e9 for ours, name in names.items()}
    return {name: size for name, size in found.items() if size}


def planned_bytes(program) -> int | None:
    """What a compiled `program` takes of each device's memory, or None where that is not told.

    Its arguments and results are in it; those that share their memory count once.
    """
    plan = program.memory_analysis()
    if plan is None:
        return None
    sizes = ("argument", "output", "temp", "generated_code")
    return sum(getattr(plan, f"{s}_size_in_bytes") for s in sizes) - plan.alias_size_in_bytes


def planned_gb(programs: dict[tuple[int, int], object]) -> dict[str, float]:
    """`planned_bytes` of train steps by image size, {"416x416": 1e9 bytes}; {} if not told."""
    sizes = {f"{h}x{w}": planned_bytes(program) for (h, w), program in programs.items()}
    return {size: round(n / 1e9, 6) for size, n in sizes.items() if n}
