"""Statistics of a data set: classes, sizes, objects per picture, and limits of the grids.

The limits are upper bounds of recall that hold before any training. A ground-truth box is assigned
to one anchor position, and an anchor position to one box, so further boxes at the same position
have no target. YOLOv1 has one position per cell, whatever its number of boxes, as these compete
for the same ground-truth box (darknet data.c, fill_truth_region). YOLOv2 has one per anchor and
cell.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from yolojax.data.transforms import Size
from yolojax.ops.boxes import shape_iou, xyxy_to_cxcywh

STRIDE = 32  # pixels of the input per cell of YOLOv2's grid
QUANTILES = {"smallest": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "largest": 1.0}
MAX_SIZES = 10  # most frequent sizes of pictures in the report


class Summary(NamedTuple):
    """The P readable pictures of a source, and their n boxes that are trained on."""

    classes: tuple[str, ...]
    sizes: np.ndarray  # int [P, 2], height and width
    picture_labels: np.ndarray  # int [P], label of the whole picture, or -1
    pictures: np.ndarray  # int [n], index of each box's picture
    labels: np.ndarray  # int [n]
    boxes: np.ndarray  # float32 [n, 4], xyxy in 0..1 of the picture
    boxes_input: np.ndarray  # float32 [n, 4], xyxy in 0..1 of the network's input
    ignored: int  # difficult and crowd boxes


def summarize(classes: Sequence[str], records: Sequence[Any]) -> Summary:
    """Join the arrays of readable records (`check.Checked`) of a source with these `classes`."""

    def join(name, shape, dtype):
        parts = (getattr(record, name)[record.trained] for record in records)
        return np.concatenate([np.zeros(shape, dtype), *parts])

    counts = [int(record.trained.sum()) for record in records]
    return Summary(
        classes=tuple(classes),
        sizes=np.array([record.size for record in records], int).reshape(-1, 2),
        picture_labels=np.array([record.label for record in records], int),
        pictures=np.repeat(np.arange(len(records)), counts),
        labels=join("labels", 0, int),
        boxes=join("boxes", (0, 4), np.float32),
        boxes_input=join("boxes_input", (0, 4), np.float32),
        ignored=sum(int((~record.trained).sum()) for record in records),
    )


def statistics(summary: Summary, *, image_size: Size, max_boxes: int) -> dict:
    """Compute the statistics of a source, ready for JSON.

    Returns:
        pictures, objects, ignored; classes {name: {objects, pictures}}; picture_sizes {distinct,
        most: {"640x480": pictures}}; box_pixels {width, height: {quantile: pixels of the input}};
        boxes_per_picture {mean, most, without, beyond_max_boxes}.
    """
    counts = boxes_per_picture(summary)
    height, width = image_size
    sides = (summary.boxes_input[:, 2:] - summary.boxes_input[:, :2]) * (width, height)
    widths, heights = sides.T
    return {
        "pictures": len(summary.sizes),
        "objects": len(summary.labels),
        "ignored": summary.ignored,
        "classes": _count_classes(summary),
        "picture_sizes": _count_sizes(summary),
        "box_pixels": {"width": _quantiles(widths), "height": _quantiles(heights)},
        "boxes_per_picture": {
            "mean": float(counts.mean()) if len(counts) else 0.0,
            "most": int(counts.max(initial=0)),
            "without": int((counts == 0).sum()),
            "beyond_max_boxes": int(np.maximum(counts - max_boxes, 0).sum()),
        },
    }


def boxes_per_picture(summary: Summary) -> np.ndarray:
    """Count the boxes of each picture, int [P]."""
    return np.bincount(summary.pictures, minlength=len(summary.sizes))


def classes_without_objects(summary: Summary) -> list[str]:
    """List the classes that no picture and no box has."""
    return [name for name, row in _count_classes(summary).items() if not row["pictures"]]


def _count_classes(summary: Summary) -> dict[str, dict[str, int]]:
    count = len(summary.classes)
    objects = np.bincount(summary.labels, minlength=count)
    pairs = np.unique(np.stack([summary.pictures, summary.labels]), axis=1)
    pictures = np.bincount(pairs[1], minlength=count)
    labelled = summary.picture_labels >= 0
    pictures += np.bincount(summary.picture_labels[labelled], minlength=count)
    return {
        name: {"objects": int(n), "pictures": int(p)}
        for name, n, p in zip(summary.classes, objects, pictures, strict=True)
    }


def _count_sizes(summary: Summary) -> dict:
    sizes = Counter(f"{width}x{height}" for height, width in summary.sizes)
    return {"distinct": len(sizes), "most": dict(sizes.most_common(MAX_SIZES))}


def _quantiles(values) -> dict[str, float | None]:
    if not len(values):
        return dict.fromkeys(QUANTILES)
    quantiles = np.quantile(values, list(QUANTILES.values()))
    return {name: round(float(x), 1) for name, x in zip(QUANTILES, quantiles, strict=True)}


def grid_limits(summary: Summary, *, image_size: Size, side: int, anchors) -> dict[str, dict]:
    """Compute the upper bounds of recall of YOLOv1 and YOLOv2 -> {"yolov1": bound, "yolov2": ...}.

    YOLOv1's `side` x `side` cells cover the picture, which is stretched. YOLOv2 has one cell for
    every STRIDE pixels of the input.
    """
    grid = image_size[0] // STRIDE, image_size[1] // STRIDE
    v1 = cells(summary.boxes, (side, side))
    v2 = anchor_positions(summary.boxes_input, grid, anchors)
    return {
        "yolov1": {"grid": [side, side], **recall_bound(summary.pictures, v1)},
        "yolov2": {
            "grid": list(grid),
            "anchors": len(anchors),
            **recall_bound(summary.pictures, v2),
        },
    }


def cells(boxes, grid: tuple[int, int]) -> np.ndarray:
    """Find the cell of each box's centre: boxes [n, 4] xyxy in 0..1, grid (rows, columns) -> [n].

    A centre on the right or bottom edge is in the last cell.
    """
    rows, columns = grid
    centres = xyxy_to_cxcywh(np.asarray(boxes, np.float32).reshape(-1, 4))[:, :2]
    last = np.array([columns - 1, rows - 1])
    column, row = np.clip(np.floor(centres * np.float32([columns, rows])), 0, last).astype(int).T
    return row * columns + column


def anchor_positions(boxes, grid: tuple[int, int], anchors) -> np.ndarray:
    """Find the anchor position of each box: its cell and the anchor nearest in shape -> int [n].

    Args:
        boxes: [n, 4] xyxy in 0..1 of the network input.
        grid: (rows, columns).
        anchors: [A, 2], (w, h) in cells.
    """
    anchors = np.asarray(anchors, np.float32)
    shapes = xyxy_to_cxcywh(np.asarray(boxes, np.float32).reshape(-1, 4))[:, None, 2:]
    nearest = shape_iou(shapes, anchors / np.float32(grid[::-1])).argmax(axis=1)
    return cells(boxes, grid) * len(anchors) + nearest


def recall_bound(pictures, positions) -> dict:
    """Compute the recall if each position of each picture is assigned to one of its boxes.

    Args:
        pictures: int [n], the picture of each box.
        positions: int [n], the anchor position of each box.

    Returns:
        {"objects": n, "assigned": number, "recall": assigned / n or None, "pictures": number of
        pictures with an unassigned box}.
    """
    taken, counts = np.unique(np.stack([pictures, positions]), axis=1, return_counts=True)
    assigned = taken.shape[1]
    return {
        "objects": len(positions),
        "assigned": assigned,
        "recall": assigned / len(positions) if len(positions) else None,
        "pictures": len(np.unique(taken[0, counts > 1])),
    }
