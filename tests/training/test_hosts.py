"""One run as several processes: same numbers as one, stopped together, none left hanging."""

import json
import signal
import time

import cv2
import jax
import numpy as np
import pytest
from processes import SMALL, launch, log_of, run, steps_of, wait, wait_for_step

from yolojax.data.from_config import open_source, train_batches
from yolojax.data.loader import fingerprint, row_digests
from yolojax.tasks import build
from yolojax.training import checkpoint

SHORT = (*SMALL, "--config.optimizer.images=32", "--config.eval.every_images=0")
LONG = (*SMALL, "--config.optimizer.images=960", "--config.eval.every_images=0")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Compiled programs, so that each is compiled once for all runs here."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def one(tmp_path_factory, cache):
    workdir = tmp_path_factory.mktemp("runs") / "one"
    run(workdir, *SHORT, processes=1, devices=4, cache=cache)
    return workdir


@pytest.fixture(scope="module")
def two(tmp_path_factory, cache):
    workdir = tmp_path_factory.mktemp("runs") / "two"
    run(workdir, *SHORT, processes=2, devices=2, cache=cache)
    return workdir


def state_of(workdir):
    config = checkpoint.load_config(workdir)
    with checkpoint.open_manager(workdir, 2) as manager:
        like = checkpoint.abstract_state(build(config), config)
        return jax.device_get(checkpoint.restore(manager, like, manager.latest_step()))


def assert_same_update(ours, theirs):
    """As between one device and eight: sums are taken in another order."""
    for name, tolerance in (("opt_state", 1e-3), ("params", 1e-5), ("batch_stats", 1e-5)):
        a, b = (jax.tree.leaves(getattr(state, name)) for state in (ours, theirs))
        floor = 1e-3 * np.sqrt(sum(np.sum(leaf**2) for leaf in a))
        for x, y in zip(a, b, strict=True):
            assert np.linalg.norm(x - y) <= tolerance * max(np.linalg.norm(x), floor), name


def test_two_processes_make_the_updates_of_one(one, two):
    assert_same_update(state_of(one), state_of(two))
    for ours, theirs in zip(steps_of(one), steps_of(two), strict=True):
        assert ours["batch"] == theirs["batch"], "the global batches differ"
        assert ours["train/loss"] == pytest.approx(theirs["train/loss"], rel=1e-5)


def test_a_state_split_over_two_processes_is_the_same(one, tmp_path, cache):
    workdir = tmp_path / "split"
    run(workdir, *SHORT, "--config.mesh.shard_state", processes=2, devices=2, cache=cache)
    assert_same_update(state_of(one), state_of(workdir))


def test_two_processes_evaluate_every_picture_once(one, two):
    ours, theirs = (json.loads((w / "eval" / "val.json").read_text()) for w in (one, two))
    assert ours["images"] == theirs["images"] == 200
    for metric in ("voc10", "coco_AP50"):
        assert ours[metric] == pytest.approx(theirs[metric], abs=1e-6)
    found = [json.loads((w / "eval" / "val_coco.json").read_text()) for w in (one, two)]
    assert len(found[0]) == pytest.approx(len(found[1]), rel=0.01)


def test_one_process_keeps_the_records_and_speaks(two):
    assert (two / "plots" / "val_batch0_pred.jpg").exists()
    assert len(list(two.glob("events*"))) == 1
    assert "voc10" in log_of(two, 0).read_text()
    assert "voc10" not in log_of(two, 1).read_text()


def test_nothing_compiles_during_the_run_of_two_processes(two):
    assert "were compiled during the run" not in log_of(two, 0).read_text()


def test_a_run_evaluated_by_two_processes_has_the_same_numbers(two, cache):
    options = ("--data=shapes:val", "--name=again", "--config.eval.bootstrap=10")
    run(two, *options, processes=2, devices=2, cache=cache, script="eval.py")
    before, after = (
        json.loads((two / "eval" / f"{name}.json").read_text()) for name in ("val", "again")
    )
    assert before["voc10"] == after["voc10"]


