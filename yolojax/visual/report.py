"""Plots of a training run and of anchors. matplotlib draws to files only, and is imported late."""

import numpy as np

from yolojax.json_files import read_json_lines
from yolojax.ops.anchors import PUBLISHED_PRIORS
from yolojax.ops.boxes import shape_iou
from yolojax.visual.figures import new_figure, save_figure

PANELS = (  # title, names that belong to it, whether the axis is logarithmic
    ("loss, mean of an image", ("train/loss", "train/loss_*"), True),
    (
        "evaluation",
        ("eval/voc*", "eval/coco_AP", "eval/coco_AP5*", "eval/coco_AP7*", "eval/top*"),
        False,
    ),
    ("fit of the responsible boxes", ("train/avg_iou", "train/recall50", "train/recall75"), False),
    ("accuracy on training batches", ("train/top*",), False),
    ("learning rate", ("train/lr",), True),
)
SMOOTHING = 40  # the running median spans a fortieth of a curve
DECADES = 4  # below the top, of a logarithmic axis: Darknet's burn-in starts near 0
MAX_DOTS = 4000  # boxes in the scatter plot of anchors


def plot_curves(metrics_path, out_png) -> None:
    """Loss terms, metrics, fit and learning rate over images, from the metrics.jsonl of a run.

    Each line is {"step": int, "images": int, name: number, ...}; damaged lines are left out.

    Raises:
        ValueError: no line holds a number to plot.
    """
    lines = read_metrics(metrics_path)
    panels = [(title, _series(lines, names), log) for title, names, log in PANELS]
    panels = [panel for panel in panels if panel[1]]
    if not panels:
        raise ValueError(f"{metrics_path}: has no line with train/... or eval/... to plot yet.")
    figure, grid = new_figure(len(panels))
    for axes, (title, series, log) in zip(grid, panels, strict=True):
        _plot_panel(axes, title, series, log)
    save_figure(figure, out_png)


def read_metrics(path) -> list[dict]:
    """Read the lines of a metrics.jsonl; damaged ones are reported on stderr and left out."""
    return read_json_lines(path, ["images"])


def plot_anchors(shapes, anchors, gains: dict[int, float], out_png, *, published: str = "") -> None:
    """Box shapes [n, 2] with `anchors` [k, 2] (w, h, grid cells), and mean IoU over their number.

    `gains` is {number of anchors: mean IoU}; `published` a key of PUBLISHED_PRIORS to draw too.
    """
    figure, (left, right) = new_figure(2)
    _plot_shapes(left, np.asarray(shapes), np.asarray(anchors), published)
    right.plot(list(gains), [100 * gain for gain in gains.values()], marker="o")
    k = len(anchors)
    if k in gains:
        right.plot([k], [100 * gains[k]], marker="o", markersize=12, color="C3")
        right.annotate(f"k = {k}: {100 * gains[k]:.1f}", (k, 100 * gains[k]), (8, -16), **_OFFSET)
    right.set(title="mean IoU with the nearest anchor, %", xlabel="anchors", xticks=list(gains))
    save_figure(figure, out_png)


_OFFSET = {"textcoords": "offset points"}


def _plot_shapes(axes, shapes, anchors, published):
    key = np.random.default_rng(0)
    some = shapes[key.permutation(len(shapes))[:MAX_DOTS]]
    nearest = shape_iou(some[:, None], anchors[None]).argmax(axis=1)
    axes.scatter(*some.T, c=[f"C{i % 10}" for i in nearest], s=5, alpha=0.35, linewidths=0)
    axes.scatter(*anchors.T, c="black", s=70, marker="X", label="anchors of these boxes")
    if published:
        priors = np.asarray(PUBLISHED_PRIORS[published])
        axes.scatter(*priors.T, edgecolors="black", facecolors="white", s=50, label=published)
    side = 1.05 * max(np.quantile(some, 0.995), anchors.max())
    axes.set(xlim=(0, side), ylim=(0, side), xlabel="width, cells", ylabel="height, cells")
    axes.set(title=f"{len(shapes)} boxes", aspect="equal")
    axes.legend(loc="upper right", framealpha=0.9)


def _series(lines, names) -> dict[str, tuple]:
    """{name: (images, values)} of what `names` (a final * stands for any ending) match."""
    found: dict[str, tuple[list, list]] = {}
    for line in lines:
        for name, value in line.items():
            if any(_matches(name, pattern) for pattern in names) and isinstance(value, int | float):
                images, values = found.setdefault(name, ([], []))
                images.append(line["images"])
                values.append(value)
    return found


def _matches(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def _plot_panel(axes, title, series, log):
    for i, (name, (images, values)) in enumerate(series.items()):
        values = np.asarray(values, float)
        style = {"color": f"C{i}", "label": name.split("/")[1]}
        if len(values) < SMOOTHING or name == "train/lr":
            axes.plot(images, values, marker="o" if len(values) < SMOOTHING else "", **style)
        else:
            axes.plot(images, values, color=f"C{i}", alpha=0.18, linewidth=0.8)
            axes.plot(images, _smooth(values), linewidth=1.8, **style)
    values = np.concatenate([values for _, values in series.values()])
    if log and (values > 0).any():
        top = np.nanmax(values)
        axes.set_yscale("log")
        axes.set_ylim(bottom=max(0.7 * np.nanmin(values[values > 0]), top * 10.0**-DECADES))
    else:
        axes.set_ylim(bottom=0)
    axes.set(title=title, xlabel="images")
    if len(series) > 1 or not log:
        axes.legend(fontsize="small", framealpha=0.8)


def _smooth(values):
    """Running median over a fortieth of `values` [n], shorter at the ends -> [n]."""
    reach = max(1, len(values) // SMOOTHING // 2)
    padded = np.pad(values, reach, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    return np.nanmedian(windows, axis=1)
