"""The truths of the v1 golden files."""

import numpy as np

from yolojax.ops.boxes import cxcywh_to_xyxy


def batch_of_cells(truth, side):
    """Darknet's truth [B, S * S * (1 + C + 4)] -> boxes, labels and mask, one place per cell.

    A cell is [is an object, one-hot class, x and y in the cell, w and h of the image].
    """
    cells = truth.reshape(len(truth), side**2, -1).astype(np.float64)
    row, column = np.divmod(np.arange(side**2), side)
    centre = (cells[..., -4:-2] + np.stack([column, row], axis=-1)) / side
    return {
        "boxes": cxcywh_to_xyxy(np.concatenate([centre, cells[..., -2:]], -1)).astype(np.float32),
        "labels": cells[..., 1:-4].argmax(-1).astype(np.int32),
        "mask": cells[..., 0] > 0,
    }
