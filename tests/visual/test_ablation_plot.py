import numpy as np
import pytest

from yolojax.visual import ablation_plot
from yolojax.visual.ablation_plot import plot_ablation


@pytest.fixture
def drawn(monkeypatch):
    """The figures that would have been saved."""
    figures = []
    monkeypatch.setattr(ablation_plot, "save_figure", lambda figure, path: figures.append(figure))
    return figures


def test_each_row_has_its_seeds_mean_and_spread(drawn):
    plot_ablation([("one", [0.2, 0.4]), ("another", [0.5])], "voc10", "a.png")
    (axes,) = drawn[0].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["one", "another"]
    assert [text.get_text() for text in axes.texts] == ["30.0", "50.0"]
    seeds = [line.get_xdata() for line in axes.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(seeds[0], [20, 40])
    np.testing.assert_allclose(seeds[1], [50])
    (spread,) = (c.get_segments()[0][:, 0] for c in axes.collections)
    np.testing.assert_allclose(spread, [30 - 200**0.5, 30 + 200**0.5])  # n - 1
    top, bottom = (axes.transData.transform((0, place))[1] for place in (0, 1))
    assert top > bottom


def test_rows_with_one_label_stay_apart(drawn, tmp_path):
    plot_ablation([("same", [0.1]), ("same", [0.2])], "voc10", "a.png")
    assert len(drawn[0].axes[0].texts) == 2


def test_the_plot_is_a_file(tmp_path):
    plot_ablation([("one", [0.2])], "voc10", tmp_path / "plots" / "a.png")
    assert (tmp_path / "plots" / "a.png").read_bytes().startswith(b"\x89PNG")
