"""Plot the rows of an ablation: each seed a dot, the mean and its spread."""

from collections.abc import Sequence

import numpy as np

from yolojax.visual.figures import new_figure, save_figure

ROW = 0.38  # inches of the figure's height for each row
BELOW = 0.18  # of a row: offset of the dots below the mean
SEED, MEAN = "#7fa5d8", "#1f4e99"


def plot_ablation(rows: Sequence[tuple[str, Sequence[float]]], metric: str, out_png) -> None:
    """A line for each row, from the top: its seeds, their mean and standard deviation (n - 1).

    Args:
        rows: (label, score of each seed in 0..1, at least one).
        metric: what the scores are.
        out_png: file to write; its ending gives the format.
    """
    figure, (axes,) = new_figure(1, size=(8.5, 1.2 + ROW * len(rows)))
    for place, (_, scores) in enumerate(rows):
        _plot_row(axes, place, 100 * np.asarray(scores))
    axes.set_yticks(range(len(rows)), [label for label, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.7)  # the first at the top, with space for its number
    axes.set(xlabel=f"{metric}, %: each seed, mean and standard deviation")
    save_figure(figure, out_png)


def _plot_row(axes, place: int, percents: np.ndarray) -> None:
    axes.plot(percents, np.full(len(percents), place + BELOW), "o", color=SEED, markersize=4.5)
    mean = percents.mean()
    spread = percents.std(ddof=1) if len(percents) > 1 else None
    axes.errorbar(mean, place, xerr=spread, fmt="D", color=MEAN, markersize=5, capsize=4)
    where = {"textcoords": "offset points", "ha": "center", "fontsize": 8, "color": MEAN}
    axes.annotate(f"{mean:.1f}", (mean, place), (0, 6), **where)
