"""The record that all sources yield, and how its picture is decoded."""

from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from yolojax.data.picture_header import Header, other_format, read_header
from yolojax.files import one_line, open_regular, warn_once

MAX_PIXELS = 2**27  # of a picture (134 million): 400 MB as RGB
# A larger picture than SPARSE_PIXELS must have a byte for every PIXELS_PER_BYTE, as all photos do:
# a blank one of few bytes could fill the memory. A page of A4 at 600 dpi has 35 million pixels.
SPARSE_PIXELS, PIXELS_PER_BYTE = 40_000_000, 100
MAX_SCANS = 50  # of a progressive JPEG, each of the whole picture; encoders write about 10
OR_ELSE = {  # kinds that OpenCV 4.10 does not read
    "WebP": "damaged or animated",
    "TIFF": "damaged or 32-bit",
}


class Record(NamedTuple):
    """One picture and its annotations."""

    image_id: str  # unique within its source: the file's stem, the COCO id, ...
    image: Path | bytes | np.ndarray  # file, encoded bytes, or uint8 RGB [h, w, 3]
    boxes: np.ndarray  # float32 [n, 4], xyxy in 0..1 of the image, see `upright_record`
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

    def __init__(self, message: str):
        super().__init__(one_line(message))  # names of files may have line breaks


class WrongSize(BadRecord):
    """The size that an annotation states is not that of its picture."""


def trained_boxes(record: Record) -> int:
    """Count the boxes of `record` that are trained on: neither difficult nor crowd."""
    return int(np.count_nonzero(~(record.difficult | record.crowd)))


class UnreadablePicture(BadRecord):
    """The picture of `record` cannot be read, but its annotation can; it counts as missed."""

    def __init__(self, message: str, record: Record):
        super().__init__(message)
        self.record = record


def check_on_bad_record(value: str) -> None:
    """Raise ValueError if `value` is not a policy for bad records."""
    if value not in ("error", "skip"):
        raise ValueError(f'on_bad_record must be "error" or "skip", got {value!r}.')


def load_record(record: Record) -> tuple[Record, np.ndarray]:
    """Load the picture of `record` -> (`upright_record`, uint8 RGB [h, w, 3], upright).

    Raises:
        BadRecord: as `decode_image`, or the file is missing.
        WrongSize: as `upright_record`.
    """
    if isinstance(record.image, np.ndarray):
        image, header = record.image, header_of(record)
    else:
        name = name_of(record)
        data = record.image if isinstance(record.image, bytes) else read_bytes(record.image)
        header = picture_header(data, name)
        image = _decode(data, header, name)
    return upright_record(record, header), image


def load_image(record: Record) -> np.ndarray:
    """Load the picture of `record` alone, where its boxes are not needed; see `load_record`."""
    return load_record(record)[1]


def upright_record(record: Record, header: Header) -> Record:
    """Return `record` with the boxes of its upright picture.

    The size that the annotation states (`record.size`) tells which picture its boxes are of. If
    that is the upright one, they stay as they are. If it is the picture as stored, before EXIF
    turned it by 90 degrees (orientations 5 to 8), they are turned too. Where a size cannot tell
    (none is stated, the sides are equal, or EXIF only mirrors or turns by 180 degrees), boxes are
    those of the upright picture.

    Raises:
        WrongSize: the annotation states another size.
    """
    stored, upright = (header.width, header.height), header.size
    if record.size is None or record.size == upright:
        return record
    if record.size == stored:
        return record._replace(boxes=_turn_boxes(record.boxes, header.orientation), size=upright)
    width, height = record.size
    actual = f"{upright[0]}x{upright[1]}" + (
        f" ({stored[0]}x{stored[1]} before EXIF turns it)" if stored != upright else ""
    )
    why = (
        "it was turned after it was labelled"
        if record.size == upright[::-1]
        else "it was scaled or cropped after it was labelled, or has the name of another"
    )
    raise WrongSize(
        f"{name_of(record)}: the picture has {actual} pixels, but its annotation states "
        f"{width}x{height}: probably {why}. Its boxes may be wrong; correct them and the size."
    )


def header_of(record: Record) -> Header:
    """Read the header of the picture of `record`.

    Raises:
        BadRecord: as `picture_header`.
    """
    if isinstance(record.image, np.ndarray):
        height, width = record.image.shape[:2]
        return Header("array", width, height)
    return picture_header(record.image, name_of(record))


def name_of(record: Record) -> Path | str:
    """Return what messages call the picture of `record`: its file, or else its id."""
    return record.image if isinstance(record.image, Path) else record.image_id


