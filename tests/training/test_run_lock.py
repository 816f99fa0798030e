"""The lock of a workdir: processes that run, that are gone, and that are on other machines."""

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from yolojax.training import run_lock


@pytest.fixture
def sleeper():
    """A process that does nothing."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def lock_of(process, workdir, **other):
    """Write the lock of `process`, with fields of `other`."""
    entry = json.loads(run_lock._content()) | {"pid": process.pid, "host": "node7"}
    entry["started"] = run_lock._start_of(process.pid)
    text = json.dumps(entry | other)
    (workdir / run_lock.FILE).write_text(text)
    return text


def owner(workdir):
    return json.loads((workdir / run_lock.FILE).read_text())["pid"]


def made_long_ago(path, seconds):
    when = time.time() - seconds
    os.utime(path, (when, when))


def refused(workdir, words):
    with pytest.raises(ValueError, match=words), run_lock.hold(workdir):
        pass


def test_the_lock_names_its_process_and_is_released(tmp_path):
    workdir = tmp_path / "runs" / "a"
    with run_lock.hold(workdir) as check:
        assert owner(workdir) == os.getpid()
        check()
    assert not workdir.exists()  # nothing was written to it
    workdir.mkdir(parents=True)
    with pytest.raises(KeyError), run_lock.hold(workdir):
        raise KeyError
    assert list(workdir.iterdir()) == []


def test_a_process_that_runs_is_named_and_its_lock_stays(tmp_path, sleeper):
    text = lock_of(sleeper, tmp_path)
    made_long_ago(tmp_path / run_lock.FILE, 1e6)
    refused(
        tmp_path, rf"{tmp_path}: process {sleeper.pid} on node7 \(since 20.*\) trains here; wait"
    )
    assert (tmp_path / run_lock.FILE).read_text() == text


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, sleeper, capsys):
    """Also while its parent has not waited for it."""
    lock_of(sleeper, tmp_path)
    sleeper.send_signal(signal.SIGKILL)
    end = time.monotonic() + 10
    while run_lock._start_of(sleeper.pid) is not None:
        assert time.monotonic() < end
    with run_lock.hold(tmp_path):
        assert owner(tmp_path) == os.getpid()
    assert f"process {sleeper.pid} on node7" in capsys.readouterr().err
    sleeper.wait()
    lock_of(sleeper, tmp_path, started="7")
    with run_lock.hold(tmp_path):
        pass


def test_another_process_with_the_same_number_does_not_hold_the_lock(tmp_path, sleeper):
    lock_of(sleeper, tmp_path, started="1")
    with run_lock.hold(tmp_path):
        assert owner(tmp_path) == os.getpid()


def test_on_another_machine_the_age_of_the_lock_decides(tmp_path, sleeper):
    lock_of(sleeper, tmp_path, machine="another")
    path = tmp_path / run_lock.FILE
    made_long_ago(path, run_lock.STALE - 60)
    refused(tmp_path, r"wrote its lock 24\d s ago; .* its lock ends after 300 s; or remove")
    made_long_ago(path, run_lock.STALE + 1)
    with run_lock.hold(tmp_path):
        assert owner(tmp_path) == os.getpid()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}', "[" * 100_000])
def test_a_damaged_lock_counts_as_that_of_another_machine(content, tmp_path):
    path = tmp_path / run_lock.FILE
    path.write_text(content)
    refused(tmp_path, "another process .its lock is damaged. trains here")
    made_long_ago(path, run_lock.STALE + 1)
    with run_lock.hold(tmp_path):
        assert owner(tmp_path) == os.getpid()


def test_a_lock_is_refreshed_and_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "REFRESH", 0.01)
    path = tmp_path / run_lock.FILE
    with run_lock.hold(tmp_path):
        made_long_ago(path, 1e6)
        wait_until(lambda: time.time() - path.stat().st_mtime < 1e5)
        path.unlink()
        wait_until(lambda: path.exists() and path.read_bytes())
        assert owner(tmp_path) == os.getpid()


def wait_until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_process_whose_lock_was_taken_over_stops(tmp_path, sleeper):
    with run_lock.hold(tmp_path) as check:
        text = lock_of(sleeper, tmp_path)
        with pytest.raises(
            ValueError, match=rf"process {sleeper.pid} .* has taken the workdir over"
        ):
            check()
    assert (tmp_path / run_lock.FILE).read_text() == text


def test_one_of_many_takes_a_stale_lock_over(tmp_path, sleeper):
    lock_of(sleeper, tmp_path, machine="another")
    made_long_ago(tmp_path / run_lock.FILE, run_lock.STALE + 1)
    held, refusals, ready = [], [], threading.Barrier(8)

    def acquire():
        ready.wait()
        try:
            with run_lock.hold(tmp_path):
                held.append(1)
                ready.wait()
        except ValueError as error:
            refusals.append(str(error))
            ready.wait()

    threads = [threading.Thread(target=acquire) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(held), len(refusals)) == (1, 7)


def test_a_workdir_that_cannot_be_made_is_an_error():
    with (
        pytest.raises(OSError, match=r"/proc/no/run: cannot be made \("),
        run_lock.hold(Path("/proc/no/run")),
    ):
        pass


def test_a_workdir_that_is_no_folder_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(NotADirectoryError, match="file: is a file, but a run is a folder"),
        run_lock.hold(tmp_path / "file"),
    ):
        pass


@pytest.mark.parametrize("kind", ["folder", "broken link"])
def test_a_lock_that_cannot_be_read_is_an_error(tmp_path, kind):
    path = tmp_path / run_lock.FILE
    _ = path.mkdir() if kind == "folder" else path.symlink_to(tmp_path / "none")
    refused(tmp_path, "run.lock: must be a file that can be read; if no process trains, remove it")
