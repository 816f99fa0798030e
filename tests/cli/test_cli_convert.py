import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest
import small_detector

from yolojax.cli.main import main
from yolojax.darknet.header import read_header
from yolojax.darknet.weights import save_weights
from yolojax.export.safetensors import flat
from yolojax.loading import load_model
from yolojax.saving import save_model

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
ORIGINAL = Path("/usr/bin/darknet")
NAMES = [f"thing{i}" for i in range(20)]


def golden(name):
    return GOLDEN / "cfg" / f"{name}.cfg", GOLDEN / "weights" / f"{name}.weights"


def convert(*arguments):
    return main(["convert", *map(str, arguments)])


@pytest.fixture
def names(tmp_path):
    path = tmp_path / "things.names"
    path.write_text("\n".join(NAMES))
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The .cfg and .weights of a detector of four layers."""
    folder = tmp_path_factory.mktemp("small")
    save_model(folder / "small.weights", small_detector.of_cfg())
    return folder / "small.cfg", folder / "small.weights"


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a.png"
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    cv2.imwrite(str(path), pixels)
    return path


@pytest.mark.parametrize("name", ["v2tiny_narrow", "v1cvpr_narrow", "darknet19_narrow"])
def test_weights_to_run_and_back_are_the_same_bytes(name, tmp_path, capsys):
    cfg, weights = golden(name)
    assert convert(cfg, weights, "--to", tmp_path / "run") == 0
    assert convert(tmp_path / "run", "--to", tmp_path / "b.weights") == 0
    assert (tmp_path / "b.weights").read_bytes() == weights.read_bytes()
    first, numbers = capsys.readouterr().out.splitlines()[:2]
    assert first == f"{weights} -> {tmp_path / 'run'}"
    floats = (weights.stat().st_size - 20) // 4
    assert f"{floats:,} floats, 123,456 images seen" in numbers
    again = load_model(tmp_path / "b.weights", cfg=tmp_path / "b.cfg", names=tmp_path / "b.names")
    run = load_model(tmp_path / "run")
    assert again.task.model.table == run.task.model.table
    assert again.config.model.classes == run.config.model.classes
    assert again.config.data == run.config.data


def test_header_version_is_preserved(tmp_path):
    cfg, old = golden("v1tiny_narrow")[0], golden("v1tiny_narrow_v0.1")[1]
    assert read_header(old).version == (0, 1, 0)
    assert convert(cfg, old, "--to", tmp_path / "a.weights") == 0
    assert (tmp_path / "a.weights").read_bytes() == old.read_bytes()
    assert convert(cfg, old, "--to", tmp_path / "b.weights", "--darknet-version", "0.2") == 0
    assert read_header(tmp_path / "b.weights").version == (0, 2, 0)


def test_first_layers_equal_those_of_the_original_program(tmp_path, capsys):
    cfg, weights = golden("v2tiny_narrow")
    part = tmp_path / "v2tiny.conv.13"
    assert convert(cfg, weights, "--to", part) == 0
    assert f"{weights} -> {part}\n" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == [part.name]
    data, header = part.read_bytes(), read_header(part)
    assert (header.version, header.seen) == ((0, 2, 0), 0)
    assert data[20:] == weights.read_bytes()[20 : len(data)]
    assert convert(cfg, part, "--upto", 13, "--to", tmp_path / "run") == 0
    if ORIGINAL.is_file():
        theirs = tmp_path / "theirs"
        command = [str(ORIGINAL), "partial", str(cfg), str(weights), str(theirs), "13"]
        subprocess.run(command, capture_output=True, check=True)
        assert data == theirs.read_bytes()


def test_more_layers_than_the_network_has_raise(tmp_path, capsys):
    assert convert(*golden("v2tiny_narrow"), "--to", tmp_path / "a.conv.99") == 1
    assert "upto must be from 1 to 15" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_report_of_a_complete_training(tmp_path, capsys):
    cfg, weights = golden("v2tiny_narrow")
    text = cfg.read_text().replace("[net]", "[net]\nmax_batches=100", 1)
    (tmp_path / "a.cfg").write_text(text)
    assert convert(tmp_path / "a.cfg", weights, "--to", tmp_path / "run") == 0
    output = capsys.readouterr().out
    assert "is complete" in output
    assert f"--config.init_from={tmp_path / 'run'}" in output
    assert convert(tmp_path / "a.cfg", weights, "--to", tmp_path / "b.weights") == 0
    assert convert(tmp_path / "a.cfg", weights, "--to", tmp_path / "new", "--clear") == 0
    assert "is complete" not in capsys.readouterr().out
    assert load_model(tmp_path / "new").seen == 0


def test_old_header_version_can_be_written(tmp_path):
    cfg, weights = golden("v2tiny_narrow")
    assert convert(cfg, weights, "--to", tmp_path / "a.weights", "--darknet-version", "0.1") == 0
    header = read_header(tmp_path / "a.weights")
    assert (header.version, header.seen) == ((0, 1, 0), 123456)
    data = (tmp_path / "a.weights").read_bytes()
    assert data[header.size :] == weights.read_bytes()[20:]


@pytest.mark.parametrize(
    ("name", "target", "options", "expected"),
    [
        ("small", "run", [], "layer03_conv"),
        ("small", "a.weights", [], "layer03_conv"),
        ("small", "a.safetensors", [], "layer03_conv"),
        ("small", "a.onnx", ["--nms"], "without a partner"),
        ("small", "a.stablehlo", ["--nms"], "without a partner"),
        ("v1cvpr_narrow", "a.onnx", [], "layer12_connected"),
        ("v1cvpr_narrow", "a.stablehlo", [], "scores"),
        ("darknet19_narrow", "a.onnx", [], "probabilities"),
    ],
)
def test_verify_every_format(name, target, options, expected, small, tmp_path, picture, capsys):
    source = small if name == "small" else golden(name)
    status = convert(*source, "--to", tmp_path / target, *options, "--verify", picture)
    output = capsys.readouterr().out
    assert status == 0, output
    assert expected in output
    assert "the formats agree" in output
    assert (tmp_path / target).exists()


@pytest.mark.parametrize(
    ("target", "changed"),
    [
        ("a.onnx", "dtype float32"),
        ("a.weights", "dtype float32 and epsilon cpu"),
        ("a.stablehlo", "dtype float32"),
        ("a.conv.2", ""),
    ],
)
def test_verify_compares_in_the_mode_of_the_format(target, changed, tmp_path, picture, capsys):
    """The model computes in bfloat16 with the epsilon of Darknet on GPU, as the configs train."""
    model = small_detector.of_cfg()
    description = replace(model.config.model, dtype="bfloat16", epsilon="gpu")
    save_model(tmp_path / "run", model._replace(config=replace(model.config, model=description)))
    status = convert(tmp_path / "run", "--to", tmp_path / target, "--verify", picture)
    output = capsys.readouterr().out
    assert status == 0, output
    mode = re.search(r"compared in (.*); this alone changes the layers by up to (\S+)", output)
    assert (mode[1] if mode else "") == changed
    assert not mode or 1e-3 < float(mode[2]) < 1  # bfloat16 has 8 bits


def test_verify_fails_if_the_formats_differ(tmp_path, picture, capsys, monkeypatch):
    def save_other(path, model, variables, *rest, **options):
        params = variables["params"]
        other = {**params["conv14"], "bias": params["conv14"]["bias"] + 1}
        changed = {**variables, "params": {**params, "conv14": other}}
        save_weights(path, model, changed, *rest, **options)

    monkeypatch.setattr("yolojax.saving.save_weights", save_other)
    target = tmp_path / "a.weights"
    assert convert(*golden("v2tiny_narrow"), "--to", target, "--verify", picture) == 1
    *_, before, last, verdict = capsys.readouterr().out.splitlines()
    assert before.split()[0] == "layer13_conv"
    assert before.split()[-1] == "0.00e+00"
    assert last.split()[0] == "layer14_conv"
    assert last.split()[-2] == "1.00e+00"  # what was added
    assert "the formats differ" in verdict


def test_partial_weights_and_new_layers(tmp_path, capsys):
    cfg, weights = golden("v2tiny_narrow")
    whole = load_model(weights, cfg=cfg)
    model, part = whole.task.model, tmp_path / "v2tiny.conv.13"
    save_weights(part, model, whole.variables, 640, upto=13)
    assert convert(cfg, part, "--upto", 13, "--to", tmp_path / "run") == 0
    assert "initialised from config.seed 0: conv13, conv14" in capsys.readouterr().out
    run = load_model(tmp_path / "run")
    assert run.seen == 640
    new = ("conv13", "conv14")
    init = jax.jit(lambda key: [model.init(key, image)["params"][k]["kernel"] for k in new])
    image = np.zeros((1, 128, 160, 3))
    for layer, kernel in zip(new, init(jax.random.key(0)), strict=True):
        np.testing.assert_array_equal(run.variables["params"][layer]["kernel"], kernel)
    found, old = flat(run.variables), flat(whole.variables)
    assert found.keys() == old.keys()
    for key in (k for k in old if k.split("/")[1] not in new):
        np.testing.assert_array_equal(found[key], old[key], err_msg=key)


def test_image_size_option(tmp_path, capsys):
    v2, v1 = golden("v2tiny_narrow"), golden("v1cvpr_narrow")
    target = tmp_path / "a.safetensors"
    assert convert(*v2, "--to", target, "--image-size", 64, 96) == 0
    assert load_model(target).config.data.image_size == (64, 96)
    assert convert(*v2, "--to", tmp_path / "run", "--image-size", 64, 97) == 1
    assert "image width must be a multiple of 32, got 97" in capsys.readouterr().err
    assert convert(*v1, "--to", tmp_path / "run", "--image-size", 192, 192) == 1
    assert "image_size must be (128, 128), got (192, 192)" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("a.weights", "a.weights: already exists"),
        ("b.weights", "b.cfg: already exists"),
        ("full", "this folder is not empty"),
        ("file", "file: is a file, but a run is a folder"),
        ("a.conv.5", "a.conv.5: already exists"),
        ("c.onxx", "the suffix must be one of .onnx.*Did you mean '.onnx'"),
    ],
)
def test_existing_files_are_not_overwritten(target, message, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    for name in ("a.weights", "b.cfg", "full/x", "file", "a.conv.5"):
        (tmp_path / name).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    assert convert(*golden("v2tiny_narrow"), "--to", tmp_path / target) == 1
    assert re.search(message, capsys.readouterr().err)
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "a.weights").read_text() == "mine"


def test_force_replaces_files_but_no_folder(tmp_path):
    cfg, weights = golden("v2tiny_narrow")
    (tmp_path / "a.weights").write_text("old")
    assert convert(cfg, weights, "--to", tmp_path / "a.weights", "--force") == 0
    assert (tmp_path / "a.weights").read_bytes() == weights.read_bytes()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "x").write_text("mine")
    assert convert(cfg, weights, "--to", tmp_path / "run", "--force") == 1
    (tmp_path / "file").write_text("mine")
    assert convert(cfg, weights, "--to", tmp_path / "file", "--force") == 1
    assert (tmp_path / "file").read_text() == "mine"


def test_failed_conversion_leaves_no_files(tmp_path, names, capsys):
    cfg, weights = golden("v2tiny_narrow")
    whole = load_model(weights, cfg=cfg)
    save_weights(tmp_path / "long.weights", whole.task.model, whole.variables, 2**40)
    (tmp_path / "out").mkdir()
    assert convert(cfg, tmp_path / "long.weights", "--to", tmp_path / "out" / "run") == 1
    assert "a run counts up to 2147483647 images" in capsys.readouterr().err
    cut = tmp_path / "cut.weights"
    cut.write_bytes(weights.read_bytes()[:-4])
    assert convert(cfg, cut, "--names", names, "--to", tmp_path / "out" / "a.weights") == 1
    capsys.readouterr()
    renamed = tmp_path / "my.cfg.txt"
    renamed.write_bytes(cfg.read_bytes())
    assert convert(renamed, weights, "--to", tmp_path / "out" / "a.weights") == 2
    assert "my.cfg.txt: is a Darknet .cfg, whose name must end in .cfg" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.cfg", "--to", "x"], "SRC must be one model"),
        (["a.weights", "b.weights", "--to", "x"], "SRC must be one model"),
        (["a.cfg", "b.cfg", "c.weights", "--to", "x"], "SRC must be one model"),
        (["a.cfg", "a.weights", "--config", "c.py", "--to", "x"], "both describe the network"),
        (["a.weights", "--to", "x", "--nms"], "--nms is for .onnx and .stablehlo"),
        (["a.weights", "--to", "x", "--darknet-version", "0.1"], "is for .weights"),
        (["a.weights", "--to", "x", "--upto", "3"], "--upto needs the .cfg"),
    ],
)
def test_contradicting_options_are_misuse(arguments, message, capsys):
    assert convert(*arguments) == 2
    assert message in capsys.readouterr().err


def script(*arguments):
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.slow  # predict/test_detector.py compares the same detectors without the command line
def test_predict_gives_the_same_for_a_run_and_its_weights(tmp_path, names, picture):
    cfg, weights = golden("v2tiny_narrow")
    assert convert(cfg, weights, "--names", names, "--to", tmp_path / "run") == 0
    formats = {
        "run": ["--workdir", tmp_path / "run"],
        "weights": ["--weights", weights, "--cfg", cfg, "--names", names],
    }
    found = {}
    for name, options in formats.items():
        target = tmp_path / f"{name}.json"
        predict = ["predict", picture, *options, "--json", target, "--threshold", "0.01"]
        assert main([*map(str, predict)]) == 0
        found[name] = json.loads(target.read_text())
    assert found["run"] == found["weights"]
    assert found["run"][0]["detections"]
