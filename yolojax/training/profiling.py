"""A trace of some steps of a run, for XProf and TensorBoard."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

RULE = "must be two steps FIRST:LAST, both traced, 1 <= FIRST <= LAST, as in 20:25"


def parse_steps(text: str | None) -> tuple[int, int] | None:
    """The first and the last step of --profile-steps; None without.

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
    """Raises ValueError where a run to `last_step` ends before `steps` do; says if they are past.

    That is no error: the same command goes on after a run was stopped.
    """
    if steps and steps[1] > last_step:
        raise ValueError(
            f"--profile-steps is {steps[0]}:{steps[1]}, but the run ends with step {last_step}; "
            f"name steps up to {last_step}."
        )
    if steps and steps[1] <= step:
        print(f"--profile-steps {steps[0]}:{steps[1]}: step {step} is done, there is nothing left")


@contextmanager
def profiled(
    steps: tuple[int, int] | None, workdir: Path, step: int
) -> Iterator[Callable[[int, Any], None]]:
    """A function to call after each step with its number and the state: it traces `steps`.

    The trace begins after the step before the first has ended on the devices, and ends with the
    last; it lies in workdir/profile. `step` is the last one done before the block.
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
        print(f"{folder}: a trace to step {done}; look at it with `tensorboard --logdir {folder}`")

    def after(done: int, state: Any) -> None:
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
        yield after
    finally:
        if tracing:  # the run was stopped, or has failed
            jax.profiler.stop_trace()
            print(f"{folder}: a trace of the steps before the run was stopped")
