"""From a picture of any size to the network's input, for pixels and boxes alike, and augmentation.

A `Placement` defines where a picture goes in the input. `render` applies it to pixels and
`boxes_to_input` applies its `Affine` map to boxes. Positions are continuous: pixel i covers
[i, i + 1), its centre is i + 0.5, and the right edge of a picture w pixels wide is w.

Darknet (image.c) uses two other grids: corner-aligned in resize_image, x * w / nw in place_image.
Each differs from this one by at most half a pixel. `fitter(resize="darknet")` gives Darknet's input
for Darknet's weights. The augmentation is that of Darknet's data.c and image.c; all functions are
pure functions of a generator.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np

from yolojax.darknet import image as darknet_image

GREY = 128  # Darknet fills with 0.5 (letterbox_image, load_data_detection)
# Boxes are dropped if their visible part is smaller than this fraction of the input, in width or
# height: fill_truth_detection since 2017, and data.c of 2015 and 2016.
MIN_SIDE = {"letterbox": 0.001, "crop": 0.01, "none": 0.001}
STRIP = 64  # rows distorted at a time: float buffers that fit the cache are five times as fast

Rectangle = tuple[int, int, int, int]  # x, y, width, height in pixels
Size = tuple[int, int]  # height, width in pixels


class Affine(NamedTuple):
    """x -> scale_x * x + offset_x, from picture to network input, in pixels; y alike.

    `scale_x` is negative for a mirrored picture.
    """

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float


class Placement(NamedTuple):
    """A rectangle of the picture is stretched over a rectangle of the input, then mirrored or not.

    Outside the picture its edge pixels are repeated; outside the input pixels are cut off.
    """

    source: Rectangle
    target: Rectangle
    flip: bool = False


def place_letterbox(picture: Size, size: Size) -> Placement:
    """Place a whole picture in the middle of `size`, as large as fits, and keep its aspect.

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
    """Stretch a whole picture over the whole of `size`, as Darknet did until 2016."""
    return Placement((0, 0, picture[1], picture[0]), (0, 0, size[1], size[0]))


def affine_of(placement: Placement, width: int) -> Affine:
    """Compute the map of positions for a placement in an input of this width."""
    (x, y, w, h), (left, top, new_w, new_h), flip = placement
    scale_x, scale_y = new_w / w, new_h / h
    offset_x, offset_y = left - x * scale_x, top - y * scale_y
    if flip:
        return Affine(-scale_x, scale_y, width - offset_x, offset_y)
    return Affine(scale_x, scale_y, offset_x, offset_y)


Recolour = Callable[[np.ndarray], np.ndarray]  # uint8 [h, w, 3] -> the same, pixel by pixel


def render(
    image: np.ndarray, placement: Placement, size: Size, recolour: Recolour | None = None
) -> np.ndarray:
    """Draw `image` uint8 [h, w, 3] on a grey canvas -> uint8 [*size, 3]; bilinear.

    `recolour` is applied to the grey too, to one pixel of it.
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
    """Cut out a rectangle; outside `image` its edge is repeated (crop_image, image.c)."""
    x, y, w, h = rectangle
    rows, inner_rows = _overlap(-y, image.shape[0], h)
    columns, inner_columns = _overlap(-x, image.shape[1], w)
    inside = image[inner_rows, inner_columns]
    border = (rows.start, h - rows.stop, columns.start, w - columns.stop)
    return cv2.copyMakeBorder(inside, *border, cv2.BORDER_REPLICATE) if any(border) else inside


def _overlap(start, length, limit):
    """Overlap `length` pixels from `start` with an axis of `limit`: (slice of axis, of pixels)."""
    first, last = max(start, 0), min(start + length, limit)
    return slice(first, last), slice(first - start, last - start)


def letterbox(image: np.ndarray, size: Size) -> tuple[np.ndarray, Affine]:
    """Fit `image` uint8 [h, w, 3] into `size`, keeping its aspect -> (uint8 [*size, 3], map)."""
    return _whole(image, place_letterbox(image.shape[:2], size), size)


def squash(image: np.ndarray, size: Size) -> tuple[np.ndarray, Affine]:
    """Stretch `image` uint8 [h, w, 3] over `size` -> (uint8 [*size, 3], map)."""
    return _whole(image, place_squash(image.shape[:2], size), size)


def _whole(image, placement, size):
    return render(image, placement, size), affine_of(placement, size[1])


def darknet_letterbox(image: np.ndarray, size: Size) -> tuple[np.ndarray, Affine]:
    """Letterbox on Darknet's grid: `image` uint8 [h, w, 3] -> (float32 [*size, 3] in 0..1, map).

    Darknet places the picture at an integer position, but maps boxes back from the exact middle
    (correct_region_boxes, region_layer.c): half a pixel away if the margin is odd.
    """
    placement = place_letterbox(image.shape[:2], size)
    _, _, width, height = placement.target
    middle = {"offset_x": (size[1] - width) / 2, "offset_y": (size[0] - height) / 2}
    affine = affine_of(placement, size[1])._replace(**middle)
    return darknet_image.place(image, placement.target, size), affine


def darknet_squash(image: np.ndarray, size: Size) -> tuple[np.ndarray, Affine]:
    """Squash on Darknet's grid: `image` uint8 [h, w, 3] -> (float32 [*size, 3] in 0..1, map)."""
    affine = affine_of(place_squash(image.shape[:2], size), size[1])
    return darknet_image.resize(image, size), affine


