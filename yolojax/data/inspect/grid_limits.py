"""How many truths a grid has room for: the upper bound of recall, before anything is learnt.

Each truth is trained on one slot, and a slot holds one truth: of several, the others are never
asked for. YOLOv1 has one slot a cell, whatever its number of boxes, since these compete for the
same truth (darknet data.c, fill_truth_region); YOLOv2 one for each anchor of a cell (see
losses/assign.py).
"""

import numpy as np

from yolojax.ops.boxes import shape_iou, xyxy_to_cxcywh


def cell_slots(boxes, grid: tuple[int, int]) -> np.ndarray:
    """The cell of each box's centre: boxes [n, 4] xyxy in 0..1, grid (rows, columns) -> int [n].

    A centre on the right or bottom edge belongs to the last cell.
    """
    rows, columns = grid
    centres = xyxy_to_cxcywh(np.asarray(boxes, np.float32).reshape(-1, 4))[:, :2]
    last = np.array([columns - 1, rows - 1])
    column, row = np.clip(np.floor(centres * np.float32([columns, rows])), 0, last).astype(int).T
    return row * columns + column


def anchor_slots(boxes, grid: tuple[int, int], anchors) -> np.ndarray:
    """The slot of each box: its cell and there the anchor nearest in shape -> int [n].

    Args:
        boxes: [n, 4] xyxy in 0..1 of the network input.
        grid: (rows, columns).
        anchors: [A, 2], (w, h) in cells.
    """
    anchors = np.asarray(anchors, np.float32)
    shapes = xyxy_to_cxcywh(np.asarray(boxes, np.float32).reshape(-1, 4))[:, None, 2:]
    nearest = shape_iou(shapes, anchors / np.float32(grid[::-1])).argmax(axis=1)
    return cell_slots(boxes, grid) * len(anchors) + nearest


def recall_bound(pictures, slots) -> dict:
    """What is left of n truths if each slot of each picture holds one.

    Args:
        pictures: int [n], the picture of each truth.
        slots: int [n].

    Returns:
        {"truths": n, "kept": number, "recall": kept / n or None, "pictures": number that lose one}.
    """
    places, counts = np.unique(np.stack([pictures, slots]), axis=1, return_counts=True)
    kept = places.shape[1]
    return {
        "truths": len(slots),
        "kept": kept,
        "recall": kept / len(slots) if len(slots) else None,
        "pictures": len(np.unique(places[0, counts > 1])),
    }
