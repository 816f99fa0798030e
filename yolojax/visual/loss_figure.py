"""Draw the loss of one picture: assignments, detections, objectness and each term in each cell."""

from typing import NamedTuple

import cv2
import numpy as np

from yolojax.ops.boxes import xyxy_to_cxcywh
from yolojax.visual.draw import draw_boxes
from yolojax.visual.figures import new_figure

COLUMNS = 4
WIDTH, BAR, HEAD = 5.2, 0.6, 0.4  # inches: a panel, its colour bar, the space above it
DECADES = 4  # of the colour scale, below the largest value of all cells and terms
LINE = 0.13  # inches: a line of the table
NAME = 14  # characters of a class name in the table
DRAWN_SIDE = 640  # pixels of the shorter side when detections are drawn
COLOURS = ("#4dd2ff", "#ffb000", "#7cf06a", "#ff6ec7", "#fff04d", "#b89cff", "#ff7f5c", "#5cf2d6")
UNASSIGNED = "#ffffff"


class Responsible(NamedTuple):
    """The s anchor positions that ground-truth boxes are assigned to; NumPy."""

    gt_index: np.ndarray  # int [s], index of the ground-truth box
    cell: np.ndarray  # int [s, 2], (row, column)
    anchor: np.ndarray  # int [s], index of the anchor or box of the cell
    boxes: np.ndarray  # [s, 4], to draw: the anchor or the predicted box
    iou: np.ndarray  # [s], of the predicted with the ground-truth box


class LossView(NamedTuple):
    """One picture with its ground truth, loss and predictions; NumPy, boxes xyxy in 0..1."""

    title: str
    image: np.ndarray  # uint8 RGB [h, w, 3]
    classes: tuple[str, ...]
    boxes: np.ndarray  # [n, 4] ground truth
    labels: np.ndarray  # int [n]
    drawn_as: str  # meaning of Responsible.boxes: "anchor" or "predicted box"
    responsible: Responsible | None  # None if the loss has no assignment
    terms: dict[str, tuple[float, np.ndarray | None]]  # sum, and values [H, W] of cells
    objectness: np.ndarray  # [H, W], largest of each cell
    detections: tuple[np.ndarray, np.ndarray, np.ndarray]  # boxes, labels, scores
    notes: tuple[str, ...] = ()


def draw_loss(view: LossView) -> np.ndarray:
    """Draw the figure as uint8 RGB [h, w, 3].

    Panels: ground truth with its cells and anchors; detections; objectness; a table of the ground
    truth; a map of each term. The maps share one logarithmic scale; cells without cost are clear.
    """
    height, width = view.image.shape[:2]
    size = (WIDTH, (WIDTH - BAR) * height / width + HEAD)
    figure, axes = new_figure(COLUMNS + max(1, len(view.terms)), size=size, columns=COLUMNS)
    for panel in axes:
        panel.set_axis_off()
        panel.grid(False)
    _draw_responsible(axes[0], view)
    _draw_detections(axes[1], view)
    _draw_objectness(axes[2], view)
    _write_table(axes[3], view, rows=int((size[1] - HEAD) / LINE) - 1)
    _draw_terms(axes[COLUMNS:], view)
    figure.suptitle(view.title, fontsize=15)
    if view.notes:
        figure.supxlabel("\n".join(view.notes), fontsize=11)
    return _pixels(figure)


def _pixels(figure) -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _show(axes, image, title: str) -> None:
    height, width = image.shape[:2]
    axes.imshow(image, extent=(0, 1, 1, 0), aspect=height / width)
    axes.set(xlim=(0, 1), ylim=(1, 0))
    axes.set_title(title, fontsize=11)


def _rectangle(axes, box, **style) -> None:
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = box
    axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, **style))


def _colours(view: LossView) -> list[str]:
    """Return a colour for each ground-truth box, UNASSIGNED where it has no position."""
    every = range(len(view.boxes))
    assigned = set(every) if view.responsible is None else set(view.responsible.gt_index.tolist())
    return [COLOURS[i % len(COLOURS)] if i in assigned else UNASSIGNED for i in every]


def _draw_responsible(axes, view: LossView) -> None:
    rows, columns = view.objectness.shape
    assigned = view.responsible is not None
    more = f", cells; dashed: {view.drawn_as}" if assigned else ""
    _show(axes, view.image, f"ground truth{more}")
    lines = {"colors": "white", "linewidth": 0.6, "alpha": 0.8}
    axes.hlines(np.arange(1, rows) / rows, 0, 1, **lines)
    axes.vlines(np.arange(1, columns) / columns, 0, 1, **lines)
    colours = _colours(view)
    if assigned:
        for index, (row, column), _, box, _ in zip(*view.responsible, strict=True):
            cell = np.array([column, row, column + 1, row + 1]) / (columns, rows, columns, rows)
            _rectangle(axes, cell, facecolor=colours[index], alpha=0.45, linewidth=0)
            _rectangle(axes, box, fill=False, edgecolor=colours[index], linestyle=(0, (4, 2)))
    for i, (box, colour) in enumerate(zip(view.boxes, colours, strict=True)):
        _rectangle(axes, box, fill=False, edgecolor=colour, linewidth=1.8)
        style = {"facecolor": colour, "edgecolor": "none", "pad": 1.0}
        axes.text(*box[:2], str(i), fontsize=7, va="top", bbox=style, clip_on=True)


