"""The record that all sources yield, and how its picture is decoded."""

from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np


class Record(NamedTuple):
    """One picture and its annotations."""

    image_id: str  # unique within its source: the file's stem, the COCO id, ...
    image: Path | bytes | np.ndarray  # file, encoded bytes, or uint8 RGB [h, w, 3]
    boxes: np.ndarray  # float32 [n, 4], xyxy in 0..1 of the image
    labels: np.ndarray  # int32 [n], index into the source's classes
    difficult: np.ndarray  # bool [n], VOC: not trained on, ignored in evaluation
    crowd: np.ndarray  # bool [n], COCO iscrowd: the same, matched by intersection over detection
    area: np.ndarray  # float32 [n], pixels**2 of the original (COCO: of the mask)
    label: int = -1  # class of the whole picture, for classification; -1: none
    size: tuple[int, int] | None = None  # (width, height) the annotation states, if it does


class Source(Protocol):
    """A sequence of records with named classes; reading a record has no side effects."""

    name: str  # the SOURCE string
    classes: tuple[str, ...]
    skipped: list[str]  # one message for each record skipped by on_bad_record="skip"
    notes: list[str]  # what users should know of the data set, one line each

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record: ...


class BadRecord(ValueError):
    """A record that cannot be used; the message names the file, the position and the rule."""


def trained_boxes(record: Record) -> int:
    """Count the boxes of `record` that are trained on: neither difficult nor crowd."""
    return int(np.count_nonzero(~(record.difficult | record.crowd)))


def check_on_bad_record(value: str) -> None:
    """Raise ValueError if `value` is not a policy for bad records."""
    if value not in ("error", "skip"):
        raise ValueError(f'on_bad_record must be "error" or "skip", got {value!r}.')


def load_image(record: Record) -> np.ndarray:
    """Load the picture of `record` as uint8 RGB [h, w, 3], made upright by its EXIF tag.

    Raises:
        BadRecord: the file is missing, or OpenCV cannot decode it.
    """
    if isinstance(record.image, np.ndarray):
        return record.image
    if isinstance(record.image, Path):
        return decode_image(read_bytes(record.image), record.image)
    return decode_image(record.image, record.image_id)


def decode_image(data: bytes, name: Path | str) -> np.ndarray:
    """Decode a picture to uint8 RGB [h, w, 3], upright; `name` is for the message.

    Raises:
        BadRecord: OpenCV cannot decode it.
    """
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if bgr is None:
        raise BadRecord(f"{name}: not a picture that can be decoded ({len(data)} bytes).")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def read_bytes(path: Path, limit: int = -1) -> bytes:
    """Read the first `limit` bytes of a file, or all of it.

    Raises:
        BadRecord: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except (OSError, ValueError) as error:  # ValueError: a name with NUL
        why = getattr(error, "strerror", None) or error
        raise BadRecord(f"{path}: cannot be read ({why}).") from error
