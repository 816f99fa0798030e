"""Plot the error mix of detectors as stacked bars, as in figure 4 of the YOLOv1 paper."""

from yolojax.visual.figures import new_figure, save_figure

COLOURS = {  # kind of detection, as in a row of evaluation.errors.error_mix
    "correct": "#4c9f70",
    "localisation": "#3f6fb5",
    "similar": "#e0a83e",
    "other": "#d1662f",
    "background": "#9a9a9a",
}
LABELLED = 0.04  # smallest share that is labelled with its number
BAR = 0.32  # inches of the figure's height for each bar


def plot_errors(results: dict[str, dict], out_png) -> None:
    """Plot the mean over classes with a bar for each run, then each run with a bar for each class.

    Args:
        results: {name of the run: result of evaluation.errors.error_mix}.
        out_png: file to write; its suffix selects the format.
    """
    panels = {"mean over classes": {name: one["mean"] for name, one in results.items()}}
    panels |= {name: one["per_class"] for name, one in results.items()}
    bars = max(map(len, panels.values()))
    figure, grid = new_figure(len(panels), size=(6.5, 1.4 + BAR * bars), columns=3)
    for axes, (title, rows) in zip(grid, panels.items(), strict=True):
        _plot_bars(axes, title, rows)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(COLOURS), frameon=False)
    save_figure(figure, out_png)


def _plot_bars(axes, title: str, rows: dict[str, dict]) -> None:
    start = [0.0] * len(rows)
    for kind, colour in COLOURS.items():
        shares = [row[kind] or 0 for row in rows.values()]
        bars = axes.barh(list(rows), shares, left=start, color=colour, label=kind)
        texts = [f"{100 * share:.0f}" if share >= LABELLED else "" for share in shares]
        axes.bar_label(bars, texts, label_type="center", color="white", fontsize=8)
        start = [a + b for a, b in zip(start, shares, strict=True)]
    axes.set(title=title, xlim=(0, 1), xlabel="share of the top detections")
    axes.invert_yaxis()  # the first at the top
