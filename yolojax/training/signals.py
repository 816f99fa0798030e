"""SIGTERM and Ctrl-C end a run after the current step, with its state saved."""

import os
import signal
from contextlib import contextmanager

import jax
from jax.experimental.multihost_utils import reached_preemption_sync_point

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_requested():
    """Yield a function (step just dispatched) -> whether the run is to stop after it.

    With several processes, a signal to one stops all after the same step. The function must then
    be called for every step. The second Ctrl-C has its usual effect, and in a single process so
    has the second SIGTERM: a run that hangs can be ended.
    """
    if jax.process_count() > 1:
        with _interrupt_as_sigterm():
            yield _stop_together()
        return
    received = []
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in SIGNALS}

    def handle(number, frame):
        received.append(number)
        signal.signal(number, before[number])

    for number in SIGNALS:
        signal.signal(number, handle)
    try:
        yield lambda step=0: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop_together():
    """Return the function of `stop_requested` for several processes, which agree through JAX."""
    checked = 0

    def stop(step: int) -> bool:
        nonlocal checked
        # JAX agrees on the step after the last one that any process has checked, and returns True
        # for exactly that step. After a signal during a restart this is step 1, which a run that
        # resumes would skip, so all steps from 1 on are checked.
        due = [reached_preemption_sync_point(i) for i in range(checked + 1, step + 1)]
        checked = step
        return any(due)

    return stop


def exit_on_sigterm() -> None:
    """Let SIGTERM end this process; with several processes JAX would only record it."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def _interrupt_as_sigterm():
    """Turn Ctrl-C into SIGTERM, which JAX handles and reports to the other processes."""
    before = signal.getsignal(signal.SIGINT)

    def forward(number, frame):
        os.kill(os.getpid(), signal.SIGTERM)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, forward)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
