import json

import cv2
import numpy as np
import pytest

from yolojax.cli.main import run_command
from yolojax.data.parsing import RecordList, make_record


def source_of(*boxes_of, skipped=()):
    records = [
        make_record(
            f"r{i}", np.full((100, 200, 3), i, np.uint8), (200, 100), boxes, [0] * len(boxes)
        )
        for i, boxes in enumerate(boxes_of)
    ]
    return RecordList("test:source", ("cat",), records, list(skipped))


@pytest.fixture
def check(monkeypatch, capsys):
    """Run the verb on a source -> (status, output)."""

    def run(source, *argv):
        monkeypatch.setattr("yolojax.data.sources.load.load_source", lambda *_, **__: source)
        status = run_command("check_data", ["test:source", *argv])
        return status, capsys.readouterr().out

    return run


def test_a_sound_source_has_no_findings(check):
    status, text = check(source_of([(10, 10, 60, 60)], []))
    assert status == 0
    assert "test:source: 2 pictures, 1 objects" in text
    assert "errors: none\nwarnings: none" in text
    assert ["YOLOv1", "7", "x", "7", "100.0%", "0", "0"] in map(str.split, text.splitlines())


def test_errors_give_status_1_and_warnings_do_not(check):
    assert check(source_of([(10, 10, 60, 60)], skipped=["x.xml: broken"]))[0] == 1
    tiny = [(10, 10, 11, 60)]
    status, text = check(source_of(tiny))
    assert status == 0
    assert "tiny boxes: 1\n    r0: box 1 (cat)" in text


def test_warnings_of_the_reader_are_listed(check):
    source = source_of([(10, 10, 60, 60)])
    source.warnings.append(("pictures without a label file", "a.jpg: has none."))
    status, text = check(source)
    assert status == 0
    assert "pictures without a label file: 1\n    a.jpg: has none." in text


def test_the_text_has_some_messages_and_json_all(check):
    source = source_of([(10, 10, 60, 60)], skipped=[f"{i}.xml: broken" for i in range(9)])
    assert "... and 6 more" in check(source)[1]
    report = json.loads(check(source, "--json")[1])
    assert len(report["errors"]["unusable annotations"]) == 9


def test_the_config_gives_input_and_grids(check, tmp_path):
    config = tmp_path / "small.py"
    config.write_text(
        "from yolojax.config import Config, DataConfig, ModelConfig\n"
        "def get_config():\n"
        "    model = ModelConfig(classes=('cat',), anchors=((1.0, 1.0),), side=9)\n"
        "    data = DataConfig(image_size=(96, 128), max_boxes=1, letterbox=False)\n"
        "    return Config(model=model, data=data)\n"
    )
    two = source_of([(10, 10, 60, 60), (12, 12, 60, 60)])
    report = json.loads(check(two, "--config", str(config), "--json")[1])
    assert report["limits"]["yolov1"]["grid"] == [9, 9]
    assert report["limits"]["yolov2"]["grid"] == [3, 4]
    assert report["limits"]["yolov2"]["assigned"] == 1
    assert [*report["warnings"]] == ["more boxes than max_boxes"]
    assert "stretched to 96 x 128" in check(two, "--config", str(config))[1]


def test_a_plot_is_written(check, tmp_path):
    plot = tmp_path / "data.png"
    assert check(source_of([(10, 10, 60, 60)]), "--plot", str(plot))[0] == 0
    assert cv2.imread(str(plot)) is not None


def test_pictures_without_boxes_can_be_checked_and_plotted(check, tmp_path):
    status, text = check(source_of([]), "--plot", str(tmp_path / "data.png"))
    assert status == 0
    assert "no boxes, so no upper bound" in text


def test_the_drawn_shapes_have_no_errors(capsys):
    assert run_command("check_data", ["shapes:val"]) == 0
    assert "errors: none" in capsys.readouterr().out


def write_set(root, split, shades):
    """Write pictures of one shade each, named by their place, with empty label files."""
    for folder in ("images", "labels"):
        (root / folder / split).mkdir(parents=True)
    for number, shade in enumerate(shades):
        picture = root / "images" / split / f"{split}{number}.png"
        cv2.imwrite(str(picture), np.full((8, 8, 3), shade, np.uint8))
        (root / "labels" / split / f"{split}{number}.txt").touch()
    (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cat]\n")
    return f"darknet:{root / 'data.yaml'}"


def test_equal_pictures_are_named(tmp_path, capsys):
    write_set(tmp_path, "train", [10, 20, 10, 30])
    data = write_set(tmp_path, "val", [40, 30, 10])
    path = {name: tmp_path / "images" / name for name in ("train", "val")}
    options = [f"{data}:train", "--against", f"{data}:val", "--json"]
    assert run_command("check_data", options) == 0
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    first = path["train"] / "train0.png"
    assert warnings["the same picture twice"] == [
        f"{first} and {path['train'] / 'train2.png'} are the same picture."
    ]
    assert warnings["pictures that are in the other set too"] == [
        f"{first} and {path['val'] / 'val2.png'} are the same picture.",
        f"{path['train'] / 'train3.png'} and {path['val'] / 'val1.png'} are the same picture.",
    ]
    assert run_command("check_data", options[:1]) == 0
    assert "the same picture twice: 1" in (text := capsys.readouterr().out)
    assert "in the other set" not in text


def test_a_config_names_both_sets(tmp_path, capsys):
    write_set(tmp_path, "train", [10, 20])
    data = write_set(tmp_path, "val", [20, 40])
    words = [f"--config.data.{split}={data}:{split}" for split in ("train", "val")]
    assert run_command("check_data", ["--config=quickstart", *words]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"{data}:train: 2 pictures")
    assert f"compared with the pictures of {data}:val\n" in text
    assert "train1.png and" in text
    assert run_command("check_data", []) == 2
    assert "give a SOURCE, or --config" in capsys.readouterr().err


def test_classes_are_chosen_and_renamed(tmp_path, capsys):
    words = ["--keep-classes", "round", "star", "--rename", "circle=round", "--json"]
    assert run_command("check_data", ["shapes:val", *words]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [*report["classes"]] == ["round", "star"]
    assert run_command("check_data", ["shapes:val", "--rename", "circle"]) == 2
    assert "--rename must be CLASS=NAME, got 'circle'" in capsys.readouterr().err
