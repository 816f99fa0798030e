import numpy as np

from yolojax.visual.compare_plot import MOST, POINTS, chosen_classes, plot_comparison, series


def test_a_long_curve_is_thinned_by_medians():
    lines = [{"images": i, "loss": 1.0} for i in range(1, 601)]
    lines[300]["loss"] = 1e6
    images, values = series(lines, "loss")
    assert len(images) == POINTS
    np.testing.assert_array_equal(values, 1)
    assert images[0] == 5.5  # of 1..10
    images, values = series([{"images": 8, "loss": 2.0}, {"images": 9, "eval": 1.0}], "loss")
    assert (images.tolist(), values.tolist()) == ([8], [2])
    assert series([], "loss")[0].shape == (0,)


def difference(value):
    interval = None if value is None else [value - 0.05, value + 0.05]
    return {"ours": value, "theirs": value and 0.1, "difference": value, "interval": interval}


def test_classes_that_differ_most_are_drawn(tmp_path):
    values = {f"class{i}": (-1) ** i * i / 100 for i in range(40)} | {"without boxes": None}
    rows = {name: difference(value) for name, value in values.items()}
    chosen = chosen_classes({"b": {"per_class": rows}})
    assert chosen == [f"class{i}" for i in range(40 - MOST, 40)]
    result = {
        "metric": "voc10",
        "config": {},
        "runs": {name: {"workdir": str(tmp_path / name)} for name in "ab"},
        "differences": {"b": {"all": difference(0.1), "per_class": rows}},
    }
    plot_comparison(result, tmp_path / "many.png")
    result["differences"]["b"]["per_class"] = {"without boxes": difference(None)}
    plot_comparison(result, tmp_path / "none.png")
    assert (tmp_path / "many.png").read_bytes() != (tmp_path / "none.png").read_bytes()
