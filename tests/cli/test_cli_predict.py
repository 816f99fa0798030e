import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from yolojax.cli import predict_files as files
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

    def __init__(self):
        self.source = {"workdir": "run", "step": 5, "choice": "last", "averaged": False}

    def stream(self, paths, *, on_bad, threshold=0.25, iou=0.45, max_detections=100):
        for path in paths:
            try:
                image = decode_image(Path(path).read_bytes(), path)
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
    output = capsys.readouterr()
    assert "run: checkpoint of step 5, the last, as none was evaluated; " in output.err
    lines = output.out.splitlines()
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


@pytest.mark.parametrize("option", ["--json", "--jsonl", "--csv"])
def test_files_of_the_model_are_never_overwritten(predict, tmp_path, capsys, option):
    write(tmp_path / "a.png")
    weights, metrics = tmp_path / "x.weights", tmp_path / "run" / "metrics.jsonl"
    metrics.parent.mkdir()
    for file, model in (
        (weights, ("--weights", weights)),
        (metrics, ("--workdir", tmp_path / "run")),
    ):
        file.write_text("1")
        assert (
            main([str(word) for word in ("predict", tmp_path / "a.png", *model, option, file)]) == 2
        )
        assert "belongs to the model; choose another" in capsys.readouterr().err
        assert file.read_text() == "1"


def find(*paths, out=None):
    """The pictures that are found; a folder that cannot be listed fails the test."""
    return files.find_pictures([str(path) for path in paths], out and str(out), pytest.fail)


def test_find_pictures_in_globs_folders_and_files_once(tmp_path):
    a, b = write(tmp_path / "a.png"), write(tmp_path / "x" / "b.JPG")
    write(tmp_path / "c.png").rename(tmp_path / "c.txt")
    found = find(tmp_path, tmp_path / "*.*", b, tmp_path / "x" / ".." / "a.png", "missing.png")
    assert found == [str(a), str(b), "missing.png"]
    assert find(tmp_path / "**" / "*.JPG") == [str(b)]
    assert find(tmp_path / "**" / "[ab].*") == [str(a), str(b)]
    assert find(tmp_path / "**") == [str(a), str(b)]


def test_a_name_with_brackets_is_a_name(tmp_path):
    path = write(tmp_path / "a[1].png")
    assert find(path) == [str(path)]


def test_a_folder_with_the_name_of_a_picture_is_searched(tmp_path):
    path = write(tmp_path / "x.jpg" / "a.png")
    for place in (tmp_path, tmp_path / "x.jpg", tmp_path / "*.jpg", tmp_path / "**" / "*.png"):
        assert find(place) == [str(path)]


def test_links_are_followed_and_may_form_loops(tmp_path):
    path = write(tmp_path / "real" / "a.png")
    (tmp_path / "set").mkdir()
    for number in range(12):
        (tmp_path / "set" / f"link{number}").symlink_to(tmp_path / "real")
        (tmp_path / "real" / f"loop{number}").symlink_to(tmp_path)
    found = str(tmp_path / "set" / "link0" / "a.png")
    assert find(tmp_path / "set") in ([found], [str(path)])
    assert len(find(tmp_path / "set" / "**" / "*.png")) == 1


def test_the_folder_of_the_drawings_is_not_searched(tmp_path):
    own, old = write(tmp_path / "in" / "a.png"), write(tmp_path / "in" / "drawn" / "a.png")
    out = tmp_path / "in" / "drawn"
    (tmp_path / "in" / "link").symlink_to(out)
    (tmp_path / "other").symlink_to(out)
    for folder in (out, tmp_path / "in" / "link", tmp_path / "other"):
        assert find(tmp_path / "in", out=folder) == [str(own)]
        assert find(tmp_path / "in" / "**" / "*.png", out=folder) == [str(own)]
    assert find(tmp_path / "in", old, out=out) == [str(own), str(old)]  # it is named
    assert find(out, out=tmp_path / "in") == [str(old)]


def test_a_second_run_gives_the_same(predict, tmp_path):
    write(tmp_path / "in" / "a.png")
    drawn = tmp_path / "in" / "drawn"
    for _ in range(2):
        assert predict.run(tmp_path / "in", "--out", drawn) == 0
        assert [p.name for p in drawn.rglob("*")] == ["a.png"]


