"""Figures that go to files only; matplotlib is imported when one is made."""

import io
from pathlib import Path

from yolojax.files import write_bytes


def new_figure(panels: int, *, size=(6.5, 4.5), columns: int = 2):
    """`panels` axes, `columns` in a row, each `size` (w, h) inches -> (figure, axes)."""
    from matplotlib.figure import Figure

    columns = min(panels, columns)
    rows = -(-panels // columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), dpi=110, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for spare in axes[panels:]:
        spare.set_axis_off()
    for used in axes[:panels]:
        used.grid(alpha=0.25)
        used.spines[["top", "right"]].set_visible(False)
        used.ticklabel_format(axis="x", style="plain")
    return figure, axes[:panels]


def save_figure(figure, path) -> None:
    """Write `figure` in the format of the ending of `path`, PNG without one."""
    picture = io.BytesIO()
    figure.savefig(picture, format=Path(path).suffix.lstrip(".") or "png")  # Agg for a bare Figure
    write_bytes(path, picture.getvalue())
