"""Damaged checkpoints and full disks."""

import json
import shutil
import subprocess
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolojax.config import Config
from yolojax.distributed.sharding import make_mesh
from yolojax.training import checkpoint, checksums
from yolojax.training.metrics import RunLog
from yolojax.training.state import TrainState


def state_at(step, size=1000):
    values = np.random.default_rng(step).random(size, np.float32)
    params = {"layer": {"kernel": jnp.asarray(values)}}
    return TrainState(jnp.int32(step), jnp.int32(8 * step), params, {}, {}, None)


def save_steps(workdir, *steps, size=1000):
    with checkpoint.open_manager(workdir, 2) as manager:
        for step in steps:
            checkpoint.finish(manager, state_at(step, size), Config())


def resumed(workdir, size=1000):
    with checkpoint.open_newest(workdir, 2) as (manager, newest):
        return checkpoint.restore(manager, state_at(0, size), newest)


def largest_file(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != checksums.NAME]
    return max(files, key=lambda path: path.stat().st_size)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "other bytes": flip,
    "bytes, but": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "is missing": Path.unlink,
}


@pytest.mark.parametrize("words", DAMAGES)
def test_a_damaged_checkpoint_is_skipped(words, tmp_path, capsys):
    save_steps(tmp_path, 1, 2)
    file = largest_file(tmp_path / "checkpoints" / "2")
    DAMAGES[words](file)
    state = resumed(tmp_path)
    assert int(state.step) == 1
    np.testing.assert_array_equal(
        state.params["layer"]["kernel"], state_at(1).params["layer"]["kernel"]
    )
    output = capsys.readouterr()
    assert f"checkpoint 2 is damaged: {file}" in output.err
    assert words in output.err
    assert len(list((tmp_path / "damaged").glob("2_*"))) == 1
    save_steps(tmp_path, 2)  # the step can be saved again
    assert int(resumed(tmp_path).step) == 2


def test_a_run_does_not_restart_if_all_checkpoints_are_damaged(tmp_path):
    save_steps(tmp_path, 1, 2)
    for step in ("1", "2"):
        flip(largest_file(tmp_path / "checkpoints" / step))
    with pytest.raises(ValueError, match=r"all checkpoints \(1, 2\) are damaged; use a new"):
        resumed(tmp_path)


@pytest.mark.parametrize("file", ["metrics/metrics", "config/metadata"])
def test_damaged_text_of_a_checkpoint_is_named(file, tmp_path):
    """Without checksums, as in checkpoints of the first versions."""
    save_steps(tmp_path, 1)
    folder = tmp_path / "checkpoints" / "1"
    (folder / checksums.NAME).unlink()
    (folder / file).write_text('{"sco')
    with pytest.raises(ValueError, match=rf"{tmp_path}/checkpoints/.* damaged"):
        checkpoint.restore_best(tmp_path)


def test_damaged_values_are_an_error_without_traces(tmp_path, capfd):
    save_steps(tmp_path, 1)
    folder = tmp_path / "checkpoints" / "1"
    (folder / checksums.NAME).unlink()
    for path in (folder / "state").rglob("d/*"):
        path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(ValueError, match="checkpoints/1 is damaged") as caught:
        resumed(tmp_path)
    assert "\n" not in str(caught.value)
    assert "Traceback" not in capfd.readouterr().err


def test_an_unfinished_checkpoint_is_removed(tmp_path, capsys):
    save_steps(tmp_path, 1)
    left = tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "checkpoints" / "1", left)
    assert int(resumed(tmp_path).step) == 1
    assert "2.orbax-checkpoint-tmp: unfinished" in capsys.readouterr().out
    assert not left.exists()


def test_a_checkpoint_without_checksums_is_restored(tmp_path):
    save_steps(tmp_path, 1)
    (tmp_path / "checkpoints" / "1" / checksums.NAME).unlink()
    assert int(resumed(tmp_path).step) == 1


def test_damaged_checksums_are_damage(tmp_path):
    save_steps(tmp_path, 1, 2)
    (tmp_path / "checkpoints" / "2" / checksums.NAME).write_text("{")
    assert int(resumed(tmp_path).step) == 1


