import csv
import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from yolojax.cli import predict as cli
from yolojax.cli.main import main
from yolojax.data.records import BadRecord, decode_image
from yolojax.predict import Classification, Classifier, Result

CLASSES = ("cat", "dog")


def result(path="a.png", image=None, score=0.75, threshold=0.25):
    """A result with a dog in the top left quarter."""
    image = np.zeros((40, 80, 3), np.uint8) if image is None else image
    height, width = image.shape[:2]
    count = int(score > threshold)
    boxes = np.array([[0, 0, width / 2, height / 2]], np.float32)[:count]
    scores, labels = np.array([score], np.float32)[:count], np.array([1])[:count]
    return Result(str(path), image, boxes, scores, labels, CLASSES, score, 1)


class FakeDetector:
    """Detects a dog in every picture, with the brightness as score."""

    def stream(self, paths, *, on_bad, threshold=0.25, iou=0.45, max_detections=100):
        for path in paths:
            try:
                image = decode_image(cli.Path(path).read_bytes(), path)
            except (OSError, BadRecord) as error:
                on_bad(error)
                continue
            yield result(path, image, image.max() / 255, threshold)


class FakeClassifier(Classifier):
    """Classifies every picture as a dog."""

    def __init__(self):
        pass

    def stream(self, paths, *, on_bad):
        for path in paths:
            image = np.zeros((40, 80, 3), np.uint8)
            yield Classification(path, image, np.array([1, 0]), np.array([0.8, 0.2]), CLASSES)


@pytest.fixture
def predict(monkeypatch):
    """`yolojax predict` with a fake detector; `loads` has the calls of load."""
    loads = []

    def load(path, **options):
        loads.append((path, options))
        return FakeDetector()

    monkeypatch.setattr("yolojax.predict.load", load)
    monkeypatch.setattr("yolojax.distributed.xla_flags.set_up", lambda: None)
    run = lambda *args: main(["predict", *map(str, args), "--workdir", "run"])  # noqa: E731
    return SimpleNamespace(run=run, loads=loads)


def write(path, level=200):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((40, 80, 3), level, np.uint8))
    return path


