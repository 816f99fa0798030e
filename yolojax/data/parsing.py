"""From annotations to records: shared by the readers of all data sets."""

import math
import re
import reprlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from yolojax.darknet import data_files
from yolojax.data.records import (
    BadRecord,
    Record,
    UnreadablePicture,
    check_on_bad_record,
    picture_header,
)
from yolojax.files import shorten
from yolojax.suggestions import did_you_mean

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
NOT_ONE_LINE = re.compile("[\0-\x1f\x7f\u2028\u2029\ud800-\udfff]")
MAX_SIDE = 1_000_000  # pixels
EDGE_PIXELS = 1.0  # a box may exceed the picture so far, as tools count from 0 or from 1
MAX_INT = 10**18  # larger ones are cut in messages
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80  # characters


@dataclass(frozen=True)
class RecordList:
    """A Source with its records in memory; their pictures may be in files."""

    name: str
    classes: tuple[str, ...]
    records: Sequence[Record]
    skipped: list[str] = field(default_factory=list)
    category_ids: tuple[Any, ...] = ()  # COCO: the id of each class as in the file, or -1
    notes: list[str] = field(default_factory=list)  # what users should know, one line each
    original_ids: Mapping[str, Any] = field(default_factory=dict)  # COCO: image_id -> the file's
    annotated: bool = True  # False: pictures without ground truth, such as COCO's test-dev
    warnings: list[tuple[str, str]] = field(default_factory=list)  # (kind, message) for check-data
    # Of `skipped` records those whose pictures cannot be read, but their annotations, and messages.
    unreadable: list[tuple[Record, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Record:
        return self.records[index]


def image_size(image: Path | bytes, name: Path | str) -> tuple[int, int]:
    """Read (width, height) of the upright picture from its header; `name` is for the message.

    Boxes in 0..1, and boxes in pixels without a stated size, are of the upright picture.

    Raises:
        BadRecord: as `records.picture_header`.
    """
    return picture_header(image, name).size


def refuse_fractions(edges: Sequence[float], place: str) -> None:
    """Raise BadRecord if `edges`, which must be in pixels, look like fractions of the picture.

    So do numbers that are all in 0..1 and not all whole.
    """
    if all(0 <= edge <= 1 for edge in edges) and any(edge % 1 for edge in edges):
        numbers = ", ".join(f"{edge:g}" for edge in edges)
        raise BadRecord(
            f"{place}: box ({numbers}) looks like fractions of the picture; it must be in pixels."
        )


def clip_box(box: Sequence[float], width: float, height: float, place: str) -> tuple[float, ...]:
    """Clip a box (xyxy, pixels) that exceeds the picture by up to a pixel.

    Raises:
        BadRecord: it exceeds the picture further, has no area, or is not finite; `place` names it.
    """
    x1, y1, x2, y2 = box
    low, right, bottom = -EDGE_PIXELS, width + EDGE_PIXELS, height + EDGE_PIXELS
    # NaN fails all of these comparisons.
    inside = min(x1, x2) >= low and min(y1, y2) >= low
    inside = inside and max(x1, x2) <= right and max(y1, y2) <= bottom
    clipped = max(x1, 0.0), max(y1, 0.0), min(x2, width), min(y2, height)
    if inside and clipped[0] < clipped[2] and clipped[1] < clipped[3]:
        return clipped
    text = f"{place}: box ({x1:g}, {y1:g}, {x2:g}, {y2:g}), its edges in pixels from 0,"
    if not inside:
        raise BadRecord(f"{text} is outside the image of {width:g}x{height:g} pixels.")
    raise BadRecord(f"{text} has no area: right and bottom must exceed left and top.")


def make_record(
    image_id, image, size, boxes_pixels, labels, *, difficult=(), crowd=(), area=(), stated=None
):
    """Make a Record from lists; `boxes_pixels` are checked already, `size` is (width, height).

    `difficult` and `crowd` default to False, `area` to that of the boxes. `stated` is the size that
    the annotation states, if it does.

    Raises:
        BadRecord: `image_id`, which is the name of a file for most sources, is not valid UTF-8.
    """
    try:
        image_id.encode()
    except UnicodeEncodeError as error:
        shown = image if isinstance(image, Path) else image_id
        raise BadRecord(f"{str(shown)!r}: the name is not valid UTF-8; rename it.") from error
    n = len(labels)
    pixels = np.asarray(boxes_pixels, np.float64).reshape(n, 4)
    sides = pixels[:, 2:] - pixels[:, :2]
    return Record(
        image_id=image_id,
        image=image,
        boxes=(pixels / np.tile(size, 2)).astype(np.float32),
        labels=np.asarray(labels, np.int32).reshape(n),
        difficult=np.asarray(difficult or [False] * n, bool),
        crowd=np.asarray(crowd or [False] * n, bool),
        area=np.asarray(area or sides.prod(axis=1), np.float32),
        size=stated,
    )


def to_number(value: Any) -> float | None:
    """Read an int, a float, or a decimal number in text; None if it is none or not finite."""
    kind = type(value)  # not isinstance: true and false are no numbers
    if kind is float:
        return value if math.isfinite(value) else None
    if kind is str:
        value = value.strip()
        if not NUMBER.fullmatch(value):
            return None
    elif kind is not int:
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def stated_size(width: Any, height: Any, place: str) -> tuple[int, int] | None:
    """Return the (width, height) that an annotation states; None if one is missing, empty or 0.

    Raises:
        BadRecord: one is neither that nor a whole number from 1 to MAX_SIDE.
    """
    sides = []
    for key, value in (("width", width), ("height", height)):
        number = to_number(value)
        if value is None or value == "" or number == 0:
            return None
        if number is None or not (number.is_integer() and 1 <= number <= MAX_SIDE):
            raise BadRecord(f"{place}: {key} must be a number of pixels, got {short_repr(value)}.")
        sides.append(int(number))
    return sides[0], sides[1]


def short_repr(value: Any) -> str:
    """Return the repr of a value of any kind and size, cut to what fits a message."""
    return str(value) if type(value) is int and -MAX_INT < value < MAX_INT else _SHORT.repr(value)


def class_index(name: str, index: dict[str, int], place: str) -> int:
    """Look up the label of class `name`.

    Raises:
        BadRecord: it is not one of the classes; the nearest name is suggested.
    """
    if name in index:
        return index[name]
    some = ", ".join([*index][:5]) + (", ..." if len(index) > 5 else "")
    hint = did_you_mean(name, index)
    way_out = "data.rename gives it another name, data.keep_classes leaves out boxes of others."
    what = f"class {short_repr(name)} is not one of the classes ({some})."
    raise BadRecord(f"{place}: {what}{hint} {way_out}")


def collect(
    read: Callable[[Any], Record],
    items: Iterable,
    on_bad_record: str,
    unreadable: list[tuple[Record, str]] | None = None,
) -> tuple[list[Record], list[str]]:
    """Read every item -> (records, one message for each skipped bad one).

    `unreadable` gets the records of UnreadablePicture, with their messages.

    Raises:
        BadRecord: one is bad and `on_bad_record` is "error".
    """
    check_on_bad_record(on_bad_record)
    records, skipped = [], []
    for item in items:
        try:
            records.append(read(item))
        except BadRecord as bad:
            if on_bad_record == "error":
                way_out = "Fix it, or skip such records with on_bad_record='skip'."
                raise BadRecord(f"{bad} {way_out}") from bad
            skipped.append(printable(str(bad)))
            if unreadable is not None and isinstance(bad, UnreadablePicture):
                unreadable.append((bad.record, skipped[-1]))
    return records, skipped


def unique_ids(stems: Iterable[str]) -> list[str]:
    """Append #2, #3, ... to repeated stems, as a list may repeat pictures on purpose."""
    seen: dict[str, int] = {}
    taken, ids = set(), []
    for stem in stems:
        image_id = stem
        while image_id in taken:
            seen[stem] = seen.get(stem, 1) + 1
            image_id = f"{stem}#{seen[stem]}"
        taken.add(image_id)
        ids.append(image_id)
    return ids


def printable(text: str) -> str:
    """Write lone surrogates, which UTF-8 cannot hold, as \\udc80: bytes of other encodings."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def read_names(path: Path) -> tuple[str, ...]:
    """Read unique class names, one per line.

    Raises:
        FileNotFoundError, ValueError: as `data_files.read_names`; or a name is repeated.
    """
    return check_names(data_files.read_names(path), path)


def is_one_line(name: Any) -> bool:
    """Check that `name` is text that can be a class name."""
    return isinstance(name, str) and bool(name.strip()) and not NOT_ONE_LINE.search(name)


def check_names(names: Sequence[str], where: Path | str) -> tuple[str, ...]:
    """Return `names` as a tuple.

    Raises:
        ValueError: there are none, or one is repeated, or is not one line of text.
    """
    for name in names:
        if not is_one_line(name):
            raise ValueError(
                f"{where}: a class name must be a line of text, got {short_repr(name)}."
            )
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if not names or repeated:
        some = (
            f"{[shorten(name) for name in repeated[:5]]}{' and more' if len(repeated) > 5 else ''}"
        )
        what = f"class names must be unique, repeated: {some}" if repeated else "no class names"
        raise ValueError(f"{where}: {what}.")
    return tuple(names)
