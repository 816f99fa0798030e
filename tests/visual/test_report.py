import json

import cv2
import numpy as np
import pytest

from yolojax.visual.report import _smooth, plot_anchors, plot_curves, read_metrics

LINE = {"step": 1, "images": 64, "train/loss": 2.0, "train/lr": 0.001}


def write(path, *lines, end="\n"):
    path.write_text("\n".join(map(json.dumps, lines)) + end)
    return path


def test_a_line_that_is_being_written_is_left_out(tmp_path):
    path = write(tmp_path / "metrics.jsonl", LINE, end='\n{"step": 2, "im')
    assert read_metrics(path) == [LINE]


def test_a_damaged_line_is_named_once_and_left_out(tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    path.write_text('not json\n{"step": 1}\n' + json.dumps(LINE) + "\n")
    assert read_metrics(path) == read_metrics(path) == [LINE]
    assert capsys.readouterr().err.splitlines() == [
        f'{path}, line {i}: damaged, skipped; it must be an object with "images".' for i in (1, 2)
    ]


def test_a_run_without_numbers_has_no_plot(tmp_path):
    path = write(tmp_path / "metrics.jsonl", {"step": 1, "images": 64, "note": 1.0})
    with pytest.raises(ValueError, match="no line with train"):
        plot_curves(path, tmp_path / "curves.png")


def test_curves_has_a_panel_for_every_kind_of_number(tmp_path):
    lines = [LINE | {"step": i, "images": 64 * i, "train/loss": 5.0 / i} for i in range(1, 90)]
    few = write(tmp_path / "few.jsonl", *lines)
    all_kinds = write(
        tmp_path / "all.jsonl", *lines, LINE | {"eval/voc10": 0.5, "train/avg_iou": 0.4}
    )
    plot_curves(few, tmp_path / "few.png")
    plot_curves(all_kinds, tmp_path / "all.png")
    heights = [cv2.imread(str(tmp_path / f"{n}.png")).shape[0] for n in ("few", "all")]
    assert heights[1] == 2 * heights[0]  # loss and rate in a row; evaluation and fit in the next
    assert not list(tmp_path.glob(".*"))


def test_numbers_that_are_not_finite_are_gaps(tmp_path):
    lines = [LINE | {"train/loss": x} for x in (1.0, float("nan"), 0.0)]
    plot_curves(write(tmp_path / "metrics.jsonl", *lines), tmp_path / "curves.png")
    assert (tmp_path / "curves.png").exists()


def test_smoothing_is_a_median():
    values = np.zeros(80)
    values[40] = 1000  # a single spike vanishes
    np.testing.assert_array_equal(_smooth(values), 0)
    np.testing.assert_array_equal(_smooth(np.arange(100.0))[1:-1], np.arange(1.0, 99))


def test_anchors_are_plotted_in_the_format_of_the_name(tmp_path):
    shapes = np.random.default_rng(0).uniform(1, 9, (50, 2))
    gains = {1: 0.5, 2: 0.6}
    plot_anchors(shapes, [[2, 2], [5, 7]], gains, tmp_path / "a.svg", published="yolov2_voc")
    assert "<svg" in (tmp_path / "a.svg").read_text()
