"""A plot of a data set: classes, box sizes, objects per picture, and their centres."""

import numpy as np

from yolojax.visual.figures import new_figure, save_figure

MAX_DOTS = 10_000  # boxes in the scatter plot
MAX_CLASSES = 40  # bars; the most frequent ones
HEAT = 26  # rows and columns of the heat map: two per cell of 13 x 13


def plot_data(counts: dict[str, int], sides_pixels, per_picture, centres, out_png) -> None:
    """Plot n boxes in P pictures in four panels.

    Args:
        counts: {class: number of objects, or of labelled pictures}.
        sides_pixels: [n, 2], (w, h) in pixels of the network's input.
        per_picture: int [P], number of boxes in each.
        centres: [n, 2], (x, y) in 0..1 of the picture.
        out_png: file to write; its ending gives the format.
    """
    figure, (classes, sizes, numbers, positions) = new_figure(4)
    _plot_classes(classes, counts)
    _plot_sizes(sizes, np.asarray(sides_pixels))
    _plot_numbers(numbers, np.asarray(per_picture))
    _plot_positions(positions, np.asarray(centres))
    save_figure(figure, out_png)


def _plot_classes(axes, counts) -> None:
    ranked = sorted(counts.items(), key=lambda item: -item[1])[:MAX_CLASSES]
    names, numbers = zip(*ranked, strict=True)
    bars = axes.barh(names, numbers)
    axes.tick_params(axis="y", labelsize=9 if len(names) <= 20 else 6)
    if len(names) <= 20:
        axes.bar_label(bars, padding=3, fontsize=8)
    omitted = len(counts) - len(ranked)
    axes.set(
        title="frequency of the classes" + (f", {omitted} rarer ones not shown" * bool(omitted))
    )
    axes.invert_yaxis()


def _plot_sizes(axes, sides) -> None:
    some = sides[np.random.default_rng(0).permutation(len(sides))[:MAX_DOTS]]
    axes.scatter(*some.T, s=5, alpha=0.3, linewidths=0)
    if len(some):  # an empty logarithmic axis has no ticks
        axes.loglog(base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_formatter("{x:g}")
    axes.set(title=f"size of {len(sides)} boxes", aspect="equal")
    axes.set(xlabel="width, pixels of the input", ylabel="height, pixels of the input")


def _plot_numbers(axes, per_picture) -> None:
    counts = np.bincount(per_picture)
    axes.bar(np.arange(len(counts)), counts, width=0.9)
    axes.set(title="objects in a picture", xlabel="objects", ylabel="pictures")


def _plot_positions(axes, centres) -> None:
    heat, *_ = np.histogram2d(*centres.T, bins=HEAT, range=((0, 1), (0, 1)))
    image = axes.imshow(heat.T, extent=(0, 1, 1, 0), cmap="magma")
    axes.grid(visible=False)
    axes.set(title="centres of boxes, in 0..1 of the picture")
    axes.figure.colorbar(image, ax=axes, label="boxes")
