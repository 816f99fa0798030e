import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from evaluated_runs import make_classifier_run, make_run

from yolojax.cli import compare as cli
from yolojax.cli.main import main
from yolojax.config import Config

IMAGES = 40
ALL = np.ones((IMAGES, 2), bool)
HALF = np.arange(IMAGES)[:, None] % 2 == [0, 0]


@pytest.fixture
def runs(tmp_path):
    giou = Config()
    giou.loss.box_loss = "giou"
    make_run(tmp_path / "squared", HALF)
    make_run(tmp_path / "giou", ALL, config=giou)
    return [str(tmp_path / name) for name in ("squared", "giou")]


def test_text_names_the_better_run(runs, capsys):
    assert main(["compare", *runs]) == 0
    text = capsys.readouterr().out
    assert "voc10 on the 40 images of voc:bccd:test" in text
    assert "  giou is better by " in text
    lines = [line.split() for line in text.splitlines()]
    assert ["loss.box_loss", "squared", "giou"] in lines
    assert ["correct", "50.0", "100.0"] in lines
    assert any(line[:1] == ["platelet"] and line[-1] == "*" for line in lines)
    assert "ablate --seeds" in text
    assert "not comparable" in text
    assert "The inputs differ" not in text


def test_changes_during_a_training_are_listed(runs, capsys):
    path = Path(runs[1]) / "config_history.jsonl"
    starts = [
        {"step": 0, "changes": {}, "notes": []},
        {"step": 300, "changes": {"optimizer.learning_rate": [0.1, 0.01]}, "notes": ["val: other"]},
    ]
    path.write_text("".join(f"{json.dumps(start)}\n" for start in starts) + '{"step": 4, "ch\n')
    assert main(["compare", *runs]) == 0
    output = capsys.readouterr()
    assert (
        "changed during the training\n"
        "  giou, from step 300 on: optimizer.learning_rate 0.1 -> 0.01\n"
        "  giou, from step 300 on: val: other\n"
    ) in output.out
    assert f"{path}, line 3: damaged, skipped" in output.err
    assert main(["compare", *runs, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"]["giou"]["history"] == starts[1:]


def test_reversed_order_is_worse(runs, capsys):
    assert main(["compare", *runs[::-1]]) == 0
    assert "  squared is worse by " in capsys.readouterr().out


def test_equal_runs_are_within_noise(tmp_path, capsys):
    folders = [str(make_run(tmp_path / name, HALF)) for name in "ab"]
    assert main(["compare", *folders]) == 0
    text = capsys.readouterr().out
    assert "  b: no difference beyond noise (+0.0 [+0.0, +0.0])" in text
    assert "no difference beyond noise in any class" in text
    assert "the configs are the same" in text


@pytest.mark.parametrize(
    ("value", "interval", "words"),
    [
        (0.021, [0.004, 0.039], "W2 is better by 2.1 [0.4, 3.9]"),
        (-0.021, [-0.039, -0.004], "W2 is worse by 2.1 [0.4, 3.9]"),
        (0.004, [-0.012, 0.02], "W2: no difference beyond noise (+0.4 [-1.2, +2.0])"),
        (None, None, "W2: no ground-truth boxes, nothing to compare"),
    ],
)
def test_verdict_text(value, interval, words):
    beyond = interval is not None and not interval[0] <= 0 <= interval[1]
    found = {"difference": value, "interval": interval, "beyond_noise": beyond}
    assert cli.verdict("W2", found) == words


def test_json_output_is_the_result(runs, capsys):
    assert main(["compare", *runs, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["differences"]["giou"]["all"]["beyond_noise"] is True


def test_another_input_is_noted(runs, tmp_path, capsys):
    path = tmp_path / "giou" / "eval" / "val.json"
    result = json.loads(path.read_text())
    result["protocol"]["input"] = "96x96"
    path.write_text(json.dumps(result))
    assert main(["compare", *runs]) == 0
    assert "The inputs differ, as part of the models: squared 64x64, giou 96x96" in (
        capsys.readouterr().out
    )


def test_plot_with_and_without_curves(runs, tmp_path):
    whole, bare = tmp_path / "whole.png", tmp_path / "bare.png"
    assert main(["compare", *runs, "--plot", str(whole)]) == 0
    for name in ("squared", "giou"):
        (tmp_path / name / "metrics.jsonl").unlink()
    assert main(["compare", *runs, "--plot", str(bare)]) == 0
    assert cv2.imread(str(whole)).shape == cv2.imread(str(bare)).shape
    assert (cv2.imread(str(whole)) != cv2.imread(str(bare))).any()


def test_classifiers_have_no_error_mix(tmp_path, capsys):
    labels = np.arange(60) % 2
    hits = {"a": labels == 0, "b": labels < 2}
    folders = [str(make_classifier_run(tmp_path / n, h, labels)) for n, h in hits.items()]
    assert main(["compare", *folders, "--plot", str(tmp_path / "c.png")]) == 0
    text = capsys.readouterr().out
    assert "b is better by 50.0" in text
    assert "localisation" not in text


def test_one_run_is_misuse_and_another_protocol_is_an_error(runs, tmp_path, capsys):
    assert main(["compare", runs[0]]) == 2
    assert "two or more runs" in capsys.readouterr().err
    make_run(tmp_path / "other", ALL, iou_threshold=0.3)
    assert main(["compare", runs[0], str(tmp_path / "other")]) == 1
    error = capsys.readouterr().err
    assert "yolojax eval --workdir=" in error
    assert error.count("\n") == 1
