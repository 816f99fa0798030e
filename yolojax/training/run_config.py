"""The config of a run that has begun: what may change, and the record of what did.

WORKDIR/config.json is the config of the newest start that trained; a checkpoint has that of its
time. Each line of WORKDIR/config_history.jsonl is a start that changed something, or the first:
{"step", "time", "changes": {field: [before, now]}, "data": {"train": fingerprint, "val":
fingerprint}, "notes": [text]}. It holds from the update after `step` on.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from yolojax.config import Config, flatten, from_dict, to_dict
from yolojax.files import ignore_full_disk, write_text
from yolojax.json_files import read_json_lines, to_json
from yolojax.tasks import LOSSES, Task, loss_name

HISTORY = "config_history.jsonl"
WIDEST = 60  # characters of a value in a message
# Each field of config.model: whether it may change in a run, and why.
MODEL_FIELDS = {
    "name": (False, "the network"),
    "classes": (False, "the meaning of the outputs, by their order"),
    "anchors": (False, "the outputs are factors of them"),
    "tree": (False, "the outputs are probabilities given the parent"),
    "class_names": (False, "predictions have these names, also those made before"),
    "tree_file": (True, "it was read into classes, class_names and tree, which are compared"),
    "boxes": (False, "the number of outputs"),
    "side": (False, "the number of outputs"),
    "square_root": (False, "the meaning of width and height"),
    "class_softmax": (False, "the meaning of the class scores"),
    "temperature": (False, "the meaning of the class scores"),
    "class_activation": (False, "the meaning of the class scores"),
    "location": (False, "the meaning of x and y"),
    "width": (False, "the shapes of the parameters"),
    "cfg": (False, "the network"),
    "epsilon": (True, "it moves results by rounding errors; no parameter depends on it"),
    "dtype": (True, "the parameters stay float32"),
    "fast_forms": (True, "all forms of a layer compute the same"),
    "precision": (True, "the parameters stay float32"),
}
OF_START = ("init_from", "init_output")  # without effect once a run has begun


class Change(NamedTuple):
    """A field of the config with another value than before."""

    field: str  # dotted
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.field}: {' -> '.join(short(self.before, self.now))}"


def short(before: Any, now: Any) -> tuple[str, str]:
    """Format two different values in a line each, long ones by where they differ."""
    texts = repr(_tuples(before)), repr(_tuples(now))
    if max(map(len, texts)) <= WIDEST or type(before) is not type(now):
        return tuple(t if len(t) <= WIDEST else f"{t[:WIDEST]}..." for t in texts)
    unit = "line" if isinstance(before, str) else "entry"
    parts = [value.split("\n") if unit == "line" else value for value in (before, now)]
    pairs = enumerate(zip(*parts, strict=False))
    at = next((i for i, (a, b) in pairs if a != b), min(map(len, parts)))
    return tuple(_at(part, at, unit) for part in parts)


def _at(parts: Sequence, index: int, unit: str) -> str:
    """Name one of `parts`: a "line" or "entry" of a long value."""
    if index == len(parts):
        return f"no {unit} {index + 1}"
    return f"{unit} {index + 1} {_tuples(parts[index])!r:.{WIDEST}}"


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def differences(before: Config, now: Config) -> list[Change]:
    """List the fields in which two configs differ, in the order of the fields."""
    old, new = (flatten(to_dict(from_dict(to_dict(config)))) for config in (before, now))
    return [Change(name, old[name], new[name]) for name in new if old[name] != new[name]]


def model_changes(before: Config, now: Config) -> list[Change]:
    """List the changes of config.model that give a checkpoint another meaning."""
    return [
        change
        for change in differences(before, now)
        if change.field.startswith("model.") and not MODEL_FIELDS[change.field[6:]][0]
    ]


def check(workdir: Path, before: Config, now: Config, task: Task) -> None:
    """Check that a run may continue with another config.

    Args:
        workdir: of the run, for the message.
        before: the config of its newest checkpoint.
        now: the config to continue with.
        task: of `now`.

    Raises:
        ValueError: a change would give the checkpoints another meaning.
    """
    refused = model_changes(before, now)
    if not refused:
        refused = [change for change in differences(before, now) if _is_refused(change, task, now)]
        losses = loss_name(before, task.head), loss_name(now, task.head)
        if losses[0] != losses[1] and set(losses) <= LOSSES.keys():  # each has its own head
            refused.append(Change("loss.name", *losses))
    if refused:
        raise ValueError(
            f"{workdir} was trained with {in_words(refused)}; use another --workdir, and "
            f"--config.init_from={workdir} to start from its weights."
        )


def _is_refused(change: Change, task: Task, now: Config) -> bool:
    """Return whether a change outside of config.model does not fit the state."""
    if change.field == "optimizer.ema_decay":  # the state has an average, or has none
        return None in (change.before, change.now)
    sizes = change.before, change.now
    return change.field == "data.image_size" and len(set(map(str, _shapes(task, sizes)))) > 1


def _shapes(task: Task, sizes) -> list:
    """Return the shapes of the parameters at each input size; some layers depend on it."""

    def init(size):
        image = jnp.zeros((1, *size, 3))
        return jax.eval_shape(lambda: task.model.init(jax.random.key(0), image))

    return [jax.tree.map(jnp.shape, init(size)["params"]) for size in sizes]


def in_words(changes: list[Change]) -> str:
    """Format changes as "A 1, the config has 2; B 3, the config has 4"."""
    pairs = [(change.field, *short(change.before, change.now)) for change in changes]
    return "; ".join(f"{field} {before}, the config has {now}" for field, before, now in pairs)


def continued(before: Config, now: Config) -> Config:
    """Return `now` with the fields of `before` that only the start of a run reads."""
    if now.init_from not in ("", before.init_from):
        print(f"config.init_from={now.init_from} has no effect: this run has begun")
    return replace(now, **{name: getattr(before, name) for name in OF_START})


def as_text(workdir: Path, changes: list[Change], step: int, *, applied: bool) -> str:
    """Say what differs from the config of the checkpoint of `step`."""
    what = "from here on" if applied else "but nothing is left to train: the run keeps its own"
    head = f"{workdir}: the config differs from that of step {step}, {what}"
    return "\n".join([head, *(f"  {change}" for change in changes)])


def data_notes(before: dict, now: dict, step: int) -> list[str]:
    """Say which of two {part: fingerprint} of `data.fingerprint.fingerprint_of` differ."""
    known = {part for part, value in before.items() if isinstance(value, dict)}
    pairs = {part: (before[part], value) for part, value in now.items() if part in known}
    return [
        f"{part}: annotations changed since step {step} ({_counts(old)} then, {_counts(new)} now)"
        for part, (old, new) in pairs.items()
        if old != new
    ]


def _counts(one: dict) -> str:
    boxes = "" if one.get("boxes") is None else f", {one['boxes']} boxes"
    return f"{one.get('pictures')} pictures{boxes}"


def record_start(records: Path, step: int, changes: list[Change], data: dict) -> list[str]:
    """Write a start from `step` to the history -> notes on data that changed.

    Lines of starts from `step` or later are removed: no checkpoint has seen them.

    Args:
        records: the folder of the history.
        step: updates that the state has made.
        changes: from the config of the checkpoint to that of this start.
        data: {"train": fingerprint, "val": fingerprint}.
    """
    kept = [line for line in read_json_lines(records / HISTORY, ["step"]) if line["step"] < step]
    before = next((x["data"] for x in reversed(kept) if isinstance(x.get("data"), dict)), None)
    notes = data_notes(before, data, step) if before else []
    if changes or notes or before is None:
        line = {"step": step, "time": time.strftime("%Y-%m-%d %H:%M:%S %z")}
        line["changes"] = {change.field: [change.before, change.now] for change in changes}
        kept.append(line | {"data": data, "notes": notes})
    with ignore_full_disk():
        write_text(records / HISTORY, "".join(f"{to_json(line)}\n" for line in kept))
    return notes
