import cv2
import numpy as np
import pytest

from yolojax import explain
from yolojax.cli.main import main

FIGURE = np.zeros((20, 30, 3), np.uint8)


@pytest.fixture
def calls(monkeypatch):
    """Replace explain_picture, and record its calls."""
    seen = []

    def explain_picture(workdir, picture, *, data):
        seen.append((workdir, picture, data))
        if picture == "unknown":
            raise ValueError("'unknown' is no picture.")
        return explain.Explained("0/a b", FIGURE, 3.5, {"coord": 1.25, "own": 2.25})

    monkeypatch.setattr(explain, "explain_picture", explain_picture)
    return seen


def test_the_figure_is_written_to_the_run(calls, tmp_path, capsys):
    assert main(["explain", "a b", "--workdir", str(tmp_path)]) == 0
    assert calls == [(str(tmp_path), "a b", "")]
    target = tmp_path / "plots" / "explain_0_a b.png"
    assert cv2.imread(str(target)).shape == FIGURE.shape
    out = capsys.readouterr().out
    assert "0/a b: loss 3.5 (coord 1.25, own 2.25)" in out
    assert str(target) in out


def test_the_figure_is_written_to_out(calls, tmp_path):
    target = tmp_path / "here" / "x.png"
    arguments = ["--workdir", "w", "--data", "shapes:val", "--out", str(target)]
    assert main(["explain", "7", *arguments]) == 0
    assert calls == [("w", "7", "shapes:val")]
    assert target.exists()


def test_an_error_is_one_line(calls, capsys):
    assert main(["explain", "unknown", "--workdir", "w"]) == 1
    assert capsys.readouterr().err == "yolojax explain: 'unknown' is no picture.\n"


def test_workdir_is_required(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["explain", "7"])
    assert stop.value.code == 2
