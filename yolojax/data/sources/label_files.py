"""Label files of YOLO: where the one of a picture is, and what its lines say.

A label file has a line for each object, of numbers with blanks or tabs between them:

    class cx cy w h                     the box: centre and sides
    class cx cy w h score               the same as `yolojax predict --txt` writes it
    class x1 y1 x2 y2 x3 y3 ...         a polygon of three or more points
    class cx cy w h KEYPOINTS           only where the data.yaml has a kpt_shape

The class counts from 0. Coordinates are in 0..1 of the picture, and so is the score, which is not
used. A polygon is read as the box around it. Numbers are decimal (5, -.5, 5e-1). Blank lines are
skipped; an empty file says that the picture has no objects. The file is text in UTF-8, or in UTF-16
with its mark.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from yolojax.data.records import BadRecord
from yolojax.files import shorten

IMAGES = ("images", "jpegimages")  # folders, in any letter case, with a labels folder next to them
LABELS = ("labels", "Labels", "LABELS")
DECIMAL = re.compile(r"[0-9eE+\-. \t]*")  # float() also reads nan, inf, 1_000 and digits of others
Box = tuple[float, float, float, float]


def find_label_file(picture: Path) -> Path | None:
    """Find the label file of a picture; a broken link is found as well.

    It is in labels/ instead of images/ or JPEGImages/ (as in data.c), or next to the picture. Where
    the picture is in a linked folder, the folder that the link leads to is tried last.
    """
    return _first(picture) or _first(Path(os.path.realpath(picture)))


def _first(picture: Path) -> Path | None:
    return next((path for path in _candidates(picture) if os.path.lexists(path)), None)


def label_file(picture: Path) -> Path:
    """Return where the label file of a picture should be."""
    return next(_candidates(picture))


def _candidates(picture: Path) -> Iterator[Path]:
    """Yield the paths that the label file of a picture may have.

    Darknet replaces images anywhere in the path. Here one folder is, the last of that name first,
    so that a parent folder may have this name too.
    """
    parts = picture.with_suffix(".txt").parts
    for i in range(len(parts) - 2, -1, -1):
        if parts[i].lower() in IMAGES:
            for labels in LABELS:
                yield Path(*parts[:i], labels, *parts[i + 1 :])
    yield Path(*parts)


def read_label_line(
    line: str, size: tuple[int, int], classes: int, keypoint_numbers: int, place: str
) -> tuple[int, Box, str]:
    """Parse a line -> label, xyxy in pixels, "box", "score", "polygon" or "keypoints".

    Raises:
        BadRecord: it breaks the grammar in the docstring of this file; `place` is FILE:LINE.
    """
    label, *numbers = _numbers(line, place)
    if not (label.is_integer() and 0 <= label < classes):
        raise BadRecord(f"{place}: class must be one of 0..{classes - 1}, got {label:g}.")
    kind = _kind(numbers, keypoint_numbers)
    if not kind:
        expected = f", or with {keypoint_numbers} numbers more" if keypoint_numbers else ""
        raise BadRecord(
            f"{place}: must be `class cx cy w h`{expected or OTHER_FORMS}, got "
            f"{len(numbers) + 1} numbers: {shorten(line)!r}."
        )
    corners = _around(numbers) if kind == "polygon" else _corners(*numbers[:4])
    width, height = size
    x1, y1, x2, y2 = corners
    return int(label), (x1 * width, y1 * height, x2 * width, y2 * height), kind


OTHER_FORMS = ", or a polygon `class x1 y1 x2 y2 x3 y3 ...`"


def _numbers(line: str, place: str) -> list[float]:
    try:
        if DECIMAL.fullmatch(line):
            return [float(word) for word in line.split()]
    except ValueError:  # such as 1e or 1.2.3
        pass
    raise BadRecord(
        f"{place}: must be `class cx cy w h`, numbers with blanks between, got {shorten(line)!r}."
    )


def _kind(numbers: list[float], keypoint_numbers: int) -> str:
    """Tell what follows the class; "" for none of the forms."""
    count = len(numbers)
    if count == 4:
        return "box"
    if keypoint_numbers:
        return "keypoints" if count == 4 + keypoint_numbers else ""
    if count == 5:
        return "score" if 0 <= numbers[4] <= 1 else ""
    return "polygon" if count >= 6 and count % 2 == 0 else ""


def _corners(cx: float, cy: float, w: float, h: float) -> Box:
    return cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2


def _around(points: list[float]) -> Box:
    """Return the box around a polygon x1 y1 x2 y2 ..."""
    xs, ys = points[::2], points[1::2]
    return min(xs), min(ys), max(xs), max(ys)
