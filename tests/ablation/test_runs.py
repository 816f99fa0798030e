"""Runs of a fake command; a real one is in test_cli_ablate.py."""

import fcntl
import json
import sys
from dataclasses import replace

import pytest

from yolojax.ablation import runs as module
from yolojax.ablation.rows import Row
from yolojax.ablation.runs import execute, is_complete, plan, train_command
from yolojax.config import Config
from yolojax.training.checkpoint import load_config

START = """
import os, signal, sys, time
from pathlib import Path
workdir = Path(sys.argv[1])
row, seed = workdir.parts[-2:]
def end():
    (workdir / "eval").mkdir()
    (workdir / "eval" / "val.json").write_text("{}")
print("trained", row, seed)
"""


@pytest.fixture
def rows():
    wide = Config()
    wide.model.width = 2.0
    return [Row("a", "A", Config()), Row("b", "B", wide), Row("c", "C", wide, "the same")]


@pytest.fixture
def fake(tmp_path):
    """fake(body) -> a command for `execute`: a script that ends in `body`."""

    def make(body):
        script = tmp_path / "fake.py"
        script.write_text(START + body)
        return lambda workdir: [sys.executable, str(script), str(workdir)]

    return make


def names(runs):
    return [run.name for run in runs]


def attempts(run):
    return (run.workdir / "log.txt").read_text().count("trained")


def test_runs_are_planned_seed_after_seed(rows, tmp_path):
    runs = plan(rows, 2, tmp_path)
    assert names(runs) == ["a/seed0", "b/seed0", "a/seed1", "b/seed1"]
    assert [run.config.seed for run in runs] == [0, 0, 1, 1]
    assert runs[3].config.model.width == 2.0
    assert runs[3].workdir == tmp_path / "b" / "seed1"


def test_every_run_has_its_config_and_log_and_is_run_once(rows, tmp_path, fake):
    runs = plan(rows, 2, tmp_path)
    assert execute(runs, command=fake("end()")) == []
    assert all(map(is_complete, runs))
    assert [load_config(run.workdir) for run in runs] == [run.config for run in runs]
    more = plan(rows, 3, tmp_path)
    assert execute(more, command=fake("end()")) == []
    assert [attempts(run) for run in more] == [1] * 6
    assert (tmp_path / "b/seed1/log.txt").read_text() == "trained b seed1\n"


def test_a_failed_run_reports_why_and_the_others_continue(rows, tmp_path, fake):
    runs = plan(rows, 2, tmp_path)
    body = "print(*range(9), sep='\\n')\nend() if row == 'b' else sys.exit('broken: no picture')"
    failures = execute(runs, command=fake(body))
    assert [failure.name for failure in failures] == ["a/seed0", "a/seed1"]
    assert "failed with exit status 1" in failures[0].reason
    assert str(tmp_path / "a/seed0/log.txt") in failures[0].reason
    # stderr is not buffered and stdout is, so which of the two is last in the log is not known.
    assert len(failures[0].reason.splitlines()) == 1 + module.LOG_LINES
    assert [is_complete(run) for run in runs] == [False, True, False, True]
    assert execute(runs, command=fake("end()")) == []
    assert [attempts(run) for run in runs] == [2, 1, 2, 1]


def test_progress_bars_are_no_part_of_the_reason(rows, tmp_path, fake):
    bars = "training:   3%|#     | 3/99 [00:00<00:09, 9step/s, loss 4]"
    body = f"print('\\r{bars}\\r{bars}no more memory\\r     \\r')\nsys.exit(1)"
    (failure,) = execute(plan(rows[:1], 1, tmp_path), command=fake(body))
    assert failure.reason.splitlines()[1:] == ["    trained a seed0", "    no more memory"]


def test_a_run_without_a_result_is_a_failure(rows, tmp_path, fake):
    (failure,) = execute(plan(rows[:1], 1, tmp_path), command=fake(""))
    assert failure.reason.startswith("ended without a result")
    assert failure.reason.endswith("trained a seed0")


def test_jobs_are_run_at_once(rows, tmp_path, fake):
    meet = """
(workdir / "here").touch()
while len(list(workdir.parents[1].glob("*/*/here"))) < 2:
    time.sleep(0.01)
end()
"""
    runs = plan(rows, 1, tmp_path)
    assert execute(runs, jobs=2, command=fake(meet)) == []


def test_a_stopped_ablation_resumes(rows, tmp_path, fake):
    stopped = """
def save(*_):
    (workdir / "saved").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
if (row, seed) == ("b", "seed0"):
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(60)
end()
"""
    runs = plan(rows, 2, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        execute(runs, command=fake(stopped))
    assert [is_complete(run) for run in runs] == [True, False, False, False]
    assert (runs[1].workdir / "saved").exists()  # it was told to end, and waited for
    assert not runs[2].workdir.exists()
    assert execute(plan(rows, 2, tmp_path), command=fake("end()")) == []
    assert [attempts(run) for run in runs] == [1, 2, 1, 1]


def test_a_run_that_another_process_trains_is_left_alone(rows, tmp_path, fake):
    runs = plan(rows[:1], 1, tmp_path)
    runs[0].workdir.mkdir(parents=True)
    with (runs[0].workdir / "log.txt").open("ab") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="a/seed0: another process is training it"):
            execute(runs, command=fake("end()"))
    assert not is_complete(runs[0])


def test_a_folder_with_another_config_is_refused(rows, tmp_path, fake):
    execute(plan(rows, 1, tmp_path), command=fake("end()"))
    longer = replace(rows[1].config, optimizer=replace(Config().optimizer, images=64))
    message = r"b/seed0: .* \(config\.optimizer\.images was 5132800 and is 64\)\. Use another"
    with pytest.raises(ValueError, match=message):
        plan([rows[0], rows[1]._replace(config=longer)], 1, tmp_path)


def test_a_damaged_config_is_named(rows, tmp_path):
    (tmp_path / "a" / "seed0").mkdir(parents=True)
    (tmp_path / "a" / "seed0" / "config.json").write_text(json.dumps({"seed": "x"}))
    with pytest.raises(ValueError, match=r"config\.json: not a config of this version"):
        plan(rows, 1, tmp_path)


def test_a_run_is_trained_by_the_command_of_this_python(tmp_path):
    command = train_command(tmp_path)
    assert command == [sys.executable, "-m", "yolojax", "train", f"--workdir={tmp_path}"]