def test_a_signal_to_one_stops_all_and_one_process_goes_on(tmp_path, cache):
    """A checkpoint of two hosts is taken up by one; the order of the data goes on bit by bit."""
    workdir = tmp_path / "run"
    started = launch(workdir, *LONG, processes=2, devices=2, cache=cache)
    wait_for_step(workdir, 5)
    started[1].send_signal(signal.SIGTERM)
    assert wait(started, 60) == [0, 0], log_of(workdir, 1).read_text()[-2000:]
    saved = int(state_of(workdir).step)
    assert 5 < saved < 120
    run(workdir, *LONG, processes=1, devices=4, cache=cache)
    assert int(state_of(workdir).step) == 120
    config = checkpoint.load_config(workdir)
    source = open_source(config.data.train, config)
    batches = train_batches(source, config, "region", start_batch=0)
    expected = [fingerprint({"rows": row_digests(next(batches))}) for _ in range(120)]
    assert [line["batch"] for line in steps_of(workdir)] == expected


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_others_by_its_name(killed, tmp_path, cache):
    workdir = tmp_path / "run"
    started = launch(workdir, *LONG, processes=2, devices=2, cache=cache)
    wait_for_step(workdir, 3)
    started[killed].kill()
    begin, other = time.monotonic(), 1 - killed
    assert started[other].wait(60) == 1
    assert time.monotonic() - begin < 60
    said = log_of(workdir, other).read_text()
    assert f"process {killed} of 2 (host " in said
    assert "resume from the newest checkpoint" in said
    wait(started)


def labelled_folder(root, broken):
    """40 pictures of two classes, of which the last one may be broken."""
    for i in range(40):
        path = root / "val" / "ab"[i // 20] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = np.random.default_rng(i).integers(0, 256, (64, 64, 3), np.uint8)
        data = cv2.imencode(".png", picture)[1].tobytes()
        path.write_bytes(data[:50] if broken and i == 39 else data)
    return f"--config.data.dir={root}"


def test_what_one_process_cannot_read_ends_the_other_by_its_name(tmp_path, cache):
    """In the middle of an evaluation, where the other waits for what is in the broken picture."""
    workdir = tmp_path / "run"
    options = (
        "--config=configs/darknet19_imagenet.py:smoke",
        "--config.data.image_size=64,64",
        "--config.model.classes=('a', 'b')",
        "--config.data.train=folder:.:val",
        "--config.data.val=folder:.:val",
        "--config.optimizer.images=16",
        "--config.optimizer.batch_size=8",
        "--config.eval.batch_size=8",  # the last four of each eight are of process 1
        labelled_folder(tmp_path / "whole", broken=False),
    )
    own = (labelled_folder(tmp_path / "broken", broken=True),)
    how = {"processes": 2, "devices": 1, "cache": cache}
    statuses = wait(launch(workdir, *options, own=own, **how), 150)
    ours, theirs = (log_of(workdir, index).read_text() for index in (1, 0))
    assert statuses == [1, 1], ours + theirs
    assert "39.png" in ours
    assert "process 1 of 2 (host " in theirs
    assert "39.png" in theirs


@pytest.mark.slow
def test_four_processes_make_the_updates_of_one(one, tmp_path, cache):
    workdir = tmp_path / "four"
    run(workdir, *SHORT, processes=4, devices=1, cache=cache)
    assert_same_update(state_of(one), state_of(workdir))
    assert [x["batch"] for x in steps_of(one)] == [x["batch"] for x in steps_of(workdir)]


@pytest.mark.slow
def test_a_run_on_eight_devices_goes_on_on_two_hosts_of_two_and_on_one(tmp_path, cache):
    """Three places, one order of the data."""
    workdir, straight = tmp_path / "moved", tmp_path / "straight"
    for images, processes, devices in ((64, 1, 8), (128, 2, 2), (192, 1, 1)):
        length = f"--config.optimizer.images={images}"
        run(workdir, *SMALL, length, processes=processes, devices=devices, cache=cache)
    run(straight, *SMALL, "--config.optimizer.images=192", processes=1, devices=1, cache=cache)
    assert [x["batch"] for x in steps_of(workdir)] == [x["batch"] for x in steps_of(straight)]
    assert len(steps_of(workdir)) == 24
