"""How the time of a run was spent, over all its starts: workdir/goodput.jsonl.

Each line is an event that ends a span of time, which began with the line before. The spans add up
to the time of the run. A killed process loses only its last, open span, which counts as down.
"""

import time
from pathlib import Path
from typing import NamedTuple

from yolojax.files import append_line, disk_has_space, ignore_full_disk
from yolojax.json_files import is_number, read_json_lines, to_json

FILE = "goodput.jsonl"
OLD_FILE = "ledger.jsonl"  # of older runs, which continue it
PART_OF_EVENT = {  # event that ends a span -> what the span was spent on
    "start": "down",  # no process, or the start of Python and JAX
    "setup": "other",  # open the data, make or restore the state
    "compile": "compile",
    "training": "training",
    "evaluation": "evaluation",
    "checkpoint": "checkpoint",  # only the time that the loop waits
    "stop": "other",
}
PARTS = ("training", "input", "compile", "evaluation", "checkpoint", "other", "lost", "down")


class TrainingSpan(NamedTuple):
    """A span of training."""

    first: int  # the step before it
    last: int  # its last step
    training: float  # seconds
    input: float  # further seconds, in which the devices were idle because the input was late


def goodput_file(workdir: Path) -> Path:
    """Return the file of the events of `workdir`; an older run continues its ledger.jsonl."""
    old = workdir / OLD_FILE
    return old if old.exists() else workdir / FILE


def record_event(
    workdir: Path, event: str, step: int, *, at: float | None = None, **values
) -> None:
    """Append {"time", "event", "step"} and `values` to the events of `workdir`.

    On a full disk nothing is written.

    Args:
        event: a key of PART_OF_EVENT; "start" is the first of a process.
        step: updates made so far; for a start, those of the checkpoint that it resumes from.
        at: seconds since 1970; now by default.
    """
    if not disk_has_space(workdir):
        return
    stamp = round(time.time() if at is None else at, 3)
    line = to_json({"time": stamp, "event": event, "step": step} | values)
    with ignore_full_disk():
        append_line(goodput_file(workdir), line)


def read_events(workdir: Path) -> list[dict]:
    """Read the events of `workdir`; damaged lines are reported on stderr and left out."""
    events = read_json_lines(goodput_file(workdir), ["time", "step"])
    return [event for event in events if isinstance(event.get("event"), str)]


def seconds_by_part(events: list[dict]) -> dict[str, float]:
    """Sum the seconds of each of PARTS over `events`, from the first start to the last event.

    "training" is spent in steps that are part of the run, "lost" in steps that a later start
    repeated because they were not in its checkpoint. In "input" the devices were idle because no
    batch was ready. The sum is the time passed, unless a clock was set back.
    """
    seconds = dict.fromkeys(PARTS, 0.0)
    spans: list[TrainingSpan] = []
    for before, event in zip(events[:1] + events, events, strict=False):
        passed = max(event["time"] - before["time"], 0.0)
        if event["event"] == "training":
            waited = min(_seconds(event, "input"), passed)
            spans.append(TrainingSpan(before["step"], event["step"], passed - waited, waited))
        else:
            compiling = _compile_seconds(event, passed)
            seconds["compile"] += compiling
            seconds[PART_OF_EVENT.get(event["event"], "other")] += passed - compiling
        if event["event"] == "start":
            spans, lost = _up_to(spans, event["step"])
            seconds["lost"] += lost
    seconds["training"] = sum(span.training for span in spans)
    seconds["input"] = sum(span.input for span in spans)
    return seconds


def _compile_seconds(event: dict, passed: float) -> float:
    """Return the seconds of a "setup" that were spent to compile the first state."""
    return min(_seconds(event, "compile_seconds"), passed) if event["event"] == "setup" else 0.0


def _seconds(event: dict, name: str) -> float:
    """Return a number of `event`; 0 if it has none, or a damaged one."""
    value = event.get(name)
    return max(value, 0.0) if is_number(value) else 0.0


def _up_to(spans: list[TrainingSpan], step: int) -> tuple[list[TrainingSpan], float]:
    """Cut `spans` at `step` -> (spans up to it, seconds after it)."""
    before, lost = [], 0.0
    for first, last, training, waited in spans:
        after = _share_after(first, last, step)
        lost += after * (training + waited)
        if after < 1:
            share = 1 - after
            before.append(TrainingSpan(first, min(last, step), share * training, share * waited))
    return before, lost


def _share_after(first: int, last: int, step: int) -> float:
    if last <= step:
        return 0.0
    return 1.0 if first >= step else (last - step) / (last - first)


def goodput(seconds: dict[str, float]) -> float:
    """Compute the share of "training" in the sum of `seconds`, as `seconds_by_part` returns."""
    return seconds["training"] / max(sum(seconds.values()), 1e-9)


def format_goodput(seconds: dict[str, float]) -> str:
    """Format what `seconds_by_part` returns as two lines."""
    rest = [f"{part} {_duration(seconds[part])}" for part in PARTS[1:] if seconds[part] >= 0.05]
    total, training = _duration(sum(seconds.values())), _duration(seconds["training"])
    return (
        f"goodput {goodput(seconds):.1%}: {training} of training in {total} since the first start"
        f"\n  the rest: {', '.join(rest) or 'nothing'}"
    )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
