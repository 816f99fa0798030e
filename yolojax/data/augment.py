"""Darknet's augmentation of training pictures (data.c, image.c): pure functions of a generator."""

from functools import partial

import cv2
import numpy as np

from yolojax.data.geometry import (
    Placement,
    Size,
    affine_of,
    boxes_to_input,
    place_letterbox,
    render,
)

# Boxes whose visible part is smaller than this fraction of the input, in width or height, are
# dropped: fill_truth_detection of 2017 and later, and the value that data.c had in 2015 and 2016.
SMALLEST = {"letterbox": 0.001, "crop": 0.01, "none": 0.001}
STRIP = 64  # rows distorted at a time: float buffers that stay in cache are five times as fast


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
    """One training view of a picture.

    Args:
        image: uint8 RGB [h, w, 3].
        boxes: float [n, 4] xyxy in 0..1 of the picture.
        labels: int [n].
        generator: every draw comes from here, and only from here.
        size: (height, width) of the network's input.
        geometry: "letterbox", "crop" or "none" (letterboxed in the middle; never mirrored is
            `flip` 0); the other arguments are those of `config.AugmentConfig`.

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
    boxes, visible = clip_boxes(boxes, SMALLEST[geometry])
    order = generator.permutation(np.flatnonzero(visible))
    return image, boxes[order], np.asarray(labels, np.int32)[order]


def random_placement(
    generator: np.random.Generator, picture: Size, size: Size, geometry: str, jitter: float
) -> Placement:
    """Where a picture of (height, width) `picture` goes in the input, by the named loader.

    Raises:
        ValueError: `geometry` is not known, or `jitter` would leave nothing of the picture.
    """
    if geometry not in SMALLEST:
        raise ValueError(
            f"augment.geometry must be one of {', '.join(SMALLEST)}, got {geometry!r}."
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
    """Another aspect, as large as it fits, anywhere: load_data_detection, data.c since 2017."""
    (h, w), (height, width) = picture, size
    aspect = (w + generator.uniform(-jitter, jitter) * w) / (
        h + generator.uniform(-jitter, jitter) * h
    )
    if aspect < 1:
        new_w, new_h = max(1, int(height * aspect)), height
    else:
        new_w, new_h = width, max(1, int(width / aspect))
    # Where the input is not square, the picture may be the larger one: it is then cut off.
    left = int(generator.uniform(*sorted((0, width - new_w))))
    top = int(generator.uniform(*sorted((0, height - new_h))))
    return Placement((0, 0, w, h), (left, top, new_w, new_h))


def _jitter_crop(generator, picture, size, jitter):
    """Each edge moved in or out, then squashed: load_data_region, data.c; v1, and v2 in 2016."""
    (h, w), (height, width) = picture, size
    left, right = (int(generator.uniform(-1, 1) * int(jitter * w)) for _ in range(2))
    top, bottom = (int(generator.uniform(-1, 1) * int(jitter * h)) for _ in range(2))
    return Placement((left, top, w - left - right, h - top - bottom), (0, 0, width, height))


def random_factor(generator: np.random.Generator, limit: float, name: str = "limit") -> float:
    """A factor between 1 and `limit`, or as often its inverse: rand_scale, utils.c.

    Raises:
        ValueError: `limit` is not positive.
    """
    if limit <= 0:
        raise ValueError(f"augment.{name} must be above 0, got {limit}; 1 leaves it alone.")
    factor = generator.uniform(*sorted((1.0, limit)))
    return factor if generator.random() < 0.5 else 1 / factor


def distort(image: np.ndarray, hue: float, saturation: float, exposure: float) -> np.ndarray:
    """uint8 RGB [h, w, 3] with its HSV values changed: distort_image, image.c.

    Saturation and value are multiplied and may pass 1; only the RGB result is clipped.
    `hue` is added, in turns of the circle.
    """
    if (hue, saturation, exposure) == (0, 1, 1):
        return image
    turn = 360 * (hue % 1)  # cv2 brings a hue above 360 degrees back, but not one below 0
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
        if saturation > 1:  # else nothing is negative
            np.maximum(two, 0, out=two)  # convertScaleAbs takes absolute values
        cv2.convertScaleAbs(two, dst=rows, alpha=exposure)  # rounds and saturates
    return result


def clip_boxes(boxes: np.ndarray, smallest: float) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [n, 4] -> (clipped to 0..1, bool [n]: at least `smallest` wide and high after that)."""
    boxes = np.clip(boxes, 0, 1)
    sides = boxes[:, 2:] - boxes[:, :2]
    return boxes, (sides >= smallest).all(axis=1)


def pad_truths(
    boxes: np.ndarray, labels: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first `count` of n truths -> boxes float32 [count, 4], labels int32, mask bool [count].

    Unused places hold zeros and a False in the mask.
    """
    n = min(len(boxes), count)
    padded = np.zeros((count, 4), np.float32), np.zeros(count, np.int32), np.arange(count) < n
    padded[0][:n], padded[1][:n] = boxes[:n], labels[:n]
    return padded
