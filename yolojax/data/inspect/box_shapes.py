"""The shapes of the boxes in a data set, in the cells of the network's grid."""

import io

import numpy as np
from PIL import Image

from yolojax.data.records import Record, Source, load_image
from yolojax.progress import progress

CELL = 32  # pixels of the input per cell of the grid
ORIENTATION = 0x0112  # EXIF tag
SWAPPED = (5, 6, 7, 8)  # EXIF orientations that swap width and height


def grid_shapes(source: Source, image_size: tuple[int, int], *, letterbox: bool = True):
    """Measure all boxes of `source` in cells of the fitted pictures -> (w, h), float64 [n, 2].

    Args:
        source: the records; crowd and difficult boxes are skipped, as in training.
        image_size: (height, width) in pixels that pictures are fitted into.
        letterbox: keep the aspect of pictures; False: stretch them over the whole size.

    Raises:
        ValueError: no box has an area.
        BadRecord: as `picture_size`.
    """
    parts = [np.zeros((0, 2))]
    for i in progress(range(len(source)), desc="boxes", unit="picture"):
        record = source[i]
        wanted = ~(record.difficult | record.crowd)
        if wanted.any():
            boxes = np.asarray(record.boxes[wanted], np.float64)
            parts.append((boxes[:, 2:] - boxes[:, :2]) * _cells(record, image_size, letterbox))
    shapes = np.concatenate(parts)
    shapes = shapes[(shapes > 0).all(axis=1)]
    if not len(shapes):
        raise ValueError(f"{source.name}: no boxes in its {len(source)} pictures to cluster.")
    return shapes


def _cells(record: Record, image_size, letterbox: bool):
    """Return the (columns, rows) that the fitted picture covers."""
    size = np.array(image_size, np.float64)
    if letterbox:
        picture = np.array(picture_size(record))
        size = picture * (size / picture).min()
    return size[::-1] / CELL


def picture_size(record: Record) -> tuple[int, int]:
    """Read (height, width) of the upright picture of `record` from the header of its file.

    Raises:
        BadRecord: the file is missing or not a picture.
    """
    if isinstance(record.image, np.ndarray):
        return record.image.shape[:2]
    try:
        file = io.BytesIO(record.image) if isinstance(record.image, bytes) else record.image
        with Image.open(file) as picture:
            width, height = picture.size
            swapped = picture.getexif().get(ORIENTATION) in SWAPPED
    except OSError:  # a format of OpenCV only, or a file that load_image reports
        return load_image(record).shape[:2]
    return (width, height) if swapped else (height, width)
