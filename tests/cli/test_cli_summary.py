import json
import shutil
from pathlib import Path

import pytest

from yolojax.cli.main import main
from yolojax.config import Config, DataConfig
from yolojax.training.checkpoint import save_config

GOLDEN = Path(__file__).parents[1] / "golden" / "cfg"
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
        ("yolo9000", 48_793_101, 544),
        ("yolov1", 197_301_875, 448),
        ("darknet9000", 29_470_826, 448),
    ],
)
def test_published_networks(capsys, name, params, size):
    result = report(capsys, name)
    assert (result["params"], result["image_size"]) == (params, [size, size])


def test_options_change_the_network(capsys):
    options = ("--classes", "3", "--width", "0.5", "--image-size", "64", "32")
    layers = report(capsys, "yolov2_voc", *options)["layers"]
    assert layers[0]["output"] == [64, 32, 16]
    assert layers[-1]["output"] == [2, 1, 5 * (5 + 3)]


def test_classes_change_the_grid_of_yolov1(capsys):
    layers = report(capsys, "yolov1_tiny", "--classes", "3")["layers"]
    assert layers[-1]["output"] == [7 * 7 * (3 + 5 * 2)]


def test_config_file_with_and_without_argument(capsys, tmp_path):
    (tmp_path / "mine.py").write_text(CONFIG)
    whole = report(capsys, str(tmp_path / "mine.py"))["layers"]
    half = report(capsys, f"{tmp_path}/mine.py:0.5")["layers"]
    assert whole[0]["output"] == [64, 96, 16]
    assert whole[-1]["output"] == [2, 3, 3 * (5 + 2)]
    assert half[0]["output"] == [64, 96, 8]


def test_cfg_file_has_size_and_head(capsys):
    result = report(capsys, str(GOLDEN / "v2_narrow.cfg"))
    assert (result["image_size"], result["head"]) == ([128, 160], "region")
    assert result["layers"][-1]["output"] == [4, 5, 125]
    assert (result["options"]["num"], result["options"]["thresh"]) == (5, 0.6)


def test_a_run_and_a_published_file(capsys, tmp_path):
    config = Config(data=DataConfig(image_size=(64, 96)))
    config.model.name, config.model.classes = "darknet19", ("cat", "dog")
    save_config(tmp_path / "run", config)
    run = report(capsys, str(tmp_path / "run"))
    assert (run["network"], run["image_size"]) == ("darknet19", [64, 96])
    assert run["layers"][-1]["output"] == [1, 1, 2]
    with (tmp_path / "x.weights").open("wb") as file:
        file.truncate(4_185_968)  # as long as tiny.weights
    assert report(capsys, str(tmp_path / "x.weights"))["network"] == "tiny_darknet"


def test_text_ends_with_the_totals_and_the_head(capsys):
    assert main(["summary", "yolov2_voc"]) == 0
    assert "29.360 BFLOPs" in capsys.readouterr().out.splitlines()[-1]
    assert main(["summary", str(GOLDEN / "v1_narrow.cfg")]) == 0
    totals, head = capsys.readouterr().out.splitlines()[-2:]
    assert "with local and connected layers" in totals
    assert head.startswith("yolov1: classes 20, side 3, num 3, sqrt True")


@pytest.mark.parametrize(
    ("argv", "message", "status"),
    [
        (["yolov2_cocco"], "Did you mean 'yolov2_coco'?", 2),
        (["yolov2"], "was published as yolov2_voc and as yolov2_coco; give one", 2),
        (["{here}"], "{here}/config.json: not found", 2),
        (["{here}/broken.cfg.weights"], "broken.cfg.weights: not found", 2),
        (["{here}/../cfg.txt"], "neither a published network", 2),
        (["{here}/unknown.bin"], "no published file has 3 bytes; give --cfg", 2),
        (["{here}/my.cfg.txt"], "my.cfg.txt: is a Darknet .cfg, whose name must end in .cfg", 2),
        (["nothing.py"], "nothing.py: not found", 2),
        (["nothing.cfg"], "nothing.cfg: no such file", 2),
        (["yolov2_voc", "--classes", "0"], "--classes must be 1 or more", 2),
        (["yolov2_voc", "--classes", "-1"], "--classes must be 1 or more", 2),
        (["yolov2_voc", "--image-size", "400", "416"], "try 384 or 416", 1),
        (["{here}/v2_narrow.cfg", "--classes", "3"], "are not for a .cfg", 2),
        (["{here}/v2_narrow.cfg", "--width", "0.5"], "are not for a .cfg", 2),
        (["{here}/broken.cfg"], "broken.cfg: 3 problems. Line 1: [net] without height", 1),
    ],
)
def test_misuse_is_one_line(capsys, tmp_path, argv, message, status):
    (tmp_path / "unknown.bin").write_text("abc")
    shutil.copy(GOLDEN / "v2_narrow.cfg", tmp_path)
    (tmp_path / "my.cfg.txt").write_text("# mine\n[net]\nchannels=3\n")
    (tmp_path / "broken.cfg").write_text("[net]\nchannels=3\n[conv]\n")
    assert main(["summary", *(a.format(here=tmp_path) for a in argv)]) == status
    error = capsys.readouterr().err
    assert message.format(here=tmp_path) in error
    assert error.count("\n") == 1


def test_a_tree_need_not_exist(capsys, tmp_path):
    text = "[net]\nheight=8\nwidth=8\nchannels=3\n[conv]\nfilters=18\nactivation=linear\n"
    text += "[region]\nanchors=1,2\nnum=1\nclasses=13\nsoftmax=1\ntree=data/9k.tree\nmosaic=1\n"
    (tmp_path / "a.cfg").write_text(text)
    assert main(["summary", str(tmp_path / "a.cfg")]) == 0
    result = capsys.readouterr()
    assert "tree data/9k.tree" in result.out
    assert result.err == f"{tmp_path}/a.cfg: ignored, no effect on inference: mosaic=1\n"
