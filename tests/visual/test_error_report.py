import cv2

from yolojax.visual.error_report import COLOURS, plot_errors

ROW = dict(zip(COLOURS, (0.6, 0.2, 0.02, 0.08, 0.1), strict=True))
NOTHING = dict.fromkeys(COLOURS)


def test_panels_for_the_mean_and_each_run(tmp_path):
    run = {"mean": ROW, "per_class": {"cat": ROW, "dog": NOTHING}}
    plot_errors({"v1": run}, tmp_path / "one.png")
    plot_errors({"v1": run, "v2": run}, tmp_path / "two.png")
    widths = [cv2.imread(str(tmp_path / f"{n}.png")).shape[1] for n in ("one", "two")]
    assert 2 * widths[1] == 3 * widths[0]


def test_large_shares_are_labelled(tmp_path):
    plot_errors({"v1": {"mean": ROW, "per_class": {"cat": ROW}}}, tmp_path / "errors.svg")
    text = (tmp_path / "errors.svg").read_text()
    assert "<!-- 60 -->" in text
    assert "<!-- background -->" in text
    assert "<!-- 2 -->" not in text  # of .02