def test_outputs_mirror_the_folders(tmp_path):
    out = tmp_path / "out"
    assert files.plan_outputs(["in/a.jpg"], out, False) == {"in/a.jpg": out / "a.jpg"}
    targets = files.plan_outputs(["x/a.jpg", "y/a.jpg", "y/b.heic"], out, False)
    assert list(targets.values()) == [out / "x/a.jpg", out / "y/a.jpg", out / "y/b.heic.png"]


def test_files_of_one_name_get_numbers(tmp_path):
    paths = ["in/a.jpg", "in/a.png", "in/b.heic", "in/b.heic.png"]
    names = lambda txt: [p.name for p in files.plan_outputs(paths, tmp_path, txt).values()]  # noqa: E731
    assert names(False) == ["a.jpg", "a.png", "b.heic.png", "b.heic_2.png"]
    assert names(True) == ["a.jpg", "a_2.png", "b.heic.png", "b.heic_2.png"]


def test_drawings_of_long_names_have_names_that_fit(tmp_path):
    paths = [f"in/{'a' * 255}", f"in/{'a' * 254}b", f"in/{'a' * 251}.jpg"]
    names = [p.name for p in files.plan_outputs(paths, tmp_path, True).values()]
    assert names == [f"{'a' * 251}.png", f"{'a' * 249}_2.png", f"{'a' * 249}_3.jpg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workdir", "run", "--cfg", "a.cfg"], "--cfg and --names are for --weights"),
        (["--weights", "w", "--config", "c.py", "--cfg", "a.cfg"], "leave --cfg and --names out"),
        (["--workdir", "run", "--txt"], "--txt needs --out"),
        (["--workdir", "run", "--json", "-", "--csv", "-"], "only one of"),
        (["--workdir", "run", "--json", "a", "--jsonl", "./a"], "write the same file"),
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


def test_results_are_written_as_they_come(predict, tmp_path, monkeypatch):
    """A second picture that ends the process leaves the results of the first."""
    first, second = write(tmp_path / "in" / "a.png"), write(tmp_path / "in" / "b.png")
    outputs = {name: tmp_path / f"all.{name}" for name in ("jsonl", "csv", "json")}
    options = [f"--{name}={path}" for name, path in outputs.items()]
    real = Path.read_bytes

    def interrupted(path):
        if path == second:
            done = [json.loads(line) for line in outputs["jsonl"].read_text().splitlines()]
            assert [row["file"] for row in done] == [str(first)]
            assert len(outputs["csv"].read_text().splitlines()) == 2
            assert (tmp_path / "out" / "a.png").exists()
            assert not outputs["json"].exists()
            raise KeyboardInterrupt
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", interrupted)
    assert predict.run(tmp_path / "in", "--out", tmp_path / "out", *options) == 130
    (row,) = json.loads(outputs["json"].read_text())
    assert row == json.loads(outputs["jsonl"].read_text())
    assert row["file"] == str(first)
    monkeypatch.setattr(Path, "read_bytes", real)
    assert predict.run(tmp_path / "in", *options) == 0
    lengths = [len(outputs[name].read_text().splitlines()) for name in ("jsonl", "csv")]
    assert lengths == [1 + 2, 1 + 2]  # JSON lines are appended, the table is new
    assert len(json.loads(outputs["json"].read_text())) == 2


def test_an_old_result_is_kept_if_the_work_does_not_begin(predict, tmp_path, monkeypatch):
    write(tmp_path / "a.png")
    (tmp_path / "o.json").write_text("old")
    (tmp_path / "o.csv").write_text("old")

    def stream(self, paths, **options):
        raise ValueError("no memory")
        yield

    monkeypatch.setattr(FakeDetector, "stream", stream)
    files = ["--json", tmp_path / "o.json", "--csv", tmp_path / "o.csv"]
    assert predict.run(tmp_path / "a.png", *files) == 1
    assert [(tmp_path / f"o.{kind}").read_text() for kind in ("json", "csv")] == ["old", "old"]


@pytest.mark.parametrize("option", ["--json", "--jsonl", "--csv", "--out"])
def test_targets_are_checked_before_the_work(predict, tmp_path, capsys, option):
    path = write(tmp_path / "a.png")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    wrong = "file" if option == "--out" else "folder"
    assert predict.run(path, option, tmp_path / wrong) == 1
    assert predict.run(path, option, tmp_path / "file" / "x") == 1
    assert predict.run(path, option, tmp_path / ("n" * 300)) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3
    assert all("cannot be written: " in line for line in errors)
    assert predict.loads == []
    if option != "--out":
        assert predict.run(path, option, path) == 2
        assert predict.loads == []
        assert decode_image(path.read_bytes(), path).shape == (40, 80, 3)


