"""One training at a time in a workdir: WORKDIR/run.lock names the process that trains there.

The file is made with O_EXCL, which network file systems keep too, and holds {"host", "pid",
"since", "machine", "started"}. Its process writes it again every REFRESH seconds. The lock of a
process that has ended is taken over: on the same machine if there is no such process, from another
machine if the file was not written for STALE seconds.
"""

import contextlib
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from yolojax.distributed import heartbeat
from yolojax.distributed.processes import is_main
from yolojax.json_files import parse_json, to_json

FILE = "run.lock"
REFRESH = 20.0  # seconds
ATTEMPTS = 50  # to make the lock; others may release and take it in between
STALE = 300.0  # seconds; a machine that is busy or suspended for less keeps its lock


@contextmanager
def hold(workdir: Path) -> Iterator[Callable[[], None]]:
    """Lock `workdir`, which is made if it does not exist -> a function that checks the lock.

    Of several processes of a run, the main one holds the lock.

    Raises:
        ValueError: another process trains in `workdir`; and later, from the function that is
            yielded: another process has taken the lock over.
        OSError: `workdir` cannot be written.
    """
    if not is_main():
        yield lambda: None
        return
    is_new = not workdir.exists()
    _make_folder(workdir)
    path, content = workdir / FILE, _content()
    with _exclusive(workdir):
        _acquire(path, content)
    ended = threading.Event()
    refreshing = threading.Thread(target=_refresh_until, args=(ended, path, content), daemon=True)
    refreshing.start()

    def release():
        ended.set()
        refreshing.join(10)  # not for ever: a network file system may hang
        if _read(path) == content:
            path.unlink(missing_ok=True)
        if is_new:
            with contextlib.suppress(OSError):  # it is not empty
                workdir.rmdir()

    heartbeat.before_exit(release)
    try:
        yield lambda: _check_held(path, content)
    finally:
        release()


def _make_folder(workdir: Path) -> None:
    if workdir.exists() and not workdir.is_dir():
        raise NotADirectoryError(f"{workdir}: is a file, but a run is a folder; choose another.")
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"{workdir}: cannot be made ({error.strerror}); choose another --workdir."
        ) from error


def _content() -> bytes:
    """Return the content of the lock of this process."""
    entry = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "machine": _machine(),
        "started": _start_of(os.getpid()),
    }
    return f"{to_json(entry)}\n".encode()


def _machine() -> str:
    """Identify where process ids are comparable: a boot of a kernel and a namespace of ids.

    Containers may have the same host name and other processes of the same ids.
    """
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _start_of(pid: int) -> str | None:
    """Return when a process of this machine started ("" if unknown); None if it does not run."""
    if not Path("/proc/self/stat").exists():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass  # it runs, as another user
        return ""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # proc(5): state is the first, start time the 20th
    return None if fields[0] in "ZX" else fields[19]


def _acquire(path: Path, content: bytes) -> None:
    """Make the lock; one of a process that has ended is replaced.

    Raises:
        ValueError: a process that runs has it, or `path` is no file that can be read.
        OSError: it cannot be made or removed.
    """
    for _ in range(ATTEMPTS):
        if _created(path, content):
            return
        found = _read(path)
        if found is None:  # it was released at this moment, or cannot be read
            time.sleep(0.02)
            continue
        holder = _parse(found)
        problem = _reason_to_wait(path, holder)
        if problem:
            raise ValueError(problem)
        print(f"{path}: {_name(holder)} has ended; its lock is taken over", file=sys.stderr)
        path.unlink(missing_ok=True)
    raise ValueError(f"{path}: must be a file that can be read; if no process trains, remove it.")


def _created(path: Path, content: bytes) -> bool:
    """Make the lock file -> whether it was not there."""
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    try:
        os.write(file, content)
        os.fsync(file)
    except OSError:
        path.unlink()
        raise
    finally:
        os.close(file)
    return True


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _parse(found: bytes) -> dict:
    """Return the fields of a lock; {} if it is damaged."""
    try:
        holder = parse_json(found, FILE)
    except ValueError:
        return {}
    kinds = {"host": str, "pid": int, "since": str, "machine": str}
    valid = isinstance(holder, dict) and all(
        isinstance(holder.get(name), kind) for name, kind in kinds.items()
    )
    return holder if valid else {}


def _reason_to_wait(path: Path, holder: dict) -> str | None:
    """Explain why the lock `path` of `holder` is in force; None if its process has ended."""
    who = f"{path.parent}: {_name(holder)} trains here"
    if holder and holder["machine"] == _machine() and sys.platform != "win32":
        if _start_of(holder["pid"]) != holder.get("started"):
            return None
        return f"{who}; wait for it, stop it, or choose another --workdir."
    try:
        silent = _now(path.parent) - path.stat().st_mtime
    except FileNotFoundError:
        return None
    if silent > STALE:
        return None
    return (
        f"{who}, and wrote its lock {max(silent, 0):.0f} s ago; wait for it, stop it, or choose "
        f"another --workdir. If it has ended, its lock ends after {STALE:.0f} s; or remove {path}."
    )


def _name(holder: dict) -> str:
    if not holder:
        return "another process (its lock is damaged)"
    return f"process {holder['pid']} on {holder['host']} (since {holder['since']})"


def _now(folder: Path) -> float:
    """Return the time of the file system of `folder`, whose clock may differ from this one's."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"\n")
        file.flush()
        return os.fstat(file.fileno()).st_mtime


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Let processes acquire one after the other, where the file system can do that.

    Otherwise two that take over the same lock at the same moment might both succeed.
    """
    try:
        import fcntl

        file = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):  # Windows
        yield
        return
    try:
        for _ in range(20):  # not for ever: a user's own `flock FOLDER yolojax train` may hold it
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.1)
            except OSError:
                break
        yield
    finally:
        os.close(file)


def _refresh_until(ended: threading.Event, path: Path, content: bytes) -> None:
    while not ended.wait(REFRESH):
        # The bytes do not change. If the file is another process's now, `_check_held` says so.
        with contextlib.suppress(OSError):
            if _created(path, content):
                continue  # somebody had removed it
            with path.open("r+b") as file:
                if file.read() == content:
                    file.seek(0)
                    file.write(content)


def _check_held(path: Path, content: bytes) -> None:
    found = _read(path)
    if found and found != content:  # an empty one is being written; the next check has the rest
        raise ValueError(
            f"{path}: {_name(_parse(found))} has taken the workdir over, as this process seemed "
            "to be gone; it stops here and saves nothing more."
        )
