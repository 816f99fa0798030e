import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import chex
import jax
import numpy as np
import pytest
import small_detector

from yolojax.cli.convert import report
from yolojax.export.safetensors import flat
from yolojax.loading import load_model
from yolojax.saving import RUN, format_of, fresh_state, save_model

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def model():
    return small_detector.of_quickstart()


def script(*arguments):
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.weights", ".weights"),
        ("a/b.onnx", ".onnx"),
        ("runs/a", RUN),
        ("runs/yolo.2_test", RUN),
        ("runs/yolo.2/", RUN),
        ("a.conv.23", ".weights"),
        ("a.conv.23/", RUN),
        ("runs/a.onnx/", RUN),
    ],
)
def test_suffix_selects_the_format(name, expected):
    assert format_of(name) == expected


@pytest.mark.parametrize(
    "name", ["a.weight", "a.pt", "a.h5", "runs/yolo.2", "conv.23", "a.conv.2.3"]
)
def test_unknown_suffixes_raise(name):
    with pytest.raises(
        ValueError, match=r"must be one of \.onnx, .*\.conv\.N .* or none .* for a run"
    ):
        format_of(name)


def test_an_existing_folder_is_a_run(tmp_path):
    (tmp_path / "a.weird").mkdir()
    assert format_of(tmp_path / "a.weird") == RUN


def test_several_files_are_written_atomically(model, tmp_path):
    (tmp_path / "a.names").mkdir()
    with pytest.raises(IsADirectoryError, match=r"a\.names: is a folder"):
        save_model(tmp_path / "a.weights", model)
    assert [path.name for path in tmp_path.iterdir()] == ["a.names"]


@pytest.mark.parametrize(("tree", "files"), [((), 3), ((-1, 0, 0, 0), 4)])
def test_report_names_all_files(model, tree, files):
    config = replace(model.config, model=replace(model.config.model, tree=tree))
    args = SimpleNamespace(to="a.weights", upto=None)
    line = report(args, "run", model._replace(config=config), 1.0).splitlines()[0]
    names = ["a.weights", "a.cfg", "a.names", "a.tree"]
    assert line == f"run -> {', '.join(names[:files])}"


def test_fresh_state_has_a_new_optimizer_and_the_images_seen(model):
    state = fresh_state(model)
    assert (int(state.step), int(state.seen)) == (0, small_detector.SEEN)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(state.opt_state))
    chex.assert_trees_all_equal(state.ema, model.variables)


def test_save_and_load_a_run(model, tmp_path):
    save_model(tmp_path / "runs" / "new", model)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["new"]
    again = load_model(tmp_path / "runs" / "new")
    assert (again.config, again.seen) == (model.config, small_detector.SEEN)
    chex.assert_trees_all_equal(again.variables, model.variables)


def test_training_resumes_from_a_saved_run(model, tmp_path):
    save_model(tmp_path / "run", model)
    flags = ("--config.optimizer.images=24", "--config.eval.bootstrap=10")
    trained = script("train.py", *flags, f"--workdir={tmp_path / 'run'}")
    assert trained.returncode == 0, trained.stderr
    assert "2 of 3 batches are done" in trained.stdout
    again = load_model(tmp_path / "run")
    assert again.seen == 24
    before = flat(model.variables)["params/conv03/kernel"]
    after = np.asarray(flat(again.variables)["params/conv03/kernel"])
    assert 0 < np.abs(after - before).max() < np.abs(before).max()


def test_eval_weights_with_their_cfg_and_names(model, tmp_path):
    save_model(tmp_path / "a.weights", model)
    files = [f"--{name}={tmp_path / 'a'}.{name}" for name in ("weights", "cfg", "names")]
    flags = ("--data=shapes:val", "--config.eval.bootstrap=10", "--config.eval.iou_threshold=.6")
    evaluated = script("eval.py", f"--workdir={tmp_path / 'out'}", *files, *flags)
    assert evaluated.returncode == 0, evaluated.stderr
    result = json.loads((tmp_path / "out" / "eval" / "shapes_val.json").read_text())
    assert result["images"] == 200
    assert result["protocol"]["input"] == "64x64, letterboxed, resized as Darknet does"
    assert "0.6" in result["protocol"]["nms"]


@pytest.mark.parametrize("extra", [(), ("--config.seed=3",)])
def test_eval_without_a_description_is_a_one_line_error(extra, tmp_path):
    (tmp_path / "a.weights").write_bytes(np.array([0, 2, 0, 0, 0, 0], "<i4").tobytes())
    ended = script("eval.py", "--workdir=out", f"--weights={tmp_path / 'a.weights'}", *extra)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("yolojax eval: ")
    assert "; give --cfg or --config" in line
