import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from yolojax.cli.convert import report
from yolojax.config import read_config
from yolojax.export.safetensors import flat, nested
from yolojax.loading import Loaded, load_model
from yolojax.models.network import variable_shapes
from yolojax.saving import RUN, form_of, fresh_state, save_model
from yolojax.tasks import build

ROOT = Path(__file__).parents[1]
SEEN = 16


@pytest.fixture(scope="module")
def model():
    """A narrow detector of the drawn shapes, as the smoke run of configs/quickstart.py has it."""
    config = read_config(f"{ROOT / 'configs' / 'quickstart.py'}:smoke")
    config.data.image_size = (64, 64)
    config.model.name, config.model.width = "yolov2_tiny_voc", 0.0625
    task, generator = build(config), np.random.default_rng(0)
    shapes = flat(variable_shapes(task.model, (64, 64)))
    leaves = {k: 0.1 * np.abs(generator.normal(size=s.shape)) for k, s in shapes.items()}
    return Loaded(task, config, nested({k: v.astype("f4") for k, v in leaves.items()}), SEEN)


def script(*arguments):
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": ""}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("name", "form"),
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
def test_the_suffix_says_what_is_written(name, form):
    assert form_of(name) == form


@pytest.mark.parametrize(
    "name", ["a.weight", "a.pt", "a.h5", "runs/yolo.2", "conv.23", "a.conv.2.3"]
)
def test_other_suffixes_are_refused(name):
    with pytest.raises(
        ValueError, match=r"must be one of \.onnx, .*\.conv\.N .* or none .* for a run"
    ):
        form_of(name)


def test_a_folder_that_is_there_is_a_run(tmp_path):
    (tmp_path / "a.weird").mkdir()
    assert form_of(tmp_path / "a.weird") == RUN


def test_of_several_files_all_are_written_or_none(model, tmp_path):
    (tmp_path / "a.names").mkdir()
    with pytest.raises(IsADirectoryError, match=r"a\.names: is a folder, not a file"):
        save_model(tmp_path / "a.weights", model)
    assert [path.name for path in tmp_path.iterdir()] == ["a.names"]


@pytest.mark.parametrize(("tree", "files"), [((), 3), ((-1, 0, 0, 0), 4)])
def test_what_was_converted_is_told_with_all_its_files(model, tree, files):
    config = replace(model.config, model=replace(model.config.model, tree=tree))
    args = SimpleNamespace(to="a.weights", upto=None)
    said = report(args, "run", model._replace(config=config), 1.0).splitlines()[0]
    names = ["a.weights", "a.cfg", "a.names", "a.tree"]
    assert said == f"run -> {', '.join(names[:files])}"


def test_a_run_starts_with_a_fresh_optimizer_and_keeps_what_was_seen(model):
    state = fresh_state(model)
    assert (int(state.step), int(state.seen)) == (0, SEEN)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(state.opt_state))
    average = flat(state.ema)
    for key, leaf in flat(model.variables).items():
        np.testing.assert_array_equal(average[key], leaf, err_msg=key)


def test_a_run_has_what_was_saved(model, tmp_path):
    save_model(tmp_path / "runs" / "new", model)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["new"]
    again = load_model(tmp_path / "runs" / "new")
    assert (again.config, again.seen) == (model.config, SEEN)
    for key, leaf in flat(model.variables).items():
        np.testing.assert_array_equal(flat(again.variables)[key], leaf, err_msg=key)


def test_training_goes_on_from_a_saved_run(model, tmp_path):
    save_model(tmp_path / "run", model)
    flags = (
        "--config=configs/quickstart.py:smoke",
        "--config.data.image_size=64,64",
        "--config.model.name=yolov2_tiny_voc",
        "--config.model.width=0.0625",
        "--config.optimizer.images=24",
        "--config.eval.bootstrap=10",
    )
    trained = script("train.py", *flags, f"--workdir={tmp_path / 'run'}")
    assert trained.returncode == 0, trained.stderr
    assert "2 of 3 batches are done" in trained.stdout
    again = load_model(tmp_path / "run")
    assert again.seen == 24
    before = flat(model.variables)["params/output/kernel"]
    after = np.asarray(flat(again.variables)["params/output/kernel"])
    assert 0 < np.abs(after - before).max() < np.abs(before).max()


def test_eval_takes_weights_with_their_cfg_and_names(model, tmp_path):
    save_model(tmp_path / "a.weights", model)
    files = [f"--{name}={tmp_path / 'a'}.{name}" for name in ("weights", "cfg", "names")]
    flags = ("--data=shapes:val", "--config.eval.bootstrap=10", "--config.eval.iou_threshold=.6")
    evaluated = script("eval.py", f"--workdir={tmp_path / 'out'}", *files, *flags)
    assert evaluated.returncode == 0, evaluated.stderr
    result = json.loads((tmp_path / "out" / "eval" / "shapes_val.json").read_text())
    assert result["images"] == 200
    assert result["protocol"]["input"] == "64x64, letterboxed, resized as Darknet does"
    assert "0.6" in result["protocol"]["nms"]


@pytest.mark.parametrize("beside", [(), ("--config.seed=3",)])
def test_eval_says_in_a_line_what_is_missing(beside, tmp_path):
    (tmp_path / "a.weights").write_bytes(np.array([0, 2, 0, 0, 0, 0], "<i4").tobytes())
    ended = script("eval.py", "--workdir=out", f"--weights={tmp_path / 'a.weights'}", *beside)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("eval.py: ")
    assert line.endswith("give --cfg, or --config.")
