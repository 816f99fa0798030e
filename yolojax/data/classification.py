"""From pictures with one class each to a classifier's batches, augmented as in Darknet's data.c.

Row i of a training is a pure function of (seed, i), as in `pipeline`.
"""

import math
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from yolojax.config import ClassifierAugmentConfig
from yolojax.darknet import image as darknet_image
from yolojax.data.loader import Batch, Handler, batches, check, handler
from yolojax.data.pipeline import draw
from yolojax.data.records import BadRecord, Source, load_image
from yolojax.data.transforms import Placement, Size, distort, fitter, random_factor, render
from yolojax.suggestions import choose


def train_sample(
    source: Source,
    position: int,
    *,
    seed: int,
    size: Size,
    augment: ClassifierAugmentConfig,
    on_bad: Handler,
) -> Batch:
    """Make row `position` of a classifier's training, counted in images from its start.

    Returns:
        {"image": uint8 [H, W, 3], "label": int32, "image_id": int32}.

    Raises:
        BadRecord: the picture cannot be read and `on_bad` raises, or none of all can.
    """
    index, record, image, generator = draw(source, position, seed, on_bad)
    image = random_view(image, generator, size=size, **vars(augment))
    return {"image": image, "label": np.int32(record.label), "image_id": np.int32(index)}


def random_view(
    image: np.ndarray,
    generator: np.random.Generator,
    *,
    size: Size,
    scales: tuple[float, float] = (0.5, 1.75),
    angle: float = 7.0,
    aspect: float = 0.75,
    flip: float = 0.5,
    hue: float = 0.1,
    saturation: float = 0.75,
    exposure: float = 0.75,
) -> np.ndarray:
    """Scale, rotate, move, mirror and recolour uint8 RGB [h, w, 3] at random -> uint8 [*size, 3].

    random_augment_args and rotate_crop_image (image.c). Outside the picture the view is black.

    Raises:
        ValueError: `scales` are not positive and ordered, or a factor is not positive.
    """
    if not 0 < scales[0] <= scales[1]:
        raise ValueError(f"classifier.scales must be 0 < low <= high, got {scales}.")
    (h, w), (height, width) = image.shape[:2], size
    ratio = random_factor(generator, aspect, "aspect")
    scale = generator.uniform(*scales) * min(size) / min(h, w * ratio)
    radians = math.radians(generator.uniform(-angle, angle))
    # At most half of the difference between the scaled picture and the input.
    move_x = (w * scale / ratio - width) / 2 * generator.uniform(-1, 1)
    move_y = (h * scale - height) / 2 * generator.uniform(-1, 1)
    view = rotate_crop(image, radians, scale, size, (move_x, move_y), ratio)
    if generator.random() < flip:
        view = cv2.flip(view, 1)
    return distort(
        view,
        generator.uniform(-hue, hue),
        random_factor(generator, saturation, "saturation"),
        random_factor(generator, exposure, "exposure"),
    )


def rotate_crop(
    image: np.ndarray,
    radians: float,
    scale: float,
    size: Size,
    move: tuple[float, float],
    aspect: float,
) -> np.ndarray:
    """Cut out a rotated view, bilinear, as rotate_crop_image (image.c) -> uint8 [*size, 3].

    The middle of the image is at the middle of the view, moved by `move` (x, y) pixels of the view.
    """
    (h, w), (height, width) = image.shape[:2], size
    cos, sin = math.cos(radians), math.sin(radians)
    to_image = np.array([[cos * aspect, -sin], [sin * aspect, cos]]) / scale
    corner = np.array([move[0] - width / 2, move[1] - height / 2])
    offset = to_image @ corner + np.array([w / 2, h / 2])
    matrix = np.column_stack([to_image, offset])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, (width, height), flags=flags)


def eval_loader(
    source: Source,
    *,
    image_size: Size,
    resize: str,
    view: str = "centre_crop",
    batch_size: int,
    host: int = 0,
    hosts: int = 1,
    threads: int = 2,
    on_bad_record: str = "error",
) -> Iterator[Batch]:
    """Yield a view of every picture of `source` once, in order.

    `view` is one of VIEWS. The other arguments are those of `pipeline.eval_loader`, and so are the
    errors.

    Returns:
        Iterator of {"image": [b, H, W, 3], "label": int32 [b], "image_id": int32 [b], "readable":
        bool [b]}. Rows that pad the last batch have `image_id` -1; with "skip", those of unreadable
        pictures are not `readable`, and have `label` -1 if their annotation is bad too.
    """
    check(source, batch_size, host, hosts, threads, on_bad_record)
    check_labelled(source)
    on_bad, fit = handler(source, on_bad_record), viewer(view, resize)
    blank = fit(np.zeros((*image_size, 3), np.uint8), image_size)

    def row(position):
        image, label, readable = blank, -1, False
        index = position if position < len(source) else -1
        if index >= 0:
            try:
                record = source[position]
                label = record.label
                image, readable = fit(load_image(record), image_size), True
            except BadRecord as error:
                on_bad(error)
        return {
            "image": image,
            "label": np.int32(label),
            "image_id": np.int32(index),
            "readable": np.bool_(readable),
        }

    return batches(row, 0, -(-len(source) // batch_size), batch_size, host, hosts, threads)


def centre_crop(image: np.ndarray, size: Size) -> np.ndarray:
    """Scale uint8 [h, w, 3] until it covers `size`, then crop its middle -> uint8 [*size, 3].

    resize_min and crop_image, as in validate_classifier_single (classifier.c).
    """
    (h, w), (height, width) = image.shape[:2], size
    scale = max(height / h, width / w)
    new_w, new_h = max(width, int(w * scale)), max(height, int(h * scale))
    corner = (-((new_w - width) // 2), -((new_h - height) // 2))
    return render(image, Placement((0, 0, w, h), (*corner, new_w, new_h)), size)


VIEWS = ("letterbox", "centre_crop")
CROPS = {"opencv": centre_crop, "darknet": darknet_image.centre_crop}


def viewer(view: str, resize: str) -> Callable[[np.ndarray, Size], np.ndarray]:
    """Choose the function (image, size) -> input of a classifier.

    Args:
        view: "centre_crop", as `darknet classifier valid`; "letterbox", as its `predict`.
        resize: as in `transforms.fitter`.

    Raises:
        ValueError: `view` is not in VIEWS, or `resize` not a key of CROPS.
    """
    if choose("data.classifier_view", view, VIEWS) == "letterbox":
        fit = fitter(True, resize)
        return lambda image, size: fit(image, size)[0]
    if resize not in CROPS:
        raise ValueError(f"data.resize must be one of {', '.join(CROPS)}, got {resize!r}.")
    return CROPS[resize]


def check_labelled(source: Source) -> None:
    """Raise ValueError if the pictures of `source` have boxes instead of a label."""
    if source[0].label < 0:
        raise ValueError(
            f"{source.name}: its pictures have boxes, not one class each; train a classifier on "
            "folder:ROOT, or on a tfds set with a label."
        )
