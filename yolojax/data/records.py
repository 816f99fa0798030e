"""What every source yields, and how an image gets from a file into an array."""

from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np


class Record(NamedTuple):
    """One picture and what is in it."""

    image_id: str  # unique within its source: the file's stem, the COCO id, ...
    image: Path | bytes | np.ndarray  # file, encoded bytes, or uint8 RGB [h, w, 3]
    boxes: np.ndarray  # float32 [n, 4], xyxy in 0..1 of the image
    labels: np.ndarray  # int32 [n], index into the source's classes
    difficult: np.ndarray  # bool [n], VOC: not trained on, neither hit nor miss when evaluated
    crowd: np.ndarray  # bool [n], COCO iscrowd: the same, matched by intersection over detection
    area: np.ndarray  # float32 [n], pixels**2 of the original (COCO: of the mask)
    label: int = -1  # of the picture as a whole, for classification; -1: it has none


class Source(Protocol):
    """A list of records with named classes; reading one never changes another."""

    name: str  # the SOURCE string it was made from
    classes: tuple[str, ...]
    skipped: list[str]  # one message for each record left out by on_bad_record="skip"

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record: ...


class BadRecord(ValueError):
    """A record that cannot be used; the message names the file, the place and the rule."""


def load_image(record: Record) -> np.ndarray:
    """The picture of `record` as uint8 RGB [h, w, 3], turned upright by its EXIF tag.

    Raises:
        BadRecord: the file is missing, or is not a picture that OpenCV reads.
    """
    if isinstance(record.image, np.ndarray):
        return record.image
    if isinstance(record.image, Path):
        return decode_image(read_bytes(record.image), record.image)
    return decode_image(record.image, record.image_id)


def decode_image(data: bytes, name: Path | str) -> np.ndarray:
    """Encoded bytes -> uint8 RGB [h, w, 3], upright; `name` is for the message.

    Raises:
        BadRecord: not a picture that OpenCV reads.
    """
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if bgr is None:
        raise BadRecord(f"{name}: not a picture that can be decoded ({len(data)} bytes).")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def read_bytes(path: Path, limit: int = -1) -> bytes:
    """The first `limit` bytes of a file, or all of it.

    Raises:
        BadRecord: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as error:
        raise BadRecord(f"{path}: cannot be read ({error.strerror}).") from error
