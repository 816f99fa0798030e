import ast
import json

import cv2
import numpy as np
import pytest

from yolojax.cli import anchors as cli
from yolojax.cli.main import main
from yolojax.data.records import Record


def record(image, boxes=()):
    boxes, none = np.array(boxes, np.float32).reshape(-1, 4), np.zeros(len(boxes))
    return Record("0", image, boxes, none.astype(int), none > 0, none > 0, none)


class Source(list):
    name = "test:source"


def fit(mean_iou, anchors=5):
    return cli.Fit(np.ones((anchors, 2)), mean_iou, 0.9)


def test_the_verdict_depends_on_the_gain():
    assert "+1.0 points" in cli.verdict(fit(0.61), ("a", fit(0.60)))
    assert "too little gain" in cli.verdict(fit(0.61), ("a", fit(0.60)))
    assert "use your own anchors" in cli.verdict(fit(0.65), ("a", fit(0.60)))


def test_the_best_published_priors_have_as_many_anchors():
    published = {"a": fit(0.6), "b": fit(0.5), "c": fit(0.4, 3)}
    assert cli.best_published(published, 5)[0] == "a"
    assert cli.best_published(published, 3)[0] == "c"
    assert cli.best_published(published, 4)[0] == "a"


@pytest.fixture
def few_boxes(monkeypatch):
    boxes = [[0, 0, w, h] for w, h in ((0.1, 0.2), (0.11, 0.2), (0.5, 0.5), (0.9, 0.8))]
    source = Source([record(np.zeros((416, 416, 3), np.uint8), boxes)])
    monkeypatch.setattr("yolojax.data.sources.load.load_source", lambda *_, **__: source)


def test_the_table_ends_with_a_line_for_the_config(few_boxes, capsys, tmp_path):
    plot = tmp_path / "anchors.png"
    assert main(["anchors", "test:source", "-k", "3", "--plot", str(plot)]) == 0
    text = capsys.readouterr().out
    assert "4 boxes in 1 pictures, letterboxed to 416 x 416" in text
    assert "yolov2_voc" in text
    line = ast.literal_eval(text.splitlines()[-1].removeprefix("config.model.anchors = "))
    np.testing.assert_allclose(line, [(1.365, 2.6), (6.5, 6.5), (11.7, 10.4)], rtol=1e-3)
    assert cv2.imread(str(plot)) is not None


def test_json_has_the_same_numbers(few_boxes, capsys):
    assert main(["anchors", "test:source", "-k", "4", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert len(report["anchors"]) == 4
    assert list(report["by_k"]) == ["1", "2", "3", "4"]  # there are only four shapes
    assert report["by_k"]["4"] == {"mean_iou": 1.0, "above_half": 1.0}
    assert 0 < report["published"]["yolov2_coco"]["mean_iou"] < 1


def test_more_anchors_than_shapes_is_an_error(few_boxes, capsys):
    assert main(["anchors", "test:source", "-k", "5"]) == 1
    assert "k must be 1 to 4" in capsys.readouterr().err
    assert main(["anchors", "test:source", "-k", "0"]) == 2


def test_the_drawn_shapes_need_their_own_anchors(capsys):
    assert main(["anchors", "shapes:val", "-k", "3", "--restarts", "2"]) == 0
    assert "use your own anchors" in capsys.readouterr().out


def test_boxes_of_other_classes_are_left_out(capsys):
    words = ["anchors", "shapes:single-val", "-k", "1", "--json", "--restarts", "1"]
    assert main([*words, "--keep-classes", "round", "--rename", "circle=round"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["boxes"] == report["pictures"] < 100