Fit = Callable[[np.ndarray, Size], tuple[np.ndarray, Affine]]
FITTERS = {
    "opencv": {True: letterbox, False: squash},
    "darknet": {True: darknet_letterbox, False: darknet_squash},
}
BLANK = {"opencv": np.uint8(GREY), "darknet": np.float32(darknet_image.GREY)}


def fitter(letterbox: bool, resize: str) -> Fit:
    """Choose the function (image uint8 [h, w, 3], size) -> (input [*size, 3], Affine).

    Args:
        letterbox: keep the aspect and pad with grey; False: stretch over the whole input.
        resize: "opencv": the input is uint8, on this project's grid; "darknet": float32 in 0..1,
            on the C program's.

    Raises:
        ValueError: `resize` is neither.
    """
    return _of_resize(FITTERS, resize)[letterbox]


def blank(resize: str, shape: tuple[int, ...]) -> np.ndarray:
    """Make a grey array of the type that `fitter(..., resize)` returns; raises as `fitter` does."""
    grey = _of_resize(BLANK, resize)
    return np.full(shape, grey, grey.dtype)


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Convert an input of either type (float32 in 0..1 or uint8) to uint8, for display."""
    return image if image.dtype == np.uint8 else np.rint(255 * image).astype(np.uint8)


def _of_resize(table, resize):
    if resize not in table:
        raise ValueError(f'data.resize must be "opencv" or "darknet", got {resize!r}.')
    return table[resize]


def boxes_to_input(boxes: np.ndarray, affine: Affine, picture: Size, size: Size) -> np.ndarray:
    """Map boxes [n, 4] in 0..1 of `picture` to float32 [n, 4] in 0..1 of the input, not clipped."""
    pixels = np.asarray(boxes, np.float64) * _whwh(picture)
    moved = _unmirrored(pixels * _scales(affine) + _offsets(affine), affine)
    return (moved / _whwh(size)).astype(np.float32)


def boxes_to_original(boxes, affine, size: Size, picture) -> np.ndarray:
    """Map boxes in 0..1 of the input to pixels of the original picture, clipped to it.

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
    moved = _unmirrored((pixels - _offsets(affine)) / _scales(affine), affine)
    return np.clip(moved, 0, _whwh(np.asarray(picture)[..., None, :])).astype(np.float32)


def _unmirrored(boxes, affine):
    """Swap left and right edges again if `affine` mirrors.

    A box whose right is left of its left stays so, as in Darknet: it has no area.
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


def augment(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    generator: np.random.Generator,
    *,
    size: Size,
    geometry: str = "letterbox",
    jitter: float = 0.3,
    flip: float = 0.5,
    hue: float = 0.1,
    saturation: float = 1.5,
    exposure: float = 1.5,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw one random training view of a picture.

    Args:
        image: uint8 RGB [h, w, 3].
        boxes: float [n, 4] xyxy in 0..1 of the picture.
        labels: int [n].
        generator: the source of all random numbers.
        size: (height, width) of the network's input.
        geometry: "letterbox", "crop" or "none" (a centred letterbox); see `config.AugmentConfig`
            for this and the other arguments.

    Returns:
        (uint8 [*size, 3], float32 boxes [m, 4] in 0..1 of the input, int32 labels [m]) with m <= n,
        the visible boxes in random order.

    Raises:
        ValueError: an argument is out of its range.
    """
    picture = image.shape[:2]
    placement = random_placement(generator, picture, size, geometry, jitter)
    placement = placement._replace(flip=bool(generator.random() < flip))
    recolour = partial(
        distort,
        hue=generator.uniform(-hue, hue),
        saturation=random_factor(generator, saturation, "saturation"),
        exposure=random_factor(generator, exposure, "exposure"),
    )
    image = render(image, placement, size, recolour)
    boxes = boxes_to_input(boxes, affine_of(placement, size[1]), picture, size)
    boxes, visible = clip_boxes(boxes, MIN_SIDE[geometry])
    order = generator.permutation(np.flatnonzero(visible))
    return image, boxes[order], np.asarray(labels, np.int32)[order]