def test_one_line_per_picture(predict, tmp_path, capsys):
    a, b = write(tmp_path / "a.png"), write(tmp_path / "b.png", 30)
    assert predict.run(tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{a}: 1 found: dog 0.78"
    assert lines[1] == (
        f"{b}: nothing above the threshold; the best candidate is dog at 0.12: try --threshold 0.1"
    )


def test_json_is_the_only_output_on_stdout(predict, tmp_path, capsys):
    paths = [str(write(tmp_path / "a.png")), str(write(tmp_path / "b.png", 30))]
    assert predict.run(*paths, "--json", "-") == 0
    output = capsys.readouterr()
    dog = {"class": "dog", "class_id": 1, "score": 0.7843, "box": [0.0, 0.0, 40.0, 20.0]}
    assert json.loads(output.out) == [
        {"file": paths[0], "width": 80, "height": 40, "detections": [dog]},
        {"file": paths[1], "width": 80, "height": 40, "detections": []},
    ]
    assert "try --threshold 0.1" in output.err


def test_all_formats_and_drawings_are_written(predict, tmp_path):
    write(tmp_path / "in" / "a.png")
    write(tmp_path / "in" / "deep" / "b.jpg")
    out = tmp_path / "out"
    files = {name: out / f"all.{name}" for name in ("json", "csv")}
    status = predict.run(
        tmp_path / "in", "--out", out, "--txt", "--json", files["json"], "--csv", files["csv"]
    )
    assert status == 0
    written = sorted(str(p.relative_to(out)) for p in out.rglob("*.*"))
    assert written == ["a.png", "a.txt", "all.csv", "all.json", "deep/b.jpg", "deep/b.txt"]
    assert (out / "a.txt").read_text() == "1 0.250000 0.250000 0.500000 0.500000 0.7843\n"
    rows = list(csv.DictReader(files["csv"].open()))
    assert [float(rows[0][k]) for k in ("x1", "y1", "x2", "y2")] == [0, 0, 40, 20]
    assert len(json.loads(files["json"].read_text())) == len(rows) == 2
    assert cv2.imread(str(out / "a.png")).shape == (40, 80, 3)


def test_an_unreadable_picture_is_reported_and_skipped(predict, tmp_path, capsys):
    (tmp_path / "bad.jpg").write_text("no picture")
    write(tmp_path / "good.png")
    assert predict.run(tmp_path) == 1
    output = capsys.readouterr()
    assert "bad.jpg: not a picture" in output.err
    assert "good.png: 1 found" in output.out


def test_no_picture_is_misuse(predict, tmp_path, capsys):
    assert predict.run(tmp_path, tmp_path / "*.png") == 2
    assert "no pictures (.jpg" in capsys.readouterr().err
    assert predict.loads == []


def test_inputs_are_never_overwritten(predict, tmp_path, capsys):
    path = write(tmp_path / "a.png")
    before = path.read_bytes()
    assert predict.run(path, "--out", tmp_path) == 2
    assert "would overwrite the input" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_find_pictures_in_globs_folders_and_files_once(tmp_path):
    a, b = write(tmp_path / "a.png"), write(tmp_path / "x" / "b.JPG")
    write(tmp_path / "c.png").rename(tmp_path / "c.txt")
    found = cli.find_pictures([str(tmp_path), str(tmp_path / "*.*"), str(b), "missing.png"])
    assert found == [str(a), str(b), "missing.png"]


def test_a_name_with_brackets_is_a_name(tmp_path):
    path = write(tmp_path / "a[1].png")
    assert cli.find_pictures([str(path)]) == [str(path)]


def test_outputs_mirror_the_folders(tmp_path):
    out = tmp_path / "out"
    assert cli.plan_outputs(["in/a.jpg"], out, False) == {"in/a.jpg": out / "a.jpg"}
    targets = cli.plan_outputs(["x/a.jpg", "y/a.jpg", "y/b.heic"], out, False)
    assert list(targets.values()) == [out / "x/a.jpg", out / "y/a.jpg", out / "y/b.heic.png"]


def test_two_text_files_of_one_name_are_an_error(tmp_path):
    paths = ["in/a.jpg", "in/a.png"]
    assert len(cli.plan_outputs(paths, tmp_path, txt=False)) == 2
    with pytest.raises(Exception, match=r"would both write .*a\.txt"):
        cli.plan_outputs(paths, tmp_path, txt=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workdir", "run", "--cfg", "a.cfg"], "--cfg and --names are for --weights"),
        (["--weights", "w", "--config", "c.py", "--cfg", "a.cfg"], "leave --cfg and --names out"),
        (["--workdir", "run", "--txt"], "--txt needs --out"),
        (["--workdir", "run", "--json", "-", "--csv", "-"], "only one of"),
        (["--workdir", "run", "--max-detections", "0"], "must be 1 or more; got 0"),
    ],
)
def test_contradicting_options_are_misuse_of_predict(capsys, options, message):
    assert main(["predict", "a.png", *options]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--workdir", "r", "--threshold", "25"]])
def test_the_parser_refuses_the_rest(options):
    with pytest.raises(SystemExit) as stop:
        main(["predict", "a.png", *options])
    assert stop.value.code == 2


@pytest.mark.parametrize(
    "options",
    [["--threshold", ".5"], ["--iou", ".5"], ["--max-detections", "9"], ["--txt", "--out", "o"]],
)
def test_box_options_are_not_for_a_classifier(monkeypatch, tmp_path, capsys, options):
    monkeypatch.setattr("yolojax.predict.load", lambda path, **options: FakeClassifier())
    monkeypatch.setattr("yolojax.distributed.xla_flags.set_up", lambda: None)
    argv = ["predict", str(write(tmp_path / "a.png")), "--weights", "tiny.weights"]
    assert main(argv) == 0
    assert capsys.readouterr().out == f"{tmp_path}/a.png: dog 0.80, cat 0.20\n"
    assert main([*argv, *options]) == 2
    message = "tiny.weights is a classifier, which detects no boxes; leave out --"
    assert message in capsys.readouterr().err


def test_network_options_are_passed_to_load(predict, tmp_path):
    write(tmp_path / "a.png")
    flags = ["--weights", "w.weights", "--cfg", "w.cfg", "--names", "w.names"]
    assert main(["predict", str(tmp_path / "a.png"), *flags]) == 0
    ((path, options),) = predict.loads
    named = {"path": path} | {name: options[name] for name in ("config", "cfg", "names")}
    assert named == {"path": "w.weights", "config": None, "cfg": "w.cfg", "names": "w.names"}


def test_tree_options_are_passed_to_load(predict, tmp_path):
    write(tmp_path / "a.png")
    predict.run(tmp_path / "a.png")
    predict.run(tmp_path / "a.png", "--tree-threshold", ".8", "--tree-semantics", "darknet")
    (_, without), (_, options) = predict.loads
    assert options["tree_threshold"] == 0.8
    assert options["tree_semantics"] == "darknet"
    assert without.keys().isdisjoint(("tree_threshold", "tree_semantics"))


def test_batch_is_not_larger_than_the_number_of_pictures(predict, tmp_path):
    write(tmp_path / "a.png")
    predict.run(tmp_path / "a.png", "--image-size", "320", "352")
    ((path, options),) = predict.loads
    assert path == "run"
    assert options["batch_size"] == 1
    assert tuple(options["image_size"]) == (320, 352)
