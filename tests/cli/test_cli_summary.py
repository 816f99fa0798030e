import json

import pytest

from yolojax.cli.main import main

CONFIG = """
from yolojax.config import Config


def get_config(width="1"):
    config = Config()
    config.model.name, config.model.classes = "yolov2_tiny_voc", ("cat", "dog")
    config.model.anchors, config.model.width = ((1.0, 1.0),) * 3, float(width)
    config.data.image_size = (64, 96)
    return config
"""


def report(capsys, *argv):
    assert main(["summary", *argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("name", "params", "size"),
    [
        ("yolov2_voc", 50_655_389, 416),
        ("yolov2_coco", 50_962_889, 608),
        ("yolov2_tiny_voc", 15_861_773, 416),
        ("yolov2_tiny_coco", 11_232_057, 416),
    ],
)
def test_published_detectors_need_no_config(capsys, name, params, size):
    result = report(capsys, name)
    assert (result["params"], result["image_size"]) == (params, [size, size])


def test_options_change_the_network(capsys):
    options = ("--classes", "3", "--width", "0.5", "--image-size", "64", "32")
    layers = report(capsys, "yolov2_voc", *options)["layers"]
    assert layers[0]["output"] == [64, 32, 16]
    assert layers[-1]["output"] == [2, 1, 5 * (5 + 3)]


def test_config_file_with_and_without_argument(capsys, tmp_path):
    (tmp_path / "mine.py").write_text(CONFIG)
    whole = report(capsys, str(tmp_path / "mine.py"))["layers"]
    half = report(capsys, f"{tmp_path}/mine.py:0.5")["layers"]
    assert whole[0]["output"] == [64, 96, 16]
    assert whole[-1]["output"] == [2, 3, 3 * (5 + 2)]
    assert half[0]["output"] == [64, 96, 8]


def test_text_ends_with_the_totals(capsys):
    assert main(["summary", "yolov2_voc"]) == 0
    assert "29.360 BFLOPs" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize(
    ("argv", "message", "status"),
    [
        (["yolov2_cocco"], "Did you mean 'yolov2_coco'?", 2),
        (["nothing.py"], "nothing.py: not found", 2),
        (["yolov2_voc", "--classes", "0"], "--classes must be 1 or more", 2),
        (["yolov2_voc", "--image-size", "400", "416"], "try 384 or 416", 1),
    ],
)
def test_misuse_is_one_line(capsys, argv, message, status):
    assert main(["summary", *argv]) == status
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
