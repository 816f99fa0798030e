"""The records of a run: progress bar, metrics.jsonl, TensorBoard; checks for NaN."""

import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh
from tensorboardX import SummaryWriter

from yolojax.config import Config
from yolojax.data.loader import fingerprint, row_digests
from yolojax.distributed.processes import barrier
from yolojax.distributed.sharding import gather_rows
from yolojax.files import disk_has_space, ignore_full_disk, open_atomic, write_text
from yolojax.json_files import read_json_lines, to_json
from yolojax.progress import progress
from yolojax.training import goodput
from yolojax.training.compilation import Compilation, late_warning
from yolojax.training.profiling import Window, device_memory, rates
from yolojax.visual.draw import save_image
from yolojax.visual.report import plot_curves

TERMS = ("loss_coord", "loss_object", "loss_noobject", "loss_class")
GRADIENTS = ("grad_coord", "grad_object", "grad_noobject", "grad_class")
SHOWN = {
    "loss": "loss",
    "top1": "top-1",
    "avg_iou": "IoU",
    "objectness_on": "Obj",
    "objectness_off": "NoObj",
}
TRAINING_EVENT_SECONDS = 10.0  # between two events of training: a killed run loses no more
EVALUATED = ("voc07_11pt", "voc10", "coco_AP", "coco_AP50", "coco_AP75", "top1", "top5")


class NotFinite(FloatingPointError):
    """A loss or gradient is NaN or infinite; the message names the step, the term and the file."""


class RunLog:
    """Write the records of one run; a context manager.

    The metrics of a step are fetched after the next step is dispatched, so that the devices never
    wait for the host.
    """

    def __init__(
        self,
        workdir: Path,
        config: Config,
        step: int,
        done: int,
        total: int,
        *,
        mesh: Mesh,
        broken: Path,
        compiled: Sequence[Compilation] = (),
        min_seconds: Mapping[tuple[int, int], float] = {},
    ):
        """Open the records after `step`, when `done` of `total` batches are done.

        Lines after `step`, from a run that ended before it could save, are removed.

        Every process of a run must call the same methods. Each has another `workdir`.

        Args:
            mesh: of the run.
            broken: the folder for batches whose loss is not finite.
            compiled: the growing list of `record_compilations`; later entries cause a warning.
            min_seconds: see `profiling.min_step_seconds`.
        """
        self.workdir, self.mesh, self.broken = workdir, mesh, broken
        self.every = config.log_every
        self.batch_size = config.optimizer.batch_size
        self.running = None
        share = self.batch_size // jax.process_count()
        gather_rows(np.zeros((share, 6), np.uint8), mesh)  # compiled before the first step
        self.compiled, self.expected = compiled, len(compiled)
        self.min_seconds = min_seconds
        self.window = Window(time.monotonic())
        self.event_time, self.idle = self.window.begin, 0.0
        path = workdir / "metrics.jsonl"
        _truncate_after(path, step)
        self.lines = path.open("a")
        self.events = SummaryWriter(str(workdir), purge_step=step + 1 if step else None)
        self.bar = progress(total=total, initial=done, desc="training", unit="step")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.bar.close()
        self.lines.close()
        self.events.close()

    def next_batch(self, batches) -> dict:
        """Return the next batch, and record the time waited for it."""
        begin = time.monotonic()
        batch = next(batches)
        waited = time.monotonic() - begin
        self.window.input += waited
        # Waiting while the devices are busy costs nothing.
        self.idle += 0.0 if self._busy() else waited
        return batch

    def step(self, step: int, images: int, numbers: dict, batch: dict) -> None:
        """Record the previous step; `step` has just been dispatched."""
        if step % self.every == 0:
            numbers = numbers | {"rows": gather_rows(row_digests(batch), self.mesh)}
        previous, self.running = self.running, (step, images, numbers, batch)
        if previous:
            self._record(*previous)

    def flush(self) -> None:
        """Wait for the current step and record it."""
        if self.running:
            current, self.running = self.running, None
            self._record(*current)
            self._record_training(current[0])

    def record_event(self, event: str, step: int) -> None:
        """Record an event other than training, and exclude its time from the rates."""
        goodput.record_event(self.workdir, event, step)
        self.window = Window(time.monotonic())
        self.event_time = self.window.begin
        if event == "checkpoint":  # with several hosts Orbax compiles a program once
            self.expected = len(self.compiled)
        self._warn_of_compilations(step)

    def write(self, step: int, images: int, values: dict[str, float | str]) -> None:
        """Write a line of metrics.jsonl and the same values as TensorBoard scalars.

        On a full disk they are left out, and the run continues.
        """
        if not disk_has_space(self.workdir):
            return
        with ignore_full_disk():
            self.lines.write(to_json({"step": step, "images": images} | values) + "\n")
            self.lines.flush()
        for name, value in values.items():
            if not isinstance(value, str):
                self._tensorboard().add_scalar(name, value, step)

    def picture(self, name: str, step: int, image: np.ndarray) -> None:
        """Write an image (uint8 RGB) to TensorBoard and, replacing the last one, to plots/."""
        if not disk_has_space(self.workdir):
            return
        self._tensorboard().add_image(name, image, step, dataformats="HWC")
        with ignore_full_disk():
            save_image(self.workdir / "plots" / f"{name}.png", image)

    def result(self, step: int, images: int, result: dict) -> None:
        """Record the results of an evaluation and redraw the curves."""
        values = {f"eval/{name}": result.get(name) for name in EVALUATED}
        self.record_event("evaluation", step)
        seconds = goodput.seconds_by_part(goodput.read_events(self.workdir))
        values["run/goodput"] = goodput.goodput(seconds)
        self.write(step, images, {k: v for k, v in values.items() if v is not None})
        with ignore_full_disk():
            plot_curves(self.workdir / "metrics.jsonl", self.workdir / "plots" / "curves.png")

    def _record(self, step, images, numbers, batch):
        begin = time.monotonic()
        numbers = jax.device_get(numbers)
        self.window.device += time.monotonic() - begin
        rows = numbers.pop("rows", None)
        values = {f"train/{name}": float(value) for name, value in numbers.items()}
        check_finite(values, step, batch, self.broken)
        self.window.steps += 1
        self.window.min_seconds += self.min_seconds.get(batch["image"].shape[1:3], 0.0)
        self.bar.update()
        self.bar.set_postfix_str(_shown(values), refresh=False)
        if rows is not None:
            name = fingerprint({"rows": rows})
            seen = {"train/size": batch["image"].shape[1], "batch": name}
            self.write(step, images, values | seen | self._rates())
        if time.monotonic() - self.event_time > TRAINING_EVENT_SECONDS:
            self._record_training(step)
        self._warn_of_compilations(step)

    def _tensorboard(self) -> SummaryWriter:
        """Return the writer of events; make a new one if a full disk has ended its thread.

        The queue of the old one would take ten more events and then block for ever.
        """
        if not self.events.file_writer.event_writer._worker.is_alive():
            self.events = SummaryWriter(str(self.workdir))
        return self.events

    def _rates(self) -> dict[str, float]:
        """Compute speed and memory since the last line."""
        now = time.monotonic()
        window, self.window = self.window, Window(now)
        peak = device_memory().get("hbm_peak_gb")
        return rates(window, now, self.batch_size) | ({"train/hbm_peak_gb": peak} if peak else {})

    def _busy(self) -> bool:
        """Return whether the devices are still busy with the current step."""
        return bool(self.running) and not self.running[2]["loss"].is_ready()

    def _record_training(self, step: int) -> None:
        goodput.record_event(self.workdir, "training", step, input=round(self.idle, 3))
        self.event_time, self.idle = time.monotonic(), 0.0

    def _warn_of_compilations(self, step: int) -> None:
        if late := self.compiled[self.expected :]:
            self.expected += len(late)
            self.bar.write(late_warning(late, step), file=sys.stderr)


