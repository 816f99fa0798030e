"""Detect processes of a run that have died: then all others stop and report which one.

Without this the others would wait in a collective for ever. Each process writes a heartbeat to the
key-value store of JAX's coordinator, which runs in process 0, and reads those of the others.
"""

import contextlib
import ctypes
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

import jax

INTERVAL = 2.0  # seconds between two heartbeats
TIMEOUT = 30.0  # seconds without a heartbeat, after which a process counts as lost
BARRIER_TIMEOUT = 3600  # seconds to wait for processes that are alive
ALIVE, FAILED = "yolojax/alive", "yolojax/failed"  # folders of the key-value store
RESUME = "run the same command on all hosts to resume from the newest checkpoint"


@dataclass
class Heartbeat:
    """What this process knows of the processes of the run."""

    client: object  # of JAX's coordinator
    address: str  # HOST:PORT of the coordinator
    process: int  # index of this process
    count: int  # number of processes
    beats: dict[int, str] = field(default_factory=dict)  # process -> its newest heartbeat
    heard: dict[int, float] = field(default_factory=dict)  # process -> time of its last change
    failed: dict[int, str] = field(default_factory=dict)  # process -> why it ended
    timeout: float = TIMEOUT
    barriers: int = 0  # barriers passed; each needs a name
    closed: bool = False  # the run has ended, failures no longer matter


_heartbeat: Heartbeat | None = None
_handlers = []  # references, or the garbage collector frees them
_last_acts: list[Callable[[], None]] = []  # see `before_exit`


def start_heartbeat() -> None:
    """Start to send and read heartbeats; call once, after jax.distributed.initialize."""
    global _heartbeat
    from jax._src import distributed  # JAX has no public access to the key-value store

    state = distributed.global_state
    _heartbeat = Heartbeat(
        state.client, state.coordinator_address, state.process_id, state.num_processes
    )
    _heartbeat.heard = dict.fromkeys(range(_heartbeat.count), time.monotonic())
    if _heartbeat.process:
        address = _heartbeat.address
        on_abort(lambda: "" if _is_reachable(address) else _coordinator_lost(_heartbeat))
    # Two threads, because a call to a coordinator that hangs does not return.
    for target in (_exchange, _monitor):
        threading.Thread(target=target, args=(_heartbeat,), daemon=True).start()


def on_abort(explain: Callable[[], str]) -> None:
    """Print what `explain()` returns, if anything, when JAX aborts this process.

    JAX aborts at once when the coordinator is gone. It does so from a C++ thread, where Python's
    signal handlers do not run.
    """

    def handle(number):
        if message := explain():
            print(f"{sys.argv[0]}: {message}", file=sys.stderr, flush=True)
            os._exit(1)

    if sys.platform != "win32":
        _handlers.append(ctypes.CFUNCTYPE(None, ctypes.c_int)(handle))
        ctypes.CDLL(None).signal(signal.SIGABRT, _handlers[-1])


def _coordinator_lost(heartbeat: Heartbeat) -> str:
    return (
        f"{describe(heartbeat, 0)}, the coordinator of all others, is gone: it was killed, or its "
        f"host is down or cut off; {RESUME}."
    )