def test_without_a_readable_picture_the_rest_is_written(predict, tmp_path, capsys):
    for name, data in (("empty.jpg", b""), ("page.jpg", b"<html>"), ("cut.png", b"\x89PNG\r\n")):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere.png")
    files = ["--json", tmp_path / "o.json", "--jsonl", tmp_path / "o.jsonl"]
    assert predict.run(tmp_path, *files, "--csv", tmp_path / "o.csv") == 1
    assert capsys.readouterr().err.count("\nyolojax predict: ") == 4
    assert json.loads((tmp_path / "o.json").read_text()) == []
    assert (tmp_path / "o.csv").read_text() == "file,class,class_id,score,x1,y1,x2,y2\n"
    assert not (tmp_path / "o.jsonl").exists()


def test_a_folder_that_cannot_be_listed_is_reported(predict, tmp_path, capsys, monkeypatch):
    write(tmp_path / "a.png")
    closed = tmp_path / "closed"
    closed.mkdir()
    real = os.scandir

    def scandir(folder):
        if str(folder) == str(closed):
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    assert predict.run(tmp_path) == 1
    output = capsys.readouterr()
    assert "a.png: 1 found" in output.out
    assert f"{closed}: cannot be listed (Permission denied)." in output.err
    assert predict.run(closed, "--json", tmp_path / "o.json") == 1
    assert (tmp_path / "o.json").read_text() == "[]\n"


def test_names_that_are_no_text_are_printed_and_written(predict, tmp_path, capsys):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\n\xff.png"))
    write(tmp_path / "b.png").rename(path)
    out = tmp_path / "out"
    files = ["--json", tmp_path / "o.json", "--csv", tmp_path / "o.csv", "--out", out, "--txt"]
    assert predict.run(tmp_path, *files, "--jsonl", tmp_path / "o.jsonl") == 0
    assert capsys.readouterr().out == f"{tmp_path}/a\\n\\udcff.png: 1 found: dog 0.78\n"
    assert json.loads((tmp_path / "o.json").read_text())[0]["file"] == str(path)
    assert json.loads((tmp_path / "o.jsonl").read_text())["file"] == str(path)
    assert {p.suffix for p in out.iterdir()} == {".png", ".txt"}
    assert predict.run(tmp_path, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)[0]["file"] == str(path)


CLOSED = """
import sys
sys.path[:0] = {path!r}
import test_cli_predict as tests
import yolojax.predict, yolojax.distributed.xla_flags
from yolojax.cli.main import main
yolojax.predict.load = lambda path, **options: tests.FakeDetector()
yolojax.distributed.xla_flags.set_up = lambda: None
sys.argv = ["yolojax", "predict", *sys.argv[1:], "--workdir", "run"]
sys.exit(main())
"""


def test_closed_streams_end_the_printing_and_not_the_files(tmp_path):
    for number in range(9):
        write(tmp_path / "in" / f"{number}.png")
    code = CLOSED.format(path=[os.getcwd(), str(Path(__file__).parent)])
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", code, str(tmp_path / "in"), "--jsonl", str(tmp_path / "o")]
    done = subprocess.run(command, stdout=writer, stderr=writer, check=False)
    os.close(writer)
    assert done.returncode == 0
    assert len((tmp_path / "o").read_text().splitlines()) == 9


class Closed(io.TextIOWrapper):
    """A stream whose reader has closed the pipe."""

    def __init__(self):
        super().__init__(io.BytesIO(), "utf-8")

    def flush(self):
        raise BrokenPipeError


@pytest.mark.parametrize("data", [[], ["--csv", "-"]])
def test_a_closed_stdout_ends_a_command_without_files(predict, tmp_path, monkeypatch, data):
    for number in range(9):
        write(tmp_path / "in" / f"{number}.png")
    asked = []
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: asked.append(path) or real(path))
    for more, count in (([], 1), (["--json", tmp_path / "o.json"], 9)):
        monkeypatch.setattr(sys, "stdout", Closed())
        asked.clear()
        assert predict.run(tmp_path / "in", *data, *more) == 0
        assert len(asked) == count
    assert len(json.loads((tmp_path / "o.json").read_text())) == 9