def _shown(values: dict[str, float]) -> str:
    shown = {label: values.get(f"train/{name}") for name, label in SHOWN.items()}
    return " ".join(f"{label} {v:.3g}" for label, v in shown.items() if v is not None)


def _truncate_after(path: Path, step: int) -> None:
    """Remove the lines after `step`, and damaged ones: a killed run may leave half a line."""
    if path.exists():
        entries = [e for e in read_json_lines(path, ["step", "images"]) if e["step"] <= step]
        write_text(path, "".join(f"{to_json(entry)}\n" for entry in entries))


def check_finite(values: dict[str, float], step: int, batch: dict, folder: Path) -> None:
    """Raise NotFinite if loss or gradient of `step` are not finite; save the batch first.

    Each process saves its own rows in `folder`.
    """
    watched = ("train/loss", "train/grad_norm")
    if all(math.isfinite(values[name]) for name in watched):
        return
    terms = (*TERMS, *GRADIENTS, "grad_norm")
    broken = [t for t in terms if not math.isfinite(values.get(f"train/{t}", 0.0))]
    host = f"_host{jax.process_index()}" if jax.process_count() > 1 else ""
    path = folder / f"batch_{step}{host}.npz"
    with ignore_full_disk(), open_atomic(path) as file:
        np.savez_compressed(file, **batch)
    barrier()  # the first process to exit ends the others
    raise NotFinite(
        f"step {step}: the loss is {values['train/loss']}; not finite: {', '.join(broken)}. "
        f"Its batch is in {path}; the newest checkpoint is intact. "
        "Look at its boxes, then lower optimizer.learning_rate, lengthen optimizer.burn_in_images "
        "or set optimizer.clip_norm, and run the same command again to resume."
    )


def due(every: int, seen: int, batch_size: int) -> bool:
    """Return whether the last batch reached a multiple of `every` images; 0 means never."""
    return every > 0 and seen // every > (seen - batch_size) // every
