"""The picture functions of Darknet (image.c), in its float32 arithmetic and on its grid.

Weights that were trained with Darknet see exactly the input that they saw there. Pictures go in as
uint8 RGB [h, w, 3] and come out as float32 RGB in 0..1.

One thing is not as in the C program: where float32 rounding puts the last row of the result just
above the last row of the picture, resize_image leaves out the second term of its sum and draws that
row nearly black (one size in 25, as 61 -> 96 rows). Here the last row is the picture's last row, as
the last column is there too.
"""

import numpy as np

GREY = 0.5  # letterbox_image


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`image` stretched to `size` (height, width): bilinear, corner pixels on corner pixels."""
    return _sample(image, *map(_neighbours, image.shape[:2], size))


def place(image: np.ndarray, target: tuple[int, int, int, int], size: tuple[int, int]):
    """`image` stretched over the rectangle `target` (x, y, width, height) of a grey float32 canvas.

    The rectangle lies inside of the canvas, which is `size` (height, width).
    """
    left, top, width, height = target
    canvas = np.full((*size, 3), GREY, np.float32)
    canvas[top : top + height, left : left + width] = resize(image, (height, width))
    return canvas


def centre_crop(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The input of a classifier: `image` stretched until it just covers `size`, then its middle.

    resize_min and crop_image at (w - W) / 2, in integers.
    """
    (h, w), (height, width) = image.shape[:2], size
    larger = (h * width // w, width) if height * w < width * h else (height, w * height // h)
    return _sample(image, *map(_middle, map(_neighbours, (h, w), larger), larger, size))


def _neighbours(n: int, m: int):
    """Of each of m places spread over n pixels: the pixels before and after, the latter's share."""
    scale = np.float32(n - 1) / np.float32(max(m - 1, 1))
    at = np.arange(m, dtype=np.float32) * scale
    before = at.astype(np.intp)
    share = at - before.astype(np.float32)
    before[-1], share[-1] = n - 1, 0  # whatever rounding made of it
    return before, np.minimum(before + 1, n - 1), share


def _middle(neighbours, m: int, length: int):
    """The middle `length` of m places."""
    first = (m - length) // 2
    return tuple(values[first : first + length] for values in neighbours)


def _sample(image, rows, columns):
    """float32 in 0..1: along the rows of `image` first, then down, as resize_image does."""
    left, right, share = columns
    wide = _mix(_to_float(image[:, left]), _to_float(image[:, right]), share[:, None])
    above, below, share = rows
    return _mix(wide[above], wide[below], share[:, None, None])


def _mix(before, after, share):
    return (1 - share) * before + share * after


def _to_float(image):
    return image.astype(np.float32) / np.float32(255)
