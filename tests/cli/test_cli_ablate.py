"""`yolojax ablate`: misuse, and two rows with two seeds trained for real."""

import json
import re

import pytest

from yolojax.cli.main import main

BASE = '''"""Priors of YOLOv2"""
from yolojax.config import Config

def get_config(arg):
    config = Config()
    config.model.name = "yolov2_tiny_voc"
    config.model.width = 1.0
    config.model.anchors = ((1.0, 1.0), (2.0, 2.0))
    config.data.image_size = (64, 64)
    config.optimizer.batch_size = 4
    config.optimizer.images = 8
    config.eval.bootstrap = 0
    config.log_every = 1
    return config
'''
NARROWER = '''"""+ at most this width"""
def change(config):
    config.model.width = min(config.model.width, 0.5)
'''
ONE_PRIOR = '''"""+ one prior"""
def change(config):
    config.model.anchors = ((1.0, 1.0),)
'''
OVERLAYS = {"a_base.py": BASE, "b_narrower.py": NARROWER, "c_one_prior.py": ONE_PRIOR}


@pytest.fixture
def study(tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    for name, text in OVERLAYS.items():
        (folder / name).write_text(text)
    return folder


def ablate(study, *words):
    given = ["--data=shapes:", "--splits=train,val", f"--workdir={study.parent / 'w'}"]
    return main(["ablate", str(study), *given, *words])


def test_two_rows_with_two_seeds_are_trained_and_compared(study, capfd, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    words = ("--seeds=2", "--jobs=2", "--config.model.width=0.0625")
    assert ablate(study, *words) == 0, capfd.readouterr()
    workdir = study.parent / "w"
    page = (workdir / "ablation.md").read_text()
    assert "| Priors of YOLOv2 " in page
    assert re.search(r"\| \+ at most this width +\| not run: the same as the previous row", page)
    first, _, last = json.loads((workdir / "ablation.json").read_text())["rows"]
    assert [len(first["scores"]), len(last["scores"])] == [2, 2]
    assert first["parameters"] > last["parameters"]
    assert len(last["difference"]["interval"]) == 2
    assert last["train_seconds"] > 0
    assert (workdir / "ablation.png").exists()
    assert json.loads((workdir / "c_one_prior/seed1/config.json").read_text())["seed"] == 1

    before = (workdir / "c_one_prior/seed1/log.txt").stat().st_mtime_ns
    (workdir / "ablation.md").unlink()
    assert ablate(study, *words) == 0  # all runs are complete: only the table is written again
    assert (workdir / "ablation.md").read_text().splitlines()[4:9] == page.splitlines()[4:9]
    assert (workdir / "c_one_prior/seed1/log.txt").stat().st_mtime_ns == before


def test_a_failed_run_ends_with_1_and_a_table(study, capfd, monkeypatch, tmp_path):
    failing = tmp_path / "yolojax.py"
    failing.write_text("import sys; sys.exit('no such accelerator')")
    monkeypatch.chdir(tmp_path)  # where `python -m yolojax` looks first
    assert ablate(study, "--seeds=1", "--only=c_one_prior") == 1
    told = capfd.readouterr()
    assert "no such accelerator" in told.out
    assert "failed: c_one_prior/seed0; the same command tries again" in told.err
    page = (tmp_path / "w" / "ablation.md").read_text()
    assert re.search(r"\| \+ one prior +\| +no result yet", page)
    assert not (tmp_path / "w" / "a_base").exists()


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--seeds=0"], 2, "--seeds must be 1 or more"),
        (["--jobs=0"], 2, "--jobs must be 1 or more"),
        (["--test=shapes:val"], 2, "remove --splits"),
        (["--only=c_one_priro"], 1, "row 'c_one_priro' is unknown; known: a_base, b_narrower, c_"),
        (["--config.model.widht=1"], 2, "Did you mean --config.model.width?"),
        (["--splits=train,test"], 1, "shapes:test: no such split"),
    ],
)
def test_misuse_is_one_line(study, capsys, words, status, message):
    assert ablate(study, *words) == status
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1
    assert not (study.parent / "w").exists()