def _draw_detections(axes, view: LossView) -> None:
    height, width = view.image.shape[:2]
    scale = max(1.0, DRAWN_SIDE / min(height, width))
    side = round(scale * width), round(scale * height)
    large = cv2.resize(view.image, side, interpolation=cv2.INTER_LINEAR)
    boxes, labels, scores = view.detections
    drawn = draw_boxes(large, boxes * (*side, *side), labels, scores, view.classes)
    _show(axes, drawn, f"detections: {len(boxes)}")


def _draw_objectness(axes, view: LossView) -> None:
    from matplotlib.colors import Normalize

    _show(axes, _faded(view.image), f"objectness, best of a cell: {view.objectness.max():.3f}")
    _heat(axes, view, view.objectness, Normalize(0, 1, clip=True))


def _draw_terms(panels, view: LossView) -> None:
    maps = [cells for _, cells in view.terms.values() if cells is not None]
    top = max((float(cells[np.isfinite(cells)].max(initial=0)) for cells in maps), default=0.0)
    total = sum(value for value, _ in view.terms.values())
    if not view.terms:
        text = "This loss has no recorded terms:\nit is no yolojax.losses.terms.SumOfTerms."
        _write(panels[0], "terms", text)
    for panel, (name, (value, cells)) in zip(panels, view.terms.items(), strict=False):
        title = f"{name}: {value:.4g}" + (f", {value / total:.1%} of the sum" if total else "")
        if cells is None:
            _write(panel, title, "This term has no values for cells.")
        else:
            _draw_term(panel, view, title, cells, top)


def _draw_term(axes, view: LossView, title: str, cells, top: float) -> None:
    from matplotlib.colors import LogNorm

    _show(axes, _faded(view.image), title)
    scale = LogNorm(top * 10.0**-DECADES or 1e-4, top or 1.0)
    _heat(axes, view, np.ma.masked_less(cells, scale.vmin), scale)


def _heat(axes, view: LossView, cells, scale) -> None:
    """Draw `cells` [H, W] over the picture, with a colour bar."""
    height, width = view.image.shape[:2]
    heat = axes.imshow(
        cells, extent=(0, 1, 1, 0), aspect=height / width, cmap="inferno", norm=scale, alpha=0.8
    )
    for box in view.boxes:
        _rectangle(axes, box, fill=False, edgecolor="#1f8fff", linewidth=1.0)
    bar = axes.inset_axes((1.015, 0, 0.035, 1))
    axes.figure.colorbar(heat, cax=bar).ax.tick_params(labelsize=8)


def _faded(image) -> np.ndarray:
    """Return `image` in light greys, as background of a map."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.repeat((150 + grey * (90 / 255)).astype(np.uint8)[..., None], 3, axis=2)


def _write(axes, title: str, text: str) -> None:
    axes.set_title(title, fontsize=11)
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=11, wrap=True)


def _write_table(axes, view: LossView, rows: int) -> None:
    lines = table_of(view)
    if len(lines) > rows:
        lines = [*lines[: rows - 1], f"... and {len(lines) - rows + 1} more"]
    axes.set_title("ground truth and assigned positions", fontsize=11)
    style = {"family": "monospace", "fontsize": 8.5, "linespacing": 1.1, "va": "top"}
    axes.text(0, 1, "\n".join(lines), transform=axes.transAxes, **style).set_in_layout(False)


def table_of(view: LossView) -> list[str]:
    """Return a heading and a line for each assigned position of each ground-truth box.

    The cell is (row, column). x and y are those of the box's centre, from the corner of that cell.
    w and h are those of the box, relative to the anchor or, for YOLOv1, to the picture.
    """
    if view.responsible is None:
        names = [_name(view, i) for i in range(len(view.boxes))]
        head = "This loss has no assignment. Ground truth:"
        return [head, *(f"{i:>2} {name}" for i, name in enumerate(names))]
    what, over = ("anchor", "/anchor") if view.drawn_as == "anchor" else ("box", "")
    head = f" # {'class':<{NAME}} cell  {what:<6}  IoU     x     y  w, h{over}"
    order = np.argsort(view.responsible.gt_index, kind="stable")
    lines = [_line(view, Responsible(*(x[k] for x in view.responsible))) for k in order]
    assigned = set(view.responsible.gt_index.tolist())
    rest = [i for i in range(len(view.boxes)) if i not in assigned]
    return [head, *lines, *(f"{i:>2} {_name(view, i):<{NAME}} none" for i in rest)]


def _line(view: LossView, one: Responsible) -> str:
    rows, columns = view.objectness.shape
    row, column = one.cell
    centre_x, centre_y, width, height = xyxy_to_cxcywh(view.boxes[one.gt_index])
    if view.drawn_as == "anchor":
        width, height = (width, height) / xyxy_to_cxcywh(one.boxes)[2:]
    name = _name(view, one.gt_index)
    return (
        f"{one.gt_index:>2} {name:<{NAME}} {f'{row},{column}':<5} {one.anchor:<6}"
        f" {one.iou:4.2f} {centre_x * columns - column:5.2f} {centre_y * rows - row:5.2f}"
        f"  {width:4.2f} {height:4.2f}"
    )


def _name(view: LossView, index: int) -> str:
    label = int(view.labels[index])
    name = view.classes[label] if label < len(view.classes) else str(label)
    return name if len(name) <= NAME else f"{name[: NAME - 1]}…"
