"""Plot runs side by side: training curves, metric by class and differences."""

from pathlib import Path

import numpy as np

from yolojax.visual.figures import new_figure, save_figure
from yolojax.visual.report import read_metrics

POINTS = 60  # of a curve; each is the median of its neighbourhood
MOST = 20  # classes drawn, those that differ most
ROW = 0.28  # inches of height for each class


def plot_comparison(result: dict, out_png) -> None:
    """Plot loss and metric over images, the classes of all runs and differences to the first run.

    Args:
        result: from `evaluation.compare.compare`; the curves are read from metrics.jsonl in the
            folders of the runs.
        out_png: file to write; its suffix selects the format.
    """
    runs, metric = result["runs"], result["metric"]
    colours = {label: f"C{i}" for i, label in enumerate(runs)}
    lines = {
        label: read_metrics(Path(one["workdir"]) / "metrics.jsonl") for label, one in runs.items()
    }
    classes = chosen_classes(result["differences"])
    height = max(4.5, 1.5 + ROW * len(classes))
    figure, grid = new_figure(4, size=(6.5, height))
    same = not any(field.startswith("loss.") for field in result["config"])
    title = "training loss" if same else "training loss (losses differ: not comparable)"
    plot_curves(grid[0], {k: series(v, "train/loss") for k, v in lines.items()}, colours, title)
    grid[0].set_yscale("log")
    curves = {label: series(rows, f"eval/{metric}") for label, rows in lines.items()}
    curves = {label: (images, 100 * values) for label, (images, values) in curves.items()}
    plot_curves(grid[1], curves, colours, f"{metric} during training, %")
    grid[1].set_ylim(bottom=0)
    plot_classes(grid[2], result, classes, colours)
    plot_differences(grid[3], result, classes, colours)
    handles = [_patch(colour) for colour in colours.values()]
    figure.legend(handles, list(colours), loc="outside lower center", ncols=4, frameon=False)
    save_figure(figure, out_png)


def chosen_classes(differences: dict) -> list[str]:
    """Return up to MOST classes in their order, those with the largest difference in any run."""
    rows = [one["per_class"] for one in differences.values()]
    size = {name: max(abs(row[name]["difference"] or 0) for row in rows) for name in rows[0]}
    largest = sorted(size, key=size.get, reverse=True)[:MOST]
    return [name for name in size if name in largest]


def series(lines: list[dict], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (images [k], values [k]) of the metric `name`, k at most POINTS."""
    pairs = [(x["images"], x[name]) for x in lines if isinstance(x.get(name), int | float)]
    parts = np.array_split(np.array(pairs, float).reshape(-1, 2), min(POINTS, max(1, len(pairs))))
    points = np.array([np.median(part, axis=0) for part in parts if len(part)]).reshape(-1, 2)
    return points[:, 0], points[:, 1]


def plot_curves(axes, curves: dict[str, tuple], colours: dict[str, str], title: str) -> None:
    """Plot a line for each run."""
    for label, (images, values) in curves.items():
        axes.plot(images, values, color=colours[label], marker="o", markersize=3)
    axes.set(title=title, xlabel="images")
    if not any(len(images) for images, _ in curves.values()):
        axes.text(0.5, 0.5, "not logged", ha="center", transform=axes.transAxes)


def plot_classes(axes, result: dict, classes: list[str], colours: dict[str, str]) -> None:
    """Plot a bar for each class and run, in percent."""
    values = _class_values(result, classes)
    rows, thickness = np.arange(len(classes)), 0.8 / len(values)
    for i, (label, numbers) in enumerate(values.items()):
        axes.barh(rows + i * thickness, numbers, thickness, color=colours[label])
    axes.set_yticks(rows + 0.4 - thickness / 2, classes)
    count = len(next(iter(result["differences"].values()))["per_class"])
    some = f", the {len(classes)} of {count} that differ most" if len(classes) < count else ""
    axes.set(title=f"{result['metric']} by class{some}, %", axisbelow=True)
    axes.invert_yaxis()


def plot_differences(axes, result: dict, classes: list[str], colours: dict[str, str]) -> None:
    """Plot the difference of each run to the first, overall and by class, with its interval."""
    names, first = ["all", *classes], next(iter(result["runs"]))
    for i, (label, one) in enumerate(result["differences"].items()):
        differences = [one["all"], *(one["per_class"][name] for name in classes)]
        shown = [(row, d) for row, d in enumerate(differences) if d["interval"]]
        rows = np.array([row for row, _ in shown]) + 0.8 * (i + 0.5) / len(result["differences"])
        middle = np.array([100 * d["difference"] for _, d in shown])
        ends = 100 * np.array([d["interval"] for _, d in shown]).reshape(-1, 2)
        style = {"color": colours[label], "marker": "o", "markersize": 4, "linestyle": ""}
        axes.plot(middle, rows, **style)
        axes.hlines(rows, ends[:, 0], ends[:, 1], color=colours[label])
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(np.arange(len(names)) + 0.4, names)
    axes.set(title=f"difference to {first}, points, 95 % interval")
    axes.invert_yaxis()


def _class_values(result: dict, classes: list[str]) -> dict[str, list[float]]:
    """Return {run: its metric for each class in percent, 0 if undefined}."""
    first, differences = next(iter(result["runs"])), result["differences"]
    sides = {first: (next(iter(differences)), "theirs")}
    sides |= {label: (label, "ours") for label in differences}
    return {
        label: [100 * (differences[run]["per_class"][name][side] or 0) for name in classes]
        for label, (run, side) in sides.items()
    }


def _patch(colour: str):
    from matplotlib.patches import Patch

    return Patch(color=colour)
