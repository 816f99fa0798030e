"""Create and save matplotlib figures; matplotlib is imported on first use."""

import io
import warnings
from pathlib import Path

from yolojax.files import write_bytes
from yolojax.visual.fonts import default_font, font_for


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
    kind = Path(path).suffix.lstrip(".") or "png"
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        picture = _rendered(figure, kind)
        if any("missing from" in str(one.message) for one in seen):  # letters, from the font
            _set_fonts(figure)
            picture = _rendered(figure, kind)
    write_bytes(path, picture)


def _rendered(figure, kind: str) -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format=kind)  # Agg for a bare Figure
    return picture.getvalue()


def _set_fonts(figure) -> None:
    """Give each text a font that has its letters, where the system has one."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        path = font_for(text.get_text())
        if path != default_font():
            text.set_fontproperties(FontProperties(fname=path, size=text.get_fontsize()))
