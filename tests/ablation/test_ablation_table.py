"""Numbers of made-up results that can be checked in one's head."""

import json

import numpy as np
import pytest

from yolojax.ablation.results import UNDONE, read_results
from yolojax.ablation.rows import SAME, Row
from yolojax.ablation.runs import plan
from yolojax.ablation.table import About, write_table
from yolojax.config import Config
from yolojax.evaluation.average_precision import match_voc
from yolojax.evaluation.coco import match_coco
from yolojax.evaluation.evaluator import GroundTruth, ImageDetections
from yolojax.evaluation.writers import write_matches

IMAGES = 8
ABOUT = About("study:small", "shapes:train", "shapes:val", 3, "yolojax ablate study:small")


def config(name="yolov2_tiny_voc"):
    """A narrow network, cheap to count."""
    config = Config()
    config.model.name, config.model.width = name, 1 / 16
    config.model.classes, config.model.anchors = ("cat",), ((1.0, 1.0),)
    config.data.image_size = (64, 64)
    config.optimizer.images = 800
    return config


@pytest.fixture
def rows():
    return [
        Row("a", "first", config()),
        Row("b", "second | third", config()),
        Row("c", "the same", config(), SAME),
        Row("d", "wider", config("yolov2")),
    ]


def evaluated(run, found):
    """What an evaluation of `run` leaves behind, that found the truth in `found` of IMAGES images.

    The other detections miss, so that the AP is nearly the share that was found.
    """
    ground_truth, detections = [], []
    for i in range(IMAGES):
        no = np.zeros(1, bool)
        box, wrong = np.array([[0.0, 0, 10, 10]]), np.array([[50.0, 50, 60, 60]])
        ground_truth.append(
            GroundTruth(f"{i}", 99, 99, box, np.zeros(1, int), no, no, np.full(1, 100.0))
        )
        place, score = (box, 0.9) if i < found else (wrong, 0.1)
        detections.append(ImageDetections(f"{i}", place, np.full(1, score), np.zeros(1, int)))
    folder = run.workdir / "eval"
    matches = (match(ground_truth, detections, 1) for match in (match_voc, match_coco))
    write_matches(folder / "val_matches.npz", [t.image_id for t in ground_truth], ["cat"], *matches)
    speed = {"input": 90.0, "network": 3.0, "nms": 2.0}
    result = {"voc10": found / IMAGES, "speed": speed}
    (folder / "val.json").write_text(json.dumps(result))
    lines = [{"step": 10, "images": 80, "train/images_per_sec": rate} for rate in (100, 50)]
    lines.append({"step": 100, "images": 800, "eval/voc10": 0.5})
    (run.workdir / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    about = {
        "packages": {"jax": "1.2"}, "python": "3.11", "machine": "here", "devices": ["cpu:0"]
    }  # fmt: skip
    (run.workdir / "env.json").write_text(json.dumps(about))


@pytest.fixture
def half_done(rows, tmp_path):
    """Seeds 0 to 2 of the first row and 0 to 1 of the second; nothing of the last."""
    runs = plan(rows, 3, tmp_path)
    for name, found in {
        "a/seed0": 2,
        "a/seed1": 4,
        "a/seed2": 6,
        "b/seed0": 6,
        "b/seed1": 8,
    }.items():
        evaluated(next(run for run in runs if run.name == name), found)
    return runs


def test_the_numbers_of_a_row_are_those_of_its_seeds(rows, half_done, tmp_path):
    first, second, same, last = read_results(rows, 3, tmp_path)
    assert first["scores"] == [0.25, 0.5, 0.75]
    assert (first["mean"], first["std"]) == (0.5, 0.25)
    assert first["images_per_second"] == pytest.approx(200)  # 3 + 2 ms; the input is left out
    assert first["train_seconds"] == pytest.approx(800 * (1 / 100 + 1 / 50) / 2)
    assert first["difference"] is None
    assert (second["seeds"], second["missing"]) == ([0, 1], "")
    assert same["missing"] == f"not run: {SAME}"
    assert last["missing"] == UNDONE
    assert "scores" not in same
    assert "scores" not in last
    assert first["parameters"] == second["parameters"] < last["parameters"]
    assert 0 < first["bflops"] < last["bflops"]


def test_the_difference_is_that_of_the_seeds_of_both(rows, half_done, tmp_path):
    difference = read_results(rows, 3, tmp_path)[1]["difference"]
    assert (difference["to"], difference["seeds"]) == ("a", [0, 1])
    assert difference["value"] == pytest.approx(0.5)  # .75 and 1 against .25 and .5
    low, high = difference["interval"]
    assert low < 0.5 < high
    assert difference["covers"] == "images and seeds"


def test_classifiers_are_compared_without_an_interval(tmp_path):
    rows = [Row(name, name, config("darknet19")) for name in "ab"]
    for run, score in zip(plan(rows, 1, tmp_path), (0.25, 0.75), strict=True):
        run.config.eval.metric = "top1"
        evaluated(run, 1)
        result = {"top1": score, "speed": {"all": 4.0}}
        (run.workdir / "eval" / "val.json").write_text(json.dumps(result))
    entries = read_results(rows, 1, tmp_path)
    assert entries[1]["difference"] == {
        "to": "a", "seeds": [0], "value": 0.5, "interval": None, "covers": "nothing"
    }  # fmt: skip
    assert entries[1]["images_per_second"] == 250
    runs = plan(rows, 1, tmp_path / "elsewhere")
    assert " +50.0 |" in write_table(tmp_path, ABOUT, entries, runs)


def test_a_row_is_compared_with_the_nearest_that_has_a_result(rows, half_done, tmp_path):
    evaluated(half_done[2], 7)  # d/seed0; before it the row that is not run
    assert half_done[2].name == "d/seed0"
    difference = read_results(rows, 3, tmp_path)[3]["difference"]
    assert (difference["to"], difference["seeds"]) == ("b", [0])
    assert difference["value"] == pytest.approx(1 / 8)


def test_runs_of_more_seeds_are_ignored(rows, half_done, tmp_path):
    assert read_results(rows, 1, tmp_path)[0]["scores"] == [0.25]
    assert read_results(rows, 1, tmp_path)[0]["std"] is None


def test_a_result_without_a_score_is_named(rows, half_done, tmp_path):
    path = tmp_path / "b" / "seed1" / "eval" / "val.json"
    path.write_text(json.dumps({"voc10": None, "speed": {"network": 1}}))
    with pytest.raises(ValueError, match="b/seed1: no voc10"):
        read_results(rows, 3, tmp_path)


def test_the_table_is_written_in_three_forms(rows, half_done, tmp_path):
    entries = read_results(rows, 3, tmp_path)
    table = write_table(tmp_path, ABOUT, entries, half_done)
    lines = [" ".join(line.split()) for line in table.splitlines()]
    head, _, first, second, same, last = lines
    assert head.startswith("| row | voc10, % | seeds |")
    assert first.startswith("| first | 50.0 ± 25.0 | 3 | – | 200.0 |")
    assert second.startswith("| second \\| third | 87.5 ± 17.7 | 2 of 3 | +50.0 [")
    assert same.startswith(f"| the same | not run: {SAME} | 0 | – |")
    assert last.startswith(f"| wider | {UNDONE} | 0 | – |")
    assert len({line.replace("\\|", "").count("|") for line in table.splitlines()}) == 1
    page = (tmp_path / "ablation.md").read_text()
    assert table in page
    assert "    yolojax ablate study:small\n" in page
    assert page.count("* jax 1.2; Python 3.11, here, cpu:0") == 1
    saved = json.loads((tmp_path / "ablation.json").read_text())
    assert saved["rows"] == entries
    assert saved["train"] == "shapes:train"
    assert (tmp_path / "ablation.png").read_bytes().startswith(b"\x89PNG")


def test_a_table_without_results(rows, tmp_path):
    table = write_table(tmp_path, ABOUT, read_results(rows, 3, tmp_path), plan(rows, 3, tmp_path))
    assert table.count(UNDONE) == 3
    assert "nothing yet" in (tmp_path / "ablation.md").read_text()
    assert not (tmp_path / "ablation.png").exists()
