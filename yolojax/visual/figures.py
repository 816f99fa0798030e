"""Create and save matplotlib figures; matplotlib is imported on first use."""

import io
from pathlib import Path

from yolojax.files import write_bytes


def new_figure(panels: int, *, size=(6.5, 4.5), columns: int = 2):
    """Create `panels` axes, `columns` per row, each `size` (w, h) inches -> (figure, axes)."""
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
    """Write `figure` to `path` in the format of its suffix, PNG without one."""
    picture = io.BytesIO()
    figure.savefig(picture, format=Path(path).suffix.lstrip(".") or "png")  # Agg for a bare Figure
    write_bytes(path, picture.getvalue())
