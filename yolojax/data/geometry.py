"""Where every pixel of a picture lands in the network's input, for images and boxes alike.

Positions are continuous: pixel i covers [i, i + 1), its centre is i + 0.5, the right edge of a
picture w pixels wide is w. Images and boxes go through the same numbers, so they never part.
Darknet (image.c) mixes two other grids: corner-aligned in resize_image, x * w / nw in place_image;
each is at most half a pixel, of the picture or of the input, from this one. Darknet's own weights
may be given Darknet's own input: `fitter`.
"""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from yolojax.darknet import image as darknet_image

GREY = 128  # Darknet fills with 0.5 (letterbox_image, load_data_detection)

Rectangle = tuple[int, int, int, int]  # x, y, width, height in pixels
Size = tuple[int, int]  # height, width in pixels


class Affine(NamedTuple):
    """x -> scale_x * x + offset_x, from picture to network input, in pixels; y alike.

    A mirrored picture has a negative `scale_x`.
    """

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float


class Placement(NamedTuple):
    """A rectangle of the picture is stretched over a rectangle of the input, then mirrored or not.

    Either may reach over its edge: the picture goes on with its last pixels, the input cuts off.
    """

    source: Rectangle
    target: Rectangle
    flip: bool = False


def place_letterbox(picture: Size, size: Size) -> Placement:
    """The whole of `picture`, as large as it fits in `size` with its aspect kept, in the middle.

    Integer arithmetic as in letterbox_image (darknet image.c).
    """
    (h, w), (height, width) = picture, size
    if width * h < height * w:
        new_w, new_h = width, max(1, h * width // w)
    else:
        new_w, new_h = max(1, w * height // h), height
    corner = ((width - new_w) // 2, (height - new_h) // 2)
    return Placement((0, 0, w, h), (*corner, new_w, new_h))


def place_squash(picture: Size, size: Size) -> Placement:
    """The whole of `picture` over the whole of `size`: Darknet's v1 and 2016 input."""
    return Placement((0, 0, picture[1], picture[0]), (0, 0, size[1], size[0]))


def affine_of(placement: Placement, width: int) -> Affine:
    """The map of positions that `render` applies to pixels; `width` is that of the input."""
    (x, y, w, h), (left, top, new_w, new_h), flip = placement
    scale_x, scale_y = new_w / w, new_h / h
    offset_x, offset_y = left - x * scale_x, top - y * scale_y
    if flip:
        return Affine(-scale_x, scale_y, width - offset_x, offset_y)
    return Affine(scale_x, scale_y, offset_x, offset_y)


Recolour = Callable[[np.ndarray], np.ndarray]  # uint8 [h, w, 3] -> as many; each pixel by itself


def render(
    image: np.ndarray, placement: Placement, size: Size, recolour: Recolour | None = None
) -> np.ndarray:
    """`image` uint8 [h, w, 3] laid out on a grey canvas -> uint8 [*size, 3]; bilinear.

    The grey is recoloured too, as if it were done to the whole canvas, but as one pixel.
    """
    left, top, new_w, new_h = placement.target
    piece = _cut(image, placement.source)
    if piece.shape[:2] != (new_h, new_w):
        piece = cv2.resize(piece, (new_w, new_h), interpolation=cv2.INTER_LINEAR)
    rows, piece_rows = _overlap(top, new_h, size[0])
    columns, piece_columns = _overlap(left, new_w, size[1])
    canvas, grey = piece[piece_rows, piece_columns], np.full((1, 1, 3), GREY, np.uint8)
    if recolour:
        canvas, grey = recolour(canvas), recolour(grey)
    border = (rows.start, size[0] - rows.stop, columns.start, size[1] - columns.stop)
    if any(border):
        value = grey[0, 0].tolist()
        canvas = cv2.copyMakeBorder(canvas, *border, cv2.BORDER_CONSTANT, value=value)
    return cv2.flip(canvas, 1) if placement.flip else canvas


def _cut(image, rectangle):
    """The rectangle of `image`; what lies outside repeats the edge (crop_image, image.c)."""
    x, y, w, h = rectangle
    rows, inner_rows = _overlap(-y, image.shape[0], h)
    columns, inner_columns = _overlap(-x, image.shape[1], w)
    inside = image[inner_rows, inner_columns]
    border = (rows.start, h - rows.stop, columns.start, w - columns.stop)
    return cv2.copyMakeBorder(inside, *border, cv2.BORDER_REPLICATE) if any(border) else inside


def _overlap(start, length, limit):
    """A run of `length` pixels laid at `start` on an axis of `limit`: (slice of axis, of run)."""
    first, last = max(start, 0), min(start + length, limit)
    return slice(first, last), slice(first - start, last - start)


def letterbox(image: np.ndarray, size: Size) -> tuple[np.ndarray, Affine]:
    """`image` uint8 [h, w, 3] -> (uint8 [*size, 3], map from its pixels to those of the input)."""
    return _whole(image, place_letterbox(image.shape[:2], size), size)


def squash(image: np.ndarray, size: Size) -> tuple[np.ndarray, Affine]:
    """As `letterbox`, but stretched over the whole input."""
    return _whole(image, place_squash(image.shape[:2], size), size)


def _whole(image, placement, size):
    return render(image, placement, size), affine_of(placement, size[1])


def darknet_letterbox(image: np.ndarray, size: Size) -> tuple[np.ndarray, Affine]:
    """As `letterbox`, on Darknet's grid: `image` uint8 -> (float32 [*size, 3] in 0..1, map).

    Darknet lays the picture at an integer place, but takes boxes back from the exact middle
    (correct_region_boxes, region_layer.c): half a pixel aside where the margin is odd.
    """
    placement = place_letterbox(image.shape[:2], size)
    _, _, width, height = placement.target
    middle = {"offset_x": (size[1] - width) / 2, "offset_y": (size[0] - height) / 2}
    affine = affine_of(placement, size[1])._replace(**middle)
    return darknet_image.place(image, placement.target, size), affine


def darknet_squash(image: np.ndarray, size: Size) -> tuple[np.ndarray, Affine]:
    """As `darknet_letterbox`, but stretched over the whole input."""
    affine = affine_of(place_squash(image.shape[:2], size), size[1])
    return darknet_image.resize(image, size), affine


Fit = Callable[[np.ndarray, Size], tuple[np.ndarray, Affine]]
FITTERS = {
    "opencv": {True: letterbox, False: squash},
    "darknet": {True: darknet_letterbox, False: darknet_squash},
}
BLANK = {"opencv": np.uint8(GREY), "darknet": np.float32(darknet_image.GREY)}


def fitter(letterbox: bool, resize: str) -> Fit:
    """The function (image uint8 [h, w, 3], size) -> (input [*size, 3], Affine from one to other).

    Args:
        letterbox: keep the aspect and pad with grey; else stretch over the whole input.
        resize: "opencv": the input is uint8, on this project's grid; "darknet": float32 in 0..1,
            the C program's.

    Raises:
        ValueError: `resize` is neither.
    """
    return _of_resize(FITTERS, resize)[letterbox]


def blank(resize: str, shape: tuple[int, ...]) -> np.ndarray:
    """A grey array of `shape` and of the type that `fitter(..., resize)` returns; raises as it."""
    grey = _of_resize(BLANK, resize)
    return np.full(shape, grey, grey.dtype)


def to_uint8(image: np.ndarray) -> np.ndarray:
    """An input of either type, float32 in 0..1 or uint8 -> uint8: to be looked at."""
    return image if image.dtype == np.uint8 else np.rint(255 * image).astype(np.uint8)


def _of_resize(table, resize):
    if resize not in table:
        raise ValueError(f'data.resize must be "opencv" or "darknet", got {resize!r}.')
    return table[resize]


def boxes_to_input(boxes: np.ndarray, affine: Affine, picture: Size, size: Size) -> np.ndarray:
    """Boxes [n, 4] in 0..1 of `picture` -> float32 [n, 4] in 0..1 of the input, not clipped."""
    pixels = np.asarray(boxes, np.float64) * _whwh(picture)
    moved = _turned(pixels * _scales(affine) + _offsets(affine), affine)
    return (moved / _whwh(size)).astype(np.float32)


def boxes_to_original(boxes, affine, size: Size, picture) -> np.ndarray:
    """Boxes in 0..1 of the input -> pixels of the picture they were found in, clipped to it.

    Args:
        boxes: [..., K, 4] xyxy.
        affine: an Affine, or [..., 4]: one for each set of K boxes.
        size: (height, width) of the input.
        picture: (height, width) of the picture, or [..., 2].

    Returns:
        float32 [..., K, 4] xyxy.
    """
    affine = np.asarray(affine, np.float64)[..., None, :]
    pixels = np.asarray(boxes, np.float64) * _whwh(size)
    moved = _turned((pixels - _offsets(affine)) / _scales(affine), affine)
    return np.clip(moved, 0, _whwh(np.asarray(picture)[..., None, :])).astype(np.float32)


def _turned(boxes, affine):
    """`boxes` with the left and right sides that a mirror has swapped in their places again.

    A box that is inside out stays so, as in Darknet: it has no area and overlaps nothing.
    """
    mirrored = np.asarray(affine)[..., :1] < 0
    return np.where(mirrored, boxes[..., [2, 1, 0, 3]], boxes)


def _whwh(size):
    """(height, width) on the last axis -> (width, height, width, height)."""
    return np.asarray(size, np.float64)[..., [1, 0, 1, 0]]


def _scales(affine):
    return np.asarray(affine)[..., [0, 1, 0, 1]]


def _offsets(affine):
    return np.asarray(affine)[..., [2, 3, 2, 3]]
