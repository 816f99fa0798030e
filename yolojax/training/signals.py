"""SIGTERM and Ctrl-C end a run after the step at hand, with its state saved."""

import signal
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_requested():
    """A function that says whether a signal has asked the run to stop.

    A second signal does what it always does, so that a run which hangs can be ended.
    """
    received = []
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in SIGNALS}

    def note(number, frame):
        received.append(number)
        signal.signal(number, before[number])

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