def random_placement(
    generator: np.random.Generator, picture: Size, size: Size, geometry: str, jitter: float
) -> Placement:
    """Place a picture of (height, width) `picture` randomly in the input.

    Raises:
        ValueError: `geometry` is unknown, or `jitter` is out of its range.
    """
    if geometry not in MIN_SIDE:
        raise ValueError(
            f"augment.geometry must be one of {', '.join(MIN_SIDE)}, got {geometry!r}."
        )
    limit = 0.5 if geometry == "crop" else 1.0
    if not 0 <= jitter < limit:
        raise ValueError(
            f"augment.jitter must be at least 0 and below {limit} with geometry {geometry!r}, "
            f"got {jitter}; Darknet's configurations have 0.2 or 0.3."
        )
    if geometry == "none":
        return place_letterbox(picture, size)
    draw = _jitter_crop if geometry == "crop" else _jitter_letterbox
    return draw(generator, picture, size, jitter)


def _jitter_letterbox(generator, picture, size, jitter):
    """Change the aspect, scale to fit, move anywhere: load_data_detection, data.c since 2017."""
    (h, w), (height, width) = picture, size
    aspect = (w + generator.uniform(-jitter, jitter) * w) / (
        h + generator.uniform(-jitter, jitter) * h
    )
    if aspect < 1:
        new_w, new_h = max(1, int(height * aspect)), height
    else:
        new_w, new_h = width, max(1, int(width / aspect))
    # If the input is not square, the picture may exceed it and is then cut off.
    left = int(generator.uniform(*sorted((0, width - new_w))))
    top = int(generator.uniform(*sorted((0, height - new_h))))
    return Placement((0, 0, w, h), (left, top, new_w, new_h))


def _jitter_crop(generator, picture, size, jitter):
    """Move each edge, then squash: load_data_region, data.c; YOLOv1, and YOLOv2 in 2016."""
    (h, w), (height, width) = picture, size
    left, right = (int(generator.uniform(-1, 1) * int(jitter * w)) for _ in range(2))
    top, bottom = (int(generator.uniform(-1, 1) * int(jitter * h)) for _ in range(2))
    return Placement((left, top, w - left - right, h - top - bottom), (0, 0, width, height))


def random_factor(generator: np.random.Generator, limit: float, name: str = "limit") -> float:
    """Draw a factor between 1 and `limit`, or its inverse, equally often: rand_scale, utils.c.

    Raises:
        ValueError: `limit` is not positive.
    """
    if limit <= 0:
        raise ValueError(f"augment.{name} must be above 0, got {limit}; 1 changes nothing.")
    factor = generator.uniform(*sorted((1.0, limit)))
    return factor if generator.random() < 0.5 else 1 / factor


def distort(image: np.ndarray, hue: float, saturation: float, exposure: float) -> np.ndarray:
    """Change the HSV values of uint8 RGB [h, w, 3]: distort_image, image.c.

    `hue` is added, as a fraction of the circle. Saturation and value are multiplied and may exceed
    1; only the RGB result is clipped.
    """
    if (hue, saturation, exposure) == (0, 1, 1):
        return image
    turn = 360 * (hue % 1)  # cv2 wraps a hue above 360 degrees, but not one below 0
    change = np.array([[1, 0, 0, turn], [0, saturation, 0, 0], [0, 0, 1, 0]])
    result = np.empty_like(image)
    buffers = np.empty((2, STRIP, *image.shape[1:]), np.float32)
    for top in range(0, len(image), STRIP):
        rows = result[top : top + STRIP]
        one, two = buffers[:, : len(rows)]
        one[...] = image[top : top + STRIP]  # 0..255: hue and saturation do not depend on scale
        cv2.cvtColor(one, cv2.COLOR_RGB2HSV, dst=two)
        cv2.transform(two, change, dst=one)
        cv2.cvtColor(one, cv2.COLOR_HSV2RGB, dst=two)
        if saturation > 1:  # otherwise nothing is negative
            np.maximum(two, 0, out=two)  # convertScaleAbs takes absolute values
        cv2.convertScaleAbs(two, dst=rows, alpha=exposure)  # rounds and saturates
    return result


def clip_boxes(boxes: np.ndarray, min_side: float) -> tuple[np.ndarray, np.ndarray]:
    """Clip boxes [n, 4] to 0..1 -> (boxes, bool [n]: both sides are at least `min_side`)."""
    boxes = np.clip(boxes, 0, 1)
    sides = boxes[:, 2:] - boxes[:, :2]
    return boxes, (sides >= min_side).all(axis=1)


def pad_boxes(
    boxes: np.ndarray, labels: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut or pad n boxes to `count` -> boxes float32 [count, 4], labels int32, mask bool [count].

    Padding is zeros, with False in the mask.
    """
    n = min(len(boxes), count)
    padded = np.zeros((count, 4), np.float32), np.zeros(count, np.int32), np.arange(count) < n
    padded[0][:n], padded[1][:n] = boxes[:n], labels[:n]
    return padded
