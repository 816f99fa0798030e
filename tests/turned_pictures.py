"""Encoded pictures of every EXIF orientation, written by Pillow, with one bright object."""

import io

import numpy as np
from PIL import Image

FORMATS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "TIFF": "tif"}
WIDTH, HEIGHT = 48, 32  # of the upright picture
BOX = (6, 4, 22, 12)  # of the object in the upright picture, xyxy in pixels

# What Pillow's ImageOps.exif_transpose does to a stored picture of each orientation, and its
# inverse, which makes the stored picture.
METHODS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
INVERSE = {6: 8, 8: 6}


def upright():
    """uint8 [HEIGHT, WIDTH, 3]: black with a white object, whose box is BOX."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    x1, y1, x2, y2 = BOX
    image[y1:y2, x1:x2] = 255
    return image


def stored(orientation, image=None):
    """The picture that `orientation` turns into `image`, by default `upright()`."""
    picture = Image.fromarray(upright() if image is None else image)
    method = METHODS.get(INVERSE.get(orientation, orientation))
    return np.asarray(picture if method is None else picture.transpose(method))


def encoded(format, orientation, image=None):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    picture = Image.fromarray(stored(orientation, image))
    picture.save(file, format, exif=exif, **({"quality": 95} if format == "JPEG" else {}))
    return file.getvalue()


def stored_box(orientation):
    """The box of the object, in pixels of the stored picture."""
    rows, columns = np.nonzero(stored(orientation)[..., 0])
    return (*map(int, (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)),)


def stored_size(orientation):
    return (HEIGHT, WIDTH) if orientation >= 5 else (WIDTH, HEIGHT)
