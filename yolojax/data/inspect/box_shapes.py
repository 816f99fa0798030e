"""The shapes of the boxes in a data set, in the cells of the network's grid."""

import numpy as np

from yolojax.data.loader import Handler, refuse
from yolojax.data.records import BadRecord, Record, Source, header_of, upright_record
from yolojax.progress import progress

CELL = 32  # pixels of the input per cell of the grid


def grid_shapes(
    source: Source,
    image_size: tuple[int, int],
    *,
    letterbox: bool = True,
    on_bad: Handler = refuse,
):
    """Measure all boxes of `source` in cells of the fitted pictures -> (w, h), float64 [n, 2].

    Of the pictures only the headers are read.

    Args:
        source: the records; crowd and difficult boxes are skipped, as in training.
        image_size: (height, width) in pixels that pictures are fitted into.
        letterbox: keep the aspect of pictures; False: stretch them over the whole size.
        on_bad: gets the error of a bad record, which is skipped if `on_bad` returns.

    Raises:
        ValueError: no box has an area.
        BadRecord: `on_bad` raises it: as `records.header_of` and `records.upright_record`.
    """
    parts = [np.zeros((0, 2))]
    for i in progress(range(len(source)), desc="boxes", unit="picture"):
        try:
            parts.append(_shapes(source[i], image_size, letterbox))
        except BadRecord as error:
            on_bad(error)
    shapes = np.concatenate(parts)
    shapes = shapes[(shapes > 0).all(axis=1)]
    if not len(shapes):
        raise ValueError(f"{source.name}: no boxes in its {len(source)} pictures to cluster.")
    return shapes


def _shapes(record: Record, image_size, letterbox: bool) -> np.ndarray:
    wanted = ~(record.difficult | record.crowd)
    if not wanted.any():
        return np.zeros((0, 2))
    size = np.array(image_size[::-1], np.float64)
    if letterbox or record.size:
        header = header_of(record)
        record = upright_record(record, header)
        picture = np.array(header.size)
        size = picture * (size / picture).min() if letterbox else size
    boxes = record.boxes[wanted].astype(np.float64)
    return (boxes[:, 2:] - boxes[:, :2]) * size / CELL
