"""A run of several processes makes the updates of one."""

import json

import pytest
from processes import SMALL, log_of, run, steps_of
from small_runs import WIDE, assert_same_update, state_of

SHORT = (
    *SMALL,
    f"--config.model.cfg={WIDE}",  # large enough to be sharded
    "--config.optimizer.images=32",
    "--config.eval.every_images=0",
)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "one"
    run(workdir, *SHORT, processes=1, devices=4)
    return workdir


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "two"
    run(workdir, *SHORT, processes=2, devices=2)
    return workdir


def test_two_processes_make_the_updates_of_one(one, two):
    assert_same_update(state_of(one), state_of(two))
    for ours, theirs in zip(steps_of(one), steps_of(two), strict=True):
        assert ours["batch"] == theirs["batch"], "the global batches differ"
        assert ours["train/loss"] == pytest.approx(theirs["train/loss"], rel=1e-5)


def test_a_state_sharded_over_two_processes_is_the_same(one, tmp_path):
    workdir = tmp_path / "sharded"
    run(workdir, *SHORT, "--config.mesh.shard_state=True", processes=2, devices=2)
    assert_same_update(state_of(one), state_of(workdir))


def test_two_processes_evaluate_every_picture_once(one, two):
    ours, theirs = (json.loads((w / "eval" / "val.json").read_text()) for w in (one, two))
    assert ours["images"] == theirs["images"] == 200
    for metric in ("voc10", "coco_AP50"):
        assert ours[metric] == pytest.approx(theirs[metric], abs=1e-6)
    ours, theirs = (json.loads((w / "eval" / "val_coco.json").read_text()) for w in (one, two))
    assert len(ours) == pytest.approx(len(theirs), rel=0.01)
    assert ours


def test_the_main_process_alone_writes_and_prints(two):
    assert (two / "plots" / "val_batch0_pred.jpg").exists()
    assert len(list(two.glob("events*"))) == 1
    assert "voc10" in log_of(two, 0).read_text()
    assert "voc10" not in log_of(two, 1).read_text()


def test_nothing_compiles_during_a_run_of_two_processes(two):
    assert "were compiled during the run" not in log_of(two, 0).read_text()


def test_eval_with_two_processes_repeats_the_numbers_of_the_run(two):
    options = ("--data=shapes:val", "--name=again", "--config.eval.bootstrap=10")
    run(two, *options, processes=2, devices=2, script="eval.py")
    before, after = (
        json.loads((two / "eval" / f"{name}.json").read_text()) for name in ("val", "again")
    )
    assert before["voc10"] == after["voc10"]
    assert after["checkpoint"]["choice"] == "best"
    assert (
        f"checkpoint of step {after['checkpoint']['step']}, the best by"
        in log_of(two, 0).read_text()
    )


@pytest.mark.slow  # the same as with two processes
def test_four_processes_make_the_updates_of_one(one, tmp_path):
    workdir = tmp_path / "four"
    run(workdir, *SHORT, processes=4, devices=1)
    assert_same_update(state_of(one), state_of(workdir))
    assert [x["batch"] for x in steps_of(one)] == [x["batch"] for x in steps_of(workdir)]


@pytest.mark.slow  # test_host_failures.py resumes a run of two processes with one
def test_a_run_on_eight_devices_resumes_on_two_hosts_and_then_on_one_device(tmp_path):
    workdir, straight = tmp_path / "moved", tmp_path / "straight"
    for images, processes, devices in ((64, 1, 8), (128, 2, 2), (192, 1, 1)):
        length = f"--config.optimizer.images={images}"
        run(workdir, *SMALL, length, processes=processes, devices=devices)
    run(straight, *SMALL, "--config.optimizer.images=192", processes=1, devices=1)
    assert [x["batch"] for x in steps_of(workdir)] == [x["batch"] for x in steps_of(straight)]
    assert len(steps_of(workdir)) == 24