def test_checksums_are_written_as_soon_as_a_checkpoint_is_saved(tmp_path):
    """Otherwise a killed process would leave a checkpoint without them."""
    with checkpoint.open_manager(tmp_path, 2) as manager:
        checkpoint.save(manager, state_at(1), Config())
        end = time.monotonic() + 60
        while not (tmp_path / "checkpoints" / "1" / checksums.NAME).exists():
            assert time.monotonic() < end
            time.sleep(0.05)


def test_every_file_has_a_checksum(tmp_path):
    save_steps(tmp_path, 1)
    folder = tmp_path / "checkpoints" / "1"
    saved = json.loads((folder / checksums.NAME).read_text())
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert saved.keys() == files - {checksums.NAME}
    assert checksums.find_damage(folder) is None


def test_older_checkpoints_are_verified_and_resume(tmp_path):
    save_steps(tmp_path, 1, 2)
    for step in ("1", "2"):
        folder = tmp_path / "checkpoints" / step
        (folder / checksums.NAME).rename(folder / "seal.json")
    assert int(resumed(tmp_path).step) == 2
    flip(largest_file(tmp_path / "checkpoints" / "2"))
    assert int(resumed(tmp_path).step) == 1
    assert not list(tmp_path.rglob(checksums.NAME))


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder))
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"mounting a disk needs root: {error}")
    yield folder
    subprocess.run(("umount", str(folder)), check=True)


def fill(disk, free=300_000):
    (disk / "blob").write_bytes(bytes(max(shutil.disk_usage(disk).free - free, 0)))


def test_a_full_disk_is_reported_and_the_state_is_saved_later(small_disk, capsys, monkeypatch):
    save_steps(small_disk, 1, size=200_000)
    fill(small_disk)

    def make_room(seconds):
        assert seconds == checkpoint.RETRY
        (small_disk / "blob").unlink()

    monkeypatch.setattr(checkpoint, "wait", make_room)
    save_steps(small_disk, 2, size=200_000)
    error = capsys.readouterr().err
    assert "a checkpoint could not be saved (RESOURCE_EXHAUSTED" in error
    assert "The newest complete one is 1" in error
    assert "trying again in 10 s, for 10 minutes" in error
    assert int(resumed(small_disk, 200_000).step) == 2


def test_a_run_continues_after_a_failed_save(small_disk, capsys):
    with checkpoint.open_manager(small_disk, 2) as manager:
        checkpoint.finish(manager, state_at(1, 200_000), Config())
        fill(small_disk)
        checkpoint.save(manager, state_at(2, 200_000), Config())
        checkpoint.save(manager, state_at(3, 10), Config())  # reports the failure of step 2
        (small_disk / "blob").unlink()
        checkpoint.finish(manager, state_at(4, 200_000), Config())
        assert manager.latest_step() == 4
    assert "could not be saved" in capsys.readouterr().err


def test_a_state_that_cannot_be_saved_in_time_is_an_error(small_disk, monkeypatch):
    save_steps(small_disk, 1, size=200_000)
    fill(small_disk)
    monkeypatch.setattr(checkpoint, "GIVE_UP", -1)
    with (
        checkpoint.open_manager(small_disk, 2) as manager,
        pytest.raises(OSError, match="step 2 could not be saved"),
    ):
        checkpoint.finish(manager, state_at(2, 200_000), Config())
    assert int(resumed(small_disk, 200_000).step) == 1


def test_a_full_disk_does_not_stop_the_run(small_disk, capsys):
    mesh = make_mesh(jax.devices()[:1])
    with RunLog(small_disk, Config(), 0, 0, 100, mesh=mesh, broken=small_disk) as log:
        log.write(1, 8, {"train/loss": 1.0})
        fill(small_disk, free=0)
        for step in range(2, 50):  # more than TensorBoard's queue holds
            log.write(step, 8 * step, {"train/loss": 1.0})
        log.record_event("checkpoint", 50)
        (small_disk / "blob").unlink()
        log.write(51, 408, {"train/loss": 1.0})
    steps = [json.loads(line)["step"] for line in (small_disk / "metrics.jsonl").open()]
    assert steps == [1, 51]
    assert capsys.readouterr().err.count("the disk is full") == 1
