"""Read images and run them through a network in batches, for detectors and classifiers."""

import itertools
import operator
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from yolojax.data.records import BadRecord, decode_image, read_bytes
from yolojax.files import PICTURE_SUFFIXES, shorten

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".wmv", ".flv", ".mpg", ".mpeg")
Picture = str | Path | np.ndarray  # a file, or uint8 RGB [h, w, 3]
Read = tuple[str, np.ndarray]  # the file as given ("" for an array), uint8 RGB [h, w, 3]
OnBad = Callable[[BadRecord], None] | None


def height_and_width(image_size: int | Iterable[int]) -> tuple[int, int]:
    """Return `image_size` as (height, width); a single number is both.

    Raises:
        ValueError: it is neither one integer nor two.
    """
    try:
        pair = image_size if isinstance(image_size, Iterable) else (image_size, image_size)
        height, width = map(operator.index, pair)
    except (TypeError, ValueError):
        raise ValueError(
            f"image_size must be (height, width), or one number for both; got {image_size!r}."
        ) from None
    return height, width


def one_or_many(stream: Callable, pictures: Picture | Iterable[Picture], options: dict):
    """Run `stream` on one image -> its result, or on several -> a list of results."""
    single = isinstance(pictures, Picture | bytes) or not isinstance(pictures, Iterable)
    results = list(stream([pictures] if single else pictures, **options))
    return results[0] if single else results


def in_batches(
    pictures: Iterable[Picture],
    batch_size: int,
    on_bad: OnBad,
    start: Callable[[list[Read]], tuple],
    finish: Callable[..., Iterator],
) -> Iterator:
    """Yield the results of `finish(*start(batch))` for each batch of `pictures`, in order.

    The next batch is read while the device computes this one.

    Raises: as in `read_pictures`.
    """
    read = read_pictures(pictures, on_bad)
    running = None
    while batch := list(itertools.islice(read, batch_size)):
        started = start(batch)
        if running:
            yield from finish(*running)
        running = started
    if running:
        yield from finish(*running)


def read_pictures(pictures: Iterable[Picture], on_bad: OnBad) -> Iterator[Read]:
    """Yield each of `pictures` that can be read, rotated by its EXIF tag.

    Raises:
        BadRecord: an image cannot be read and `on_bad` is None; otherwise `on_bad` gets the error.
        ValueError: an array is not an image.
    """
    for number, picture in enumerate(pictures):
        try:
            if isinstance(picture, str | Path):
                yield str(picture), _read_file(str(picture))
            else:
                yield "", _checked(picture, number)
        except BadRecord as error:
            if on_bad is None:
                raise
            on_bad(error)


def _read_file(name: str) -> np.ndarray:
    try:
        return decode_image(read_bytes(Path(name)), name)
    except BadRecord as error:
        raise BadRecord(f"{error}{_way_out(name)}") from error


def _way_out(name: str) -> str:
    """Return what to do about a file that cannot be read as a picture, or ""."""
    suffix = Path(name).suffix.lower()
    if "://" in name:
        return " URLs are not read: download it and give the file."
    if name.isdecimal() and not os.path.exists(name):
        return " Cameras are not read: give the files of pictures."
    if suffix in VIDEO_SUFFIXES:
        return " Videos are not read: write their frames as pictures, e.g. with ffmpeg."
    if os.path.isfile(name) and suffix not in PICTURE_SUFFIXES:
        return f" Files of these formats are read: {', '.join(PICTURE_SUFFIXES)}."
    return ""


def _checked(image, number: int) -> np.ndarray:
    if not isinstance(image, np.ndarray):
        raise ValueError(
            f"picture {number}: must be the name of a file or a numpy array, "
            f"got {type(image).__name__} {shorten(repr(image))}."
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(
            f"picture {number}: must be uint8 RGB [h, w, 3], got {image.dtype} "
            f"{list(image.shape)}; convert BGR with image[..., ::-1] and 0..1 with "
            "(255 * image).astype('uint8')."
        )
    return image
