"""SIGTERM and Ctrl-C end a run after the step at hand, with its state saved."""

import os
import signal
from contextlib import contextmanager

import jax
from jax.experimental.multihost_utils import reached_preemption_sync_point

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_requested():
    """A function of the step just dispatched (if there are steps): is the run to stop after it?

    Of several processes a signal to any one stops all after the same step; it must then be called
    with every step. A second Ctrl-C, and of a single process a second SIGTERM, does what it always
    does, so that a run which hangs can be ended.
    """
    if jax.process_count() > 1:
        with _forwarded():
            yield _stop_together()
        return
    received = []
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in SIGNALS}

    def note(number, frame):
        received.append(number)
        signal.signal(number, before[number])

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield lambda step=0: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop_together():
    """`stop_requested` of several processes: JAX hears SIGTERM, and settles the step with them."""
    asked = 0

    def stop(step: int) -> bool:
        nonlocal asked
        # JAX settles on the step after the last one that anybody has asked for, and is equal to
        # that alone: of a signal during a restart it is 1, which nobody would come by.
        due = [reached_preemption_sync_point(i) for i in range(asked + 1, step + 1)]
        asked = step
        return any(due)

    return stop


def end_at_once() -> None:
    """SIGTERM ends this process, though it is one of several and JAX would take note instead."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def _forwarded():
    """Ctrl-C as SIGTERM, which JAX hears by itself and tells the other processes."""
    before = signal.getsignal(signal.SIGINT)

    def forward(number, frame):
        os.kill(os.getpid(), signal.SIGTERM)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, forward)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
