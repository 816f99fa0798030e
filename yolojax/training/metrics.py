"""What a run says of itself: a progress bar, metrics.jsonl, TensorBoard, the guard against NaN."""

import json
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
from yolojax.distributed.processes import meet
from yolojax.distributed.sharding import all_rows
from yolojax.files import disk_has_space, ignore_full_disk, open_atomic, write_text
from yolojax.progress import progress
from yolojax.training import goodput
from yolojax.training.compilations import Compilation, late_warning
from yolojax.training.speed import Window, device_memory, rates
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
TICK = 10.0  # seconds of training between two lines of the ledger: a killed run loses no more
EVALUATED = ("voc07_11pt", "voc10", "coco_AP", "coco_AP50", "coco_AP75", "top1", "top5")


class NotFinite(FloatingPointError):
    """A loss or gradient is NaN or infinite; the message names the step, the term and the file."""


class RunLog:
    """The records of one run; a context manager.

    The numbers of a step are fetched when the next one has been dispatched, so that the devices
    never wait for the host.
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
        least: Mapping[tuple[int, int], float] = {},
    ):
        """Open the records after `step`, with `done` of `total` batches behind.

        Lines after `step`, left by a run that was stopped before it could save, are taken out.

        Every process of a run must call the same methods; each writes to a `workdir` of its own.

        Args:
            mesh: of the run.
            broken: the folder for batches whose loss is not finite.
            compiled: grows where something is compiled; what is in it now is no surprise.
            least: as `speed.least_seconds` returns it.
        """
        self.workdir, self.mesh, self.broken = workdir, mesh, broken
        self.every = config.log_every
        self.batch_size = config.optimizer.batch_size
        self.running = None
        share = self.batch_size // jax.process_count()
        all_rows(np.zeros((share, 6), np.uint8), mesh)  # compiled before the first step
        self.compiled, self.expected, self.least = compiled, len(compiled), least
        self.window, self.marked, self.starved = Window(time.monotonic()), time.monotonic(), 0.0
        path = workdir / "metrics.jsonl"
        _keep_until(path, step)
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
        """The next batch; the time it takes is what the run waits for its input."""
        begin = time.monotonic()
        batch = next(batches)
        waited = time.monotonic() - begin
        self.window.input += waited
        # A wait that a step under way outlasts has cost nothing.
        self.starved += 0.0 if self._busy() else waited
        return batch

    def step(self, step: int, images: int, numbers: dict, batch: dict) -> None:
        """Note the step that has just been dispatched and record the one before it."""
        if step % self.every == 0:
            numbers = numbers | {"rows": all_rows(row_digests(batch), self.mesh)}
        ended, self.running = self.running, (step, images, numbers, batch)
        if ended:
            self._record(*ended)

    def flush(self) -> None:
        """Wait for the step under way and record it."""
        if self.running:
            ended, self.running = self.running, None
            self._record(*ended)
            self._mark_training(ended[0])

    def mark(self, event: str, step: int) -> None:
        """Close a stretch of the ledger that was no training, and keep it out of the rates."""
        goodput.mark(self.workdir, event, step)
        self.window = Window(time.monotonic())
        self.marked = self.window.begin
        if event == "checkpoint":  # Orbax compiles for itself, once, where there are several hosts
            self.expected = len(self.compiled)
        self._tell_of_compilations(step)

    def write(self, step: int, images: int, values: dict[str, float | str]) -> None:
        """One line of metrics.jsonl, and the same numbers as TensorBoard scalars.

        On a full disk they are left out: the run is worth more than its records.
        """
        if not disk_has_space(self.workdir):
            return
        with ignore_full_disk():
            self.lines.write(json.dumps({"step": step, "images": images} | values) + "\n")
            self.lines.flush()
        for name, value in values.items():
            if not isinstance(value, str):
                self._tensorboard().add_scalar(name, value, step)

    def picture(self, name: str, step: int, image: np.ndarray) -> None:
        """A drawing (uint8 RGB) for TensorBoard, and the newest of its name in plots/."""
        if not disk_has_space(self.workdir):
            return
        self._tensorboard().add_image(name, image, step, dataformats="HWC")
        with ignore_full_disk():
            save_image(self.workdir / "plots" / f"{name}.png", image)

    def result(self, step: int, images: int, result: dict) -> None:
        """The numbers of an evaluation; the curves are drawn anew."""
        found = {f"eval/{name}": result.get(name) for name in EVALUATED}
        self.mark("evaluation", step)
        seconds = goodput.account(goodput.read_ledger(self.workdir))
        found["run/goodput"] = goodput.goodput(seconds)
        self.write(step, images, {k: v for k, v in found.items() if v is not None})
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
        self.window.least += self.least.get(batch["image"].shape[1:3], 0.0)
        self.bar.update()
        self.bar.set_postfix_str(_shown(values), refresh=False)
        if rows is not None:
            name = fingerprint({"rows": rows})
            seen = {"train/size": batch["image"].shape[1], "batch": name}
            self.write(step, images, values | seen | self._rates())
        if time.monotonic() - self.marked > TICK:
            self._mark_training(step)
        self._tell_of_compilations(step)

    def _tensorboard(self) -> SummaryWriter:
        """The writer of events: a new one where the thread of the old one has met a full disk.

        Its queue would take ten events more, and then wait for ever.
        """
        if not self.events.file_writer.event_writer._worker.is_alive():
            self.events = SummaryWriter(str(self.workdir))
        return self.events

    def _rates(self) -> dict[str, float]:
        """The speed since the last line, and the memory it took."""
        now = time.monotonic()
        window, self.window = self.window, Window(now)
        peak = device_memory().get("hbm_peak_gb")
        return rates(window, now, self.batch_size) | ({"train/hbm_peak_gb": peak} if peak else {})

    def _busy(self) -> bool:
        """Whether the devices still work at the step under way."""
        return bool(self.running) and not self.running[2]["loss"].is_ready()

    def _mark_training(self, step: int) -> None:
        goodput.mark(self.workdir, "training", step, input=round(self.starved, 3))
        self.marked, self.starved = time.monotonic(), 0.0

    def _tell_of_compilations(self, step: int) -> None:
        if late := self.compiled[self.expected :]:
            self.expected += len(late)
            self.bar.write(late_warning(late, step), file=sys.stderr)


def _shown(values: dict[str, float]) -> str:
    found = {label: values.get(f"train/{name}") for name, label in SHOWN.items()}
    return " ".join(f"{label} {v:.3g}" for label, v in found.items() if v is not None)


def _keep_until(path: Path, step: int) -> None:
    if path.exists():
        # What follows the last line break is a line that a killed run did not finish.
        *lines, _ = path.read_text().split("\n")
        write_text(path, "".join(f"{x}\n" for x in lines if json.loads(x)["step"] <= step))


def check_finite(values: dict[str, float], step: int, batch: dict, folder: Path) -> None:
    """Raises NotFinite when loss or gradient of `step` are not, with the batch saved for replay.

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
    meet()  # whoever leaves first ends the others
    raise NotFinite(
        f"step {step}: the loss is {values['train/loss']} and not finite are: {', '.join(broken)}. "
        f"Its batch is in {path}; the newest checkpoint is intact. "
        "Look at its boxes, then lower optimizer.learning_rate, lengthen optimizer.burn_in_images "
        "or set optimizer.clip_norm, and run the same command again to resume."
    )


def due(every: int, seen: int, batch_size: int) -> bool:
    """Whether the last batch took `seen` to or across a multiple of `every` images; 0 is never."""
    return every > 0 and seen // every > (seen - batch_size) // every
