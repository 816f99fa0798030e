"""Run `yolojax train` for rows and seeds, one process each; a stopped ablation resumes."""

import fcntl
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

from yolojax.ablation.rows import Row
from yolojax.config import Config, to_dict
from yolojax.progress import progress
from yolojax.training.checkpoint import load_config, save_config
from yolojax.training.signals import stop_requested

POLL = 0.2  # seconds between two looks at the processes
LOG_LINES = 5  # of a failed run that are shown
BAR = re.compile(r"\w+: +\d+%\|.*?\[.*?\]")  # of tqdm; other output may follow in the line
UNFINISHED = (
    "ended without a result: if it was stopped, the same command resumes it; if its "
    "evaluation failed, repeat that with: yolojax eval --workdir={}"
)


class Run(NamedTuple):
    """One row with one seed."""

    name: str  # ROW/seedN, below the folder of the ablation
    workdir: Path
    config: Config


class Failure(NamedTuple):
    """A run that ended without a result."""

    name: str
    reason: str  # with the last lines of its log


class Process(NamedTuple):
    """A running process."""

    run: Run
    process: subprocess.Popen
    log: BinaryIO
    since: float  # time.monotonic()


def run_of(row: Row, seed: int, workdir: Path) -> Run:
    """Return the run of `row` with `seed` below `workdir`."""
    name = f"{row.name}/seed{seed}"
    return Run(name, Path(workdir) / name, replace(row.config, seed=seed))


def plan(rows: Sequence[Row], seeds: int, workdir: Path) -> list[Run]:
    """List the runs of all `rows`, seed by seed, so that a full table is there early.

    Raises:
        ValueError: a folder contains a run with another config.
    """
    runs = [run_of(row, s, workdir) for s in range(seeds) for row in rows if not row.not_run]
    for run in runs:
        _check_folder(run)
    return runs


def _check_folder(run: Run) -> None:
    if not (run.workdir / "config.json").exists():
        return
    before, now = to_dict(load_config(run.workdir)), to_dict(run.config)
    if changes := _differences(before, now):
        raise ValueError(
            f"{run.workdir}: contains a run with another config ({'; '.join(changes[:3])}"
            f"{'; ...' if len(changes) > 3 else ''}). Use another --workdir, or remove that folder."
        )


def _differences(before, now, name: str = "config") -> list[str]:
    if isinstance(before, dict):
        return [
            line for key in now for line in _differences(before[key], now[key], f"{name}.{key}")
        ]
    return [] if before == now else [f"{name} was {before!r:.40} and is {now!r:.40}"]


def is_complete(run: Run) -> bool:
    """Whether `run` has its result; a run is evaluated once, at its end."""
    return (run.workdir / "eval" / "val.json").exists()


def train_command(workdir: Path) -> list[str]:
    """Return the command that trains the config saved in `workdir`, or resumes its run."""
    return [sys.executable, "-m", "yolojax", "train", f"--workdir={workdir}"]


def execute(
    runs: Sequence[Run], *, jobs: int = 1, command: Callable[[Path], list[str]] = train_command
) -> list[Failure]:
    """Execute the `runs` without a result, `jobs` at a time; each writes a log.txt.

    A failed run does not stop the others. SIGTERM and Ctrl-C are passed on to the runs, which save
    their states; the same call resumes them.

    Raises:
        ValueError: another process executes one of the runs.
        KeyboardInterrupt: a signal stopped the ablation.
    """
    waiting = deque(run for run in runs if not is_complete(run))
    running: list[Process] = []
    failures: list[Failure] = []
    done = len(runs) - len(waiting)
    bar = progress(total=len(runs), initial=done, desc="runs", unit="run")
    with stop_requested() as stop, bar:
        try:
            while waiting or running:
                if stop():
                    raise KeyboardInterrupt
                while waiting and len(running) < jobs:
                    running.append(_start(waiting.popleft(), command))
                time.sleep(POLL)
                for ended in [p for p in running if p.process.poll() is not None]:
                    running.remove(ended)
                    failure = _failure(ended)
                    failures += [failure] if failure else []
                    bar.update()
                    seconds = time.monotonic() - ended.since
                    outcome = failure.reason if failure else "done"
                    bar.write(f"{ended.run.name} ({seconds:.0f} s): {outcome}")
        finally:
            _stop(running)
    return failures


def _start(run: Run, command: Callable[[Path], list[str]]) -> Process:
    save_config(run.workdir, run.config)
    words = command(run.workdir)
    log = (run.workdir / "log.txt").open("ab")
    try:  # the process holds the lock even if this one dies
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        log.close()
        raise ValueError(
            f"{run.workdir}: another process is training it; wait for that process or end it."
        ) from error
    # A new session, as Ctrl-C would otherwise arrive twice and end the run without a save.
    streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(words, **streams, start_new_session=True)
    return Process(run, process, log, time.monotonic())


def _failure(ended: Process) -> Failure | None:
    """Explain why an ended run has no result; None if it has one."""
    ended.log.close()
    run, status = ended.run, ended.process.returncode
    if status == 0 and is_complete(run):
        return None
    reason = f"failed with exit status {status}" if status else UNFINISHED.format(run.workdir)
    path = run.workdir / "log.txt"
    last = _last_lines(path.read_text(errors="replace"))
    return Failure(run.name, "\n    ".join([f"{reason}; the end of {path}:", *last]))


def _last_lines(log: str) -> list[str]:
    """The last non-empty lines of `log`, without progress bars."""
    lines = [BAR.sub("", line).strip() for line in log.splitlines()]
    return [line for line in lines if line][-LOG_LINES:]


def _stop(running: Sequence[Process]) -> None:
    """Stop running processes, which save their states first, and wait for them."""
    for one in running:
        one.process.terminate()
    for one in running:
        one.process.wait()
        one.log.close()
