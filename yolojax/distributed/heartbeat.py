"""Whether the other processes of a run are alive. What ends one of them ends all, by its name.

Left alone, the others would wait in a collective for ever. Each process leaves a sign of life in
the store of JAX's coordinator (process 0), and looks for those of the others.
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

BEAT = 2.0  # seconds between two signs of life
SILENCE = 30.0  # seconds without one, after which a process counts as lost
MEETING = 3600  # seconds to wait for processes that are alive
ALIVE, FAILED = "yolojax/alive", "yolojax/failed"
AGAIN = "the same command on all of them goes on from the newest checkpoint"


@dataclass
class Peers:
    """What this process knows of all, itself among them."""

    client: object  # of JAX's coordinator, which is in process 0: a store of keys and values
    address: str  # HOST:PORT of it
    process: int
    count: int
    beats: dict[int, str] = field(default_factory=dict)  # process -> its newest sign of life
    heard: dict[int, float] = field(default_factory=dict)  # process -> when that was new here
    failed: dict[int, str] = field(default_factory=dict)  # process -> why it ended
    patience: float = SILENCE  # seconds without a sign of life until a process is lost
    met: int = 0  # how often they have waited for each other
    left: bool = False  # this run is over; whatever happens now is nobody's business


_peers: Peers | None = None
handlers = []  # kept from the garbage collector


def watch() -> None:
    """Begin to give signs of life and to look for them; once, after jax.distributed.initialize."""
    global _peers
    from jax._src import distributed  # JAX has no public door to the store

    joined = distributed.global_state
    about = joined.client, joined.coordinator_address, joined.process_id, joined.num_processes
    _peers = Peers(*about)
    _peers.heard = dict.fromkeys(range(_peers.count), time.monotonic())
    if _peers.process:
        on_abort(lambda: "" if _answers(_peers.address) else _gone(_peers))
    # Apart, because a call to a coordinator that hangs does not return.
    for work in (_exchange, _judge):
        threading.Thread(target=work, args=(_peers,), daemon=True).start()


def on_abort(explain: Callable[[], str]) -> None:
    """Say what `explain()` returns, if anything, when JAX aborts this process.

    It does so from a thread of its own, where Python's signal handlers would not run any more: when
    the coordinator is gone, and at once.
    """

    def note(number):
        if words := explain():
            print(f"{sys.argv[0]}: {words}", file=sys.stderr, flush=True)
            os._exit(1)

    if sys.platform != "win32":
        handlers.append(ctypes.CFUNCTYPE(None, ctypes.c_int)(note))
        ctypes.CDLL(None).signal(signal.SIGABRT, handlers[-1])


def _gone(peers: Peers) -> str:
    return (
        f"{describe(peers, 0)}, which all others need, is gone: it was killed, or its host is down "
        f"or cut off; {AGAIN}."
    )


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
    except OSError:
        return False
    return True


def meet() -> None:
    """Wait until all processes are here, where some may have been slower than others.

    A collective would wait as well, but of those on CPU only half a minute (Gloo).
    """
    if _peers:
        _peers.met += 1
        _peers.client.wait_at_barrier(f"yolojax/meet/{_peers.met}", MEETING * 1000)


def leave() -> None:
    """Wait for the others to get here; then none of them watches any more."""
    if _peers:
        meet()
        _peers.left = True
        jax.distributed.shutdown()


def fail(error: BaseException) -> NoReturn:
    """End this process after `error`, and tell the others why."""
    _tell(_peers, _peers.process, f"ended: {error}".strip().splitlines()[0])
    _exit(_peers)


def find_out(error: BaseException) -> None:
    """Wait for the name of the process that is gone, if `error` says that one is.

    It does not return then: this process is ended with that name.
    """
    if _blames_others(error):
        _peers.patience = 4 * BEAT
        time.sleep(_peers.patience + 4 * BEAT)


def several() -> bool:
    """Whether this process watches others."""
    return _peers is not None


def _blames_others(error: BaseException) -> bool:
    """Whether `error` may be what a collective raises whose other end is gone.

    Every backend has words of its own for that; these two say that it is this process's own.
    """
    own = ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT")
    is_jax = isinstance(error, jax.errors.JaxRuntimeError)
    return is_jax and not any(word in str(error) for word in own)


def _exchange(peers: Peers) -> None:
    """Leave signs of life and gather those of the others, as long as the process lives."""
    name, number = f"host {socket.gethostname()}, pid {os.getpid()}", 0
    while not peers.left:
        try:
            sign = f"{name}|{number}"
            peers.client.key_value_set(f"{ALIVE}/{peers.process}", sign, allow_overwrite=True)
            note(peers, _read(peers, ALIVE), time.monotonic())
            peers.failed = _read(peers, FAILED)
        except jax.errors.JaxRuntimeError:
            pass  # then nobody is heard, ourselves neither, and _judge knows what it means
        number += 1
        time.sleep(BEAT)


def _read(peers: Peers, folder: str) -> dict[int, str]:
    found = peers.client.key_value_dir_get(folder)
    return {int(key.rpartition("/")[2]): value for key, value in found}


def note(peers: Peers, beats: dict[int, str], now: float) -> None:
    """Take down which processes have given a new sign of life."""
    for process, beat in beats.items():
        if peers.beats.get(process) != beat:
            peers.beats[process], peers.heard[process] = beat, now


def _judge(peers: Peers) -> None:
    """End this process once one of them has failed or is lost."""
    before = time.monotonic()
    while not peers.left:
        time.sleep(BEAT / 2)
        now = time.monotonic()
        if now - before > 2 * BEAT:  # it was this process that slept
            peers.heard = dict.fromkeys(peers.heard, now)
        before = now
        process, why = judge(peers, now) or (peers.process, "")
        if process != peers.process and not peers.left:
            words = f"{describe(peers, process)} {why}; {AGAIN}."
            print(f"{sys.argv[0]}: {words}", file=sys.stderr, flush=True)
            if process not in peers.failed:
                _tell(peers, process, why)
            _exit(peers)


def judge(peers: Peers, now: float) -> tuple[int, str] | None:
    """Which process ends the run, and what it did; None while all is well."""
    for process, why in peers.failed.items():
        return process, why
    silent = {process: now - when for process, when in peers.heard.items()}
    lost = [process for process, seconds in silent.items() if seconds > peers.patience]
    if not lost:
        return None
    # Our own signs are read back from process 0: where they are missing, it is the one.
    process = 0 if peers.process in lost else min(lost)
    return process, (
        f"has not been heard from for {silent[process]:.0f} s: it was killed, or its host is down "
        "or cut off. All processes end"
    )


def describe(peers: Peers, process: int) -> str:
    """A process by its number and, as soon as it has been heard of, its host."""
    name = peers.beats.get(process, "").partition("|")[0]
    return f"process {process} of {peers.count}" + (f" ({name})" if name else "")


def _tell(peers: Peers, process: int, why: str) -> None:
    """Leave word for the others; in vain where the store is gone, or does not answer."""

    def tell():
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            peers.client.key_value_set(f"{FAILED}/{process}", why, allow_overwrite=True)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    thread.join(2 * BEAT)


def _exit(peers: Peers) -> NoReturn:
    """End without waiting for anybody; process 0 lets the others read why, for the store is its."""
    if peers.process == 0:
        time.sleep(3 * BEAT)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(1)
