"""Darknet's picture functions (image.c), in its float32 arithmetic and on its grid.

Weights trained with Darknet get exactly the input that they were trained on: uint8 RGB [h, w, 3]
becomes float32 RGB in 0..1.

One thing differs from the C program. If float32 rounding places the last row of the result just
above the last row of the picture, resize_image omits the second term of its sum, and that row is
nearly black (one size in 25, such as 61 -> 96 rows). Here the last row is the picture's last row,
as the last column is in both programs.
"""

import numpy as np

GREY = 0.5  # letterbox_image


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Stretch `image` to `size` (height, width): bilinear, corner pixels on corner pixels."""
    return _sample(image, *map(_neighbours, image.shape[:2], size))


def place(image: np.ndarray, target: tuple[int, int, int, int], size: tuple[int, int]):
    """Stretch `image` over the rectangle `target` (x, y, width, height) of a grey float32 canvas.

    The canvas is `size` (height, width) and contains the rectangle.
    """
    left, top, width, height = target
    canvas = np.full((*size, 3), GREY, np.float32)
    canvas[top : top + height, left : left + width] = resize(image, (height, width))
    return canvas


def centre_crop(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale `image` until it covers `size`, then crop its middle: the input of a classifier.

    resize_min and crop_image at (w - W) / 2, in integers.
    """
    (h, w), (height, width) = image.shape[:2], size
    larger = (h * width // w, width) if height * w < width * h else (height, w * height // h)
    return _sample(image, *map(_middle, map(_neighbours, (h, w), larger), larger, size))


def _neighbours(n: int, m: int):
    """Find the two neighbours of m positions spread over n pixels, and the weight of the second."""
    scale = np.float32(n - 1) / np.float32(max(m - 1, 1))
    at = np.arange(m, dtype=np.float32) * scale
    before = at.astype(np.intp)
    share = at - before.astype(np.float32)
    before[-1], share[-1] = n - 1, 0  # independent of rounding
    return before, np.minimum(before + 1, n - 1), share


def _middle(neighbours, m: int, length: int):
    """Select the middle `length` of m positions."""
    first = (m - length) // 2
    return tuple(values[first : first + length] for values in neighbours)


def _sample(image, rows, columns):
    """Interpolate along the rows of `image`, then down, as resize_image does -> float32 in 0..1."""
    left, right, share = columns
    wide = _mix(_to_float(image[:, left]), _to_float(image[:, right]), share[:, None])
    above, below, share = rows
    return _mix(wide[above], wide[below], share[:, None, None])


def _mix(before, after, share):
    return (1 - share) * before + share * after


def _to_float(image):
    return image.astype(np.float32) / np.float32(255)