def _is_reachable(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
    except OSError:
        return False
    return True


def barrier() -> None:
    """Wait until all processes have called this; in a single process do nothing.

    A collective would also wait, but on CPU (Gloo) only half a minute.
    """
    if _heartbeat:
        _heartbeat.barriers += 1
        name = f"yolojax/barrier/{_heartbeat.barriers}"
        _heartbeat.client.wait_at_barrier(name, BARRIER_TIMEOUT * 1000)


def shutdown() -> None:
    """Wait for all processes, then stop the heartbeat and leave JAX's cluster."""
    if _heartbeat:
        barrier()
        _heartbeat.closed = True
        jax.distributed.shutdown()


def exit_with_error(error: BaseException) -> NoReturn:
    """End this process after `error`, and report the reason to the others."""
    _report(_heartbeat, _heartbeat.process, f"ended: {error}".strip().splitlines()[0])
    _exit(_heartbeat)


def wait_for_lost_process(error: BaseException) -> None:
    """Wait until the heartbeat names the process that is gone, if `error` may come from one.

    The heartbeat then ends this process, and the function does not return.
    """
    if _may_be_remote(error):
        _heartbeat.timeout = 4 * INTERVAL
        time.sleep(_heartbeat.timeout + 4 * INTERVAL)


def is_multiprocess() -> bool:
    """Return whether the run has other processes."""
    return _heartbeat is not None


def _may_be_remote(error: BaseException) -> bool:
    """Return whether a collective may have raised `error` because another process is gone.

    The message depends on the backend. The two codes below mean an error of this process.
    """
    local = ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT")
    is_jax = isinstance(error, jax.errors.JaxRuntimeError)
    return is_jax and not any(code in str(error) for code in local)


def _exchange(heartbeat: Heartbeat) -> None:
    """Send heartbeats and read those of the others until the run ends."""
    name, number = f"host {socket.gethostname()}, pid {os.getpid()}", 0
    while not heartbeat.closed:
        try:
            key, beat = f"{ALIVE}/{heartbeat.process}", f"{name}|{number}"
            heartbeat.client.key_value_set(key, beat, allow_overwrite=True)
            record_beats(heartbeat, _read(heartbeat, ALIVE), time.monotonic())
            heartbeat.failed = _read(heartbeat, FAILED)
        except jax.errors.JaxRuntimeError:
            pass  # the heartbeat of this process is missing too, see find_failure
        number += 1
        time.sleep(INTERVAL)


def _read(heartbeat: Heartbeat, folder: str) -> dict[int, str]:
    entries = heartbeat.client.key_value_dir_get(folder)
    return {int(key.rpartition("/")[2]): value for key, value in entries}


def record_beats(heartbeat: Heartbeat, beats: dict[int, str], now: float) -> None:
    """Record the time of each heartbeat in `beats` that is new."""
    for process, beat in beats.items():
        if heartbeat.beats.get(process) != beat:
            heartbeat.beats[process], heartbeat.heard[process] = beat, now


def _monitor(heartbeat: Heartbeat) -> None:
    """End this process when another one has failed or is lost."""
    before = time.monotonic()
    while not heartbeat.closed:
        time.sleep(INTERVAL / 2)
        now = time.monotonic()
        if now - before > 2 * INTERVAL:  # this process was suspended
            heartbeat.heard = dict.fromkeys(heartbeat.heard, now)
        before = now
        process, reason = find_failure(heartbeat, now) or (heartbeat.process, "")
        if process != heartbeat.process and not heartbeat.closed:
            message = f"{describe(heartbeat, process)} {reason}; {RESUME}."
            print(f"{sys.argv[0]}: {message}", file=sys.stderr, flush=True)
            if process not in heartbeat.failed:
                _report(heartbeat, process, reason)
            _exit(heartbeat)


def find_failure(heartbeat: Heartbeat, now: float) -> tuple[int, str] | None:
    """Return the process that ends the run and the reason, or None while all are alive."""
    for process, reason in heartbeat.failed.items():
        return process, reason
    silent = {process: now - last for process, last in heartbeat.heard.items()}
    lost = [process for process, seconds in silent.items() if seconds > heartbeat.timeout]
    if not lost:
        return None
    # A process reads its own heartbeat from process 0. If that is missing, process 0 is lost.
    process = 0 if heartbeat.process in lost else min(lost)
    return process, (
        f"has sent no heartbeat for {silent[process]:.0f} s: it was killed, or its host is down or "
        "cut off. All processes stop"
    )


def describe(heartbeat: Heartbeat, process: int) -> str:
    """Name a process by its index and, if it has sent a heartbeat, its host."""
    name = heartbeat.beats.get(process, "").partition("|")[0]
    return f"process {process} of {heartbeat.count}" + (f" ({name})" if name else "")


def _report(heartbeat: Heartbeat, process: int, reason: str) -> None:
    """Write to the store that `process` has failed; give up if the store does not answer."""

    def write():
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            heartbeat.client.key_value_set(f"{FAILED}/{process}", reason, allow_overwrite=True)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    thread.join(2 * INTERVAL)


def before_exit(act: Callable[[], None]) -> None:
    """Call `act` before the heartbeat ends this process, which skips `finally` and `with`."""
    _last_acts.append(act)


def _exit(heartbeat: Heartbeat) -> NoReturn:
    """End without waiting for the others; process 0, which has the store, lets them read first."""
    if heartbeat.process == 0:
        time.sleep(3 * INTERVAL)
    for act in _last_acts:
        act()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(1)
