import json

import jax
import pytest

from yolojax.bench import Row, format_rows
from yolojax.cli.main import main
from yolojax.distributed import chips
from yolojax.distributed.sharding import make_mesh

CONFIG = """
from configs.quickstart import get_config as quickstart

CFG = '''
[net]
height=64
width=64
channels=3
[convolutional]
filters=4
size=3
stride=32
pad=1
activation=leaky
[convolutional]
filters=27
size=1
stride=1
activation=linear
[region]
anchors=1,1,2,2,3,3
classes=4
num=3
'''

def get_config(arg=None):
    config = quickstart("smoke")
    config.model.cfg = CFG  # two layers, so that it compiles in no time
    config.data.image_size, config.data.multiscale = (64, 64), (64, 96)
    config.data.train = "voc:not/here:train"
    return config
"""


@pytest.fixture
def one_device(monkeypatch):
    monkeypatch.setattr(
        "yolojax.distributed.sharding.make_mesh", lambda: make_mesh(jax.devices()[:1])
    )


@pytest.fixture
def config(tmp_path):
    (tmp_path / "tiny.py").write_text(CONFIG)
    return f"--config={tmp_path}/tiny.py"


def test_every_program_and_the_input_are_timed(one_device, config, capsys, monkeypatch):
    monkeypatch.setitem(chips.KINDS, "cpu", "v5e")
    options = ("--image-size", "32", "64", "--batch-size", "4", "--steps", "3", "--json")
    assert main(["bench", config, *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["devices"], found["kind"], found["chip"]) == (1, "cpu", "v5e")
    train, network, nms, input = found["rows"]
    assert [row["program"] for row in (train, network, nms)] == [
        "train step", "network", "decode + NMS"
    ]  # fmt: skip
    assert input["program"] == "input, drawn as data.train is absent, 2 threads"
    for row in found["rows"]:
        assert (row["image_size"], row["images"]) == ([32, 64], 4)
        assert 0 < row["ms"]["min"] <= row["ms"]["median"] <= row["ms"]["max"]
    for row in (train, network, nms):
        assert row["compile_seconds"] > 0
        assert row["planned_bytes"] > 0
        assert row["images_per_sec"] == pytest.approx(4000 / row["ms"]["median"])
    assert "compile_seconds" not in input
    ratio = train["mfu"] / network["mfu"] * network["images_per_sec"] / train["images_per_sec"]
    assert ratio == pytest.approx(3)  # backwards is twice forwards
    assert "mfu" not in nms


def test_the_train_step_is_timed_at_each_size(one_device, config, capsys):
    assert main(["bench", config, "--steps", "1"]) == 0
    about, devices, _, head, *rows = capsys.readouterr().out.splitlines()
    assert about.endswith("tiny.py: yolov2, float32")
    assert devices == "1 x cpu (peak not known: no MFU)"
    assert "MFU" not in head
    assert [row[: row.index(" x ")].split()[:-1] for row in rows[:-1]] == [
        ["train", "step"], ["train", "step"], ["network"], ["decode", "+", "NMS"]
    ]  # fmt: skip
    assert [row[row.index(" x ") - 2 :][:7] for row in rows[:2]] == ["64 x 64", "96 x 96"]


def test_the_table_has_mfu_where_the_peak_is_known():
    step = Row("train step", (64, 96), 8, (1.0, 2.0, 4.0), 4000.0, 1.5, 2_000_000, 1e9)
    rows = [step, Row("input", (64, 96), 8, (5.0,), 1600.0)]
    head, first, second = format_rows(rows, peak=8e12).splitlines()
    assert head.split()[-1] == "MFU"
    assert " ".join(first.split()[2:]) == "64 x 96 8 1.5 0.002 2.0 [1.0, 4.0] 4000.0 50.0%"
    assert second.split()[-1] == "1600.0"
    assert "MFU" not in format_rows(rows, peak=None)


@pytest.mark.parametrize(
    ("argv", "message", "status"),
    [
        (["--steps", "0"], "--steps must be 1 or more, got 0", 2),
        (["--batch-size", "0"], "batch_size is 0; it must be a multiple of 1", 1),
        (["--image-size", "0", "64"], "do not fit images of height, width = (0, 64)", 1),
    ],
)
def test_misuse_is_one_line(argv, message, status, one_device, config, capsys):
    assert main(["bench", config, *argv]) == status
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_config_that_is_not_there_is_named(capsys):
    assert main(["bench", "--config=nothing.py"]) == 1
    assert "nothing.py: not found" in capsys.readouterr().err
