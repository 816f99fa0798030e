"""What the time of a run went to, over all its starts: workdir/ledger.jsonl.

Each line closes a stretch of time: what its `event` names went on since the line before. So the
stretches add up to the time of the run, and a process that is killed takes with it only the
stretch that it had not closed, which then counts as down.
"""

import json
import time
from pathlib import Path
from typing import NamedTuple

from yolojax.files import disk_has_space, ignore_full_disk

FILE = "ledger.jsonl"
PART = {  # event that closes a stretch -> what the stretch was
    "start": "down",  # nothing ran, or Python and JAX were starting
    "setup": "other",  # data opened, state made or restored
    "compile": "compile",
    "training": "training",
    "evaluation": "evaluation",
    "checkpoint": "checkpoint",  # what the loop waits for: the last one is waited for to the end
    "stop": "other",
}
PARTS = ("training", "input", "compile", "evaluation", "checkpoint", "other", "lost", "down")


class Trained(NamedTuple):
    """A stretch of training."""

    first: int  # it begins after this step
    last: int  # and ends with this one
    training: float  # seconds
    input: float  # more seconds, in which the devices were idle because the input was late


def mark(workdir: Path, event: str, step: int, *, at: float | None = None, **values) -> None:
    """Close a stretch: append {"time", "event", "step"} and `values` to the ledger of `workdir`.

    On a full disk nothing is written.

    Args:
        event: a key of PART; "start" is the first of a process.
        step: updates made so far; of a start: those that it goes on from.
        at: seconds since 1970; now by default.
    """
    if not disk_has_space(workdir):
        return
    stamp = round(time.time() if at is None else at, 3)
    line = json.dumps({"time": stamp, "event": event, "step": step} | values)
    with ignore_full_disk(), (workdir / FILE).open("a+b") as file:
        file.write(_line_break(file) + line.encode() + b"\n")


def _line_break(file) -> bytes:
    """What ends the line that a killed process did not finish, if there is one."""
    if not file.seek(0, 2):
        return b""
    file.seek(-1, 2)
    return b"" if file.read(1) == b"\n" else b"\n"


def read_ledger(workdir: Path) -> list[dict]:
    """The lines of the ledger of `workdir`, without unfinished ones; [] where there is none."""
    path = workdir / FILE
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return [entry for entry in map(_entry, lines) if entry]


def _entry(line: str) -> dict | None:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError:
        return None
    return entry if isinstance(entry, dict) and entry.keys() >= {"time", "event", "step"} else None


def account(lines: list[dict]) -> dict[str, float]:
    """Seconds of each of PARTS, from the first start to the last of `lines`, as `mark` writes them.

    "training" is spent in steps that are part of the run; "lost" in those that a later start did
    again, because their checkpoint was not there. "input" is time in which the devices were idle
    for want of a batch. The sum is the time that has passed, but where a clock was set back.
    """
    seconds = dict.fromkeys(PARTS, 0.0)
    stretches: list[Trained] = []
    for before, line in zip(lines[:1] + lines, lines, strict=False):
        passed = max(line["time"] - before["time"], 0.0)
        if line["event"] == "training":
            waited = min(line.get("input", 0.0), passed)
            stretches.append(Trained(before["step"], line["step"], passed - waited, waited))
        else:
            compiling = _compiling(line, passed)
            seconds["compile"] += compiling
            seconds[PART.get(line["event"], "other")] += passed - compiling
        if line["event"] == "start":
            stretches, lost = _without(stretches, line["step"])
            seconds["lost"] += lost
    seconds["training"] = sum(stretch.training for stretch in stretches)
    seconds["input"] = sum(stretch.input for stretch in stretches)
    return seconds


def _compiling(line: dict, passed: float) -> float:
    """The seconds of a "setup" in which what makes the first state was compiled."""
    return min(line.get("compile_seconds", 0.0), passed) if line["event"] == "setup" else 0.0


def _without(stretches: list[Trained], step: int) -> tuple[list[Trained], float]:
    """`stretches` up to `step`, and the seconds of what lay beyond it."""
    kept, lost = [], 0.0
    for first, last, training, waited in stretches:
        share = _share_beyond(first, last, step)
        lost += share * (training + waited)
        if share < 1:
            part = 1 - share
            kept.append(Trained(first, min(last, step), part * training, part * waited))
    return kept, lost


def _share_beyond(first: int, last: int, step: int) -> float:
    if last <= step:
        return 0.0
    return 1.0 if first >= step else (last - step) / (last - first)


def goodput(seconds: dict[str, float]) -> float:
    """Time spent in steps that are part of the run / all time, 0..1, of what `account` returns."""
    return seconds["training"] / max(sum(seconds.values()), 1e-9)


def format_account(seconds: dict[str, float]) -> str:
    """What `account` returns as two lines."""
    rest = [f"{part} {_span(seconds[part])}" for part in PARTS[1:] if seconds[part] >= 0.05]
    total, training = _span(sum(seconds.values())), _span(seconds["training"])
    return (
        f"goodput {goodput(seconds):.1%}: {training} of training in {total} since the first start"
        f"\n  the rest: {', '.join(rest) or 'nothing'}"
    )


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
