"""`yolojax compile`: the command line, and once the whole way where libtpu is installed."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from yolojax.aot import topologies
from yolojax.cli.compile import _sizes
from yolojax.cli.main import main

CONFIG = """
from yolojax.config import Config


def get_config():
    config = Config()
    config.model.name, config.model.width = "yolov2_tiny_voc", 0.0625
    config.model.classes, config.model.anchors = ("cat", "dog"), ((1.0, 1.0),)
    config.data.image_size, config.optimizer.batch_size = (32, 32), 4
    return config
"""


@pytest.fixture
def config(tmp_path):
    (tmp_path / "narrow.py").write_text(CONFIG)
    return str(tmp_path / "narrow.py")


def test_sizes_are_sides_or_height_and_width():
    assert _sizes("416,320x608") == [(416, 416), (320, 608)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--topology", "v5e:3"], "v5e:3 is unknown; give a shape"),
        (["--topology", "v5e:1", "--sizes", "416,"], "must be sides or HxW"),
        (["--topology", "v5e:1", "--batch-per-device", "0"], "must be 1 or more"),
        ([], "required: --topology"),
    ],
)
def test_misuse_is_one_line(capsys, config, options, message):
    try:
        status = main(["compile", "--config", config, *options])
    except SystemExit as error:
        status = error.code
    assert status == 2
    assert message in capsys.readouterr().err


def test_fields_of_the_config_are_set_by_name(capsys, config):
    options = ("--topology", "v5e:1", "--config.optimizer.subdivision=2")
    assert main(["compile", "--config", config, *options]) == 2
    assert "Did you mean --config.optimizer.subdivisions" in capsys.readouterr().err


def test_without_the_compiler_the_error_names_the_package(capsys, config, monkeypatch):
    monkeypatch.setattr(topologies.importlib.util, "find_spec", lambda name: None)
    assert main(["compile", "--config", config, "--topology", "v5e:1"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "pip install 'yolojax[tpu]'" in error


def run(config, folder, *options):
    """The command in a process of its own, as libtpu stays with the first that asks for it."""
    command = [sys.executable, "-m", "yolojax", "compile", "--config", config, *options]
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if "one process at a time" in done.stderr:
        pytest.skip("libtpu is in use by another process")
    return done


needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed"
)


@needs_libtpu
@pytest.mark.slow
def test_a_narrow_network_on_four_chips(config, tmp_path):
    first = run(config, tmp_path / "cache", "--topology", "v5e:4", "--json")
    assert first.returncode == 0, first.stderr
    train, network, detect = json.loads(first.stdout)["rows"]
    assert train["program"] == "train 32x32"
    assert train["fits"]
    assert train["flops"] > 0.5 * train["model_flops"]
    assert 0 < train["seconds"]["best"] < train["seconds"]["compiled"]
    assert {c["kind"] for c in train["collectives"]} == {"all-reduce"}
    assert train["scatter_bytes"] > 0  # max-pools in the form for TPUs
    assert network["collectives"] == []
    assert detect["open_loops"] == 1  # NMS ends with the last box

    again = run(config, tmp_path / "cache", "--topology", "v5e:4")
    assert again.stderr.count("from the cache") == 3
    assert "nothing here ran on hardware" in again.stdout


@needs_libtpu
def test_sub_batches_are_a_loop_of_known_length(config, tmp_path):
    options = ("--programs", "train", "--config.optimizer.subdivisions=2", "--json")
    done = run(config, tmp_path / "cache", "--topology", "v5e:1", *options)
    assert done.returncode == 0, done.stderr
    (train,) = json.loads(done.stdout)["rows"]
    assert (train["subdivisions"], train["open_loops"]) == (2, 0)
    assert train["flops"] > 0.5 * train["model_flops"]  # both halves are counted


@needs_libtpu
def test_a_program_that_does_not_fit_gets_advice(config, tmp_path):
    options = ("--programs", "train", "--sizes", "416", "--batch-per-device", "8192")
    done = run(config, tmp_path / "cache", "--topology", "v5e:1", *options)
    assert done.returncode == 1
    assert "does not fit" in done.stdout
    assert "--config.optimizer.subdivisions=" in done.stderr