def picture_header(picture: Path | bytes, name: Path | str) -> Header:
    """Read the header of a file or of encoded bytes; `name` is for the message.

    Raises:
        BadRecord: the file cannot be read, is no picture of a format that is read, or states more
            pixels than MAX_PIXELS, or than a file of its length has.
    """
    try:
        header, length = read_header(picture)
    except OSError as error:
        raise BadRecord(f"{name}: cannot be read ({error.strerror}).") from error
    except ValueError as error:  # a NUL in its name
        raise BadRecord(f"{str(name)!r}: cannot be read ({error}).") from error
    if header is None:
        start = picture[:64] if isinstance(picture, bytes) else read_bytes(picture, 64)
        raise BadRecord(f"{name}: not a picture that can be decoded ({_what(start, length)}).")
    stated = f"{name}: its header states {header.width}x{header.height} pixels"
    pixels = header.width * header.height
    if min(header.width, header.height) < 1:
        raise BadRecord(f"{stated}, which is no picture.")
    if pixels > MAX_PIXELS:
        raise BadRecord(
            f"{stated}; at most {MAX_PIXELS:,} are read. Scale it down, or cut it into tiles."
        )
    if pixels > max(SPARSE_PIXELS, length * PIXELS_PER_BYTE):
        raise BadRecord(
            f"{stated}, but the file has only {length:,} bytes: damaged, or blank and too large to "
            "decode."
        )
    return header


def _what(start: bytes, length: int) -> str:
    other = other_format(start)
    return f"{length} bytes" + (f", {other}" if other else "")


def decode_image(data: bytes, name: Path | str) -> np.ndarray:
    """Decode a picture to uint8 RGB [h, w, 3], turned upright by its EXIF tag.

    Gray, palette, CMYK and 16-bit pictures become RGB of 8 bits; transparency is dropped; of
    several pages the first is read. A JPEG that is cut short is decoded as far as it goes, the rest
    is grey, and a message on stderr names it once. `name` is for the messages.

    Raises:
        BadRecord: as `picture_header`, or OpenCV cannot decode it.
    """
    return _decode(data, picture_header(data, name), name)


def _decode(data: bytes, header: Header, name: Path | str) -> np.ndarray:
    # OpenCV obeys the orientation of TIFF always, that of JPEG and PNG by default, and that of WebP
    # in newer versions only.
    by_opencv = header.format == "TIFF"
    if header.progressive and (scans := data.count(b"\xff\xda")) > MAX_SCANS:
        raise BadRecord(f"{name}: a JPEG of {scans} scans; at most {MAX_SCANS} are read.")
    flags = cv2.IMREAD_COLOR | (0 if by_opencv else cv2.IMREAD_IGNORE_ORIENTATION)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        why = f"{header.format}, {len(data)} bytes; OpenCV: {error.err}"
        raise BadRecord(f"{name}: not a picture that can be decoded ({why}).") from error
    if image is None:
        what = f"{len(data)} bytes, a {OR_ELSE.get(header.format, 'damaged')} {header.format}"
        raise BadRecord(f"{name}: not a picture that can be decoded ({what}).")
    image = image if by_opencv else _turn_image(image, header.orientation)
    if image.shape != (*header.size[::-1], 3):
        size, (height, width) = "x".join(map(str, header.size)), image.shape[:2]
        raise BadRecord(f"{name}: its header says {size} pixels, its data {width}x{height}.")
    if is_cut_short(data):
        warn_once(f"{name}: the JPEG has no end; the missing part is grey.")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def is_cut_short(data: bytes) -> bool:
    """Check whether a JPEG file has no end (marker FFD9) after the start of its last scan (FFDA).

    Neither marker occurs within a scan (ITU-T T.81, B.1.1.5), so the file need not be parsed.
    OpenCV decodes such a file without an error and fills the missing part with grey.
    """
    return data[:2] == b"\xff\xd8" and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")


def _turn_image(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turn a stored picture upright (EXIF 2.3, tag 274)."""
    if orientation >= 5:
        image = cv2.transpose(image)
    axis = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)  # of cv2.flip
    return image if axis is None else cv2.flip(image, axis)


def _turn_boxes(boxes: np.ndarray, orientation: int) -> np.ndarray:
    """Turn boxes [n, 4], xyxy in 0..1, as `_turn_image` turns their picture."""
    x1, y1, x2, y2 = boxes.T
    if orientation >= 5:
        x1, y1, x2, y2 = y1, x1, y2, x2
    if orientation in (2, 3, 6, 7):
        x1, x2 = 1 - x2, 1 - x1
    if orientation in (3, 4, 7, 8):
        y1, y2 = 1 - y2, 1 - y1
    return np.stack([x1, y1, x2, y2], axis=1)


def read_bytes(path: Path, limit: int = -1) -> bytes:
    """Read the first `limit` bytes of a file, or all of it.

    Raises:
        BadRecord: the file cannot be read.
    """
    try:
        with open_regular(path) as file:
            return file.read(limit)
    except OSError as error:
        raise BadRecord(f"{path}: cannot be read ({error.strerror}).") from error
    except ValueError as error:  # a NUL in its name
        raise BadRecord(f"{str(path)!r}: cannot be read ({error}).") from error
