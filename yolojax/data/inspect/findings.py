"""One record after the other, read as training would: what it holds and what is wrong with it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from yolojax.data.geometry import Size, affine_of, boxes_to_input, place_letterbox, place_squash
from yolojax.data.parsing import EDGE_PIXELS
from yolojax.data.records import BadRecord, Record, Source, decode_image, read_bytes
from yolojax.ops.boxes import pairwise_iou
from yolojax.progress import progress

DUPLICATE_IOU = 0.99  # of two boxes of one class
TINY = 0.01  # of a side of the network's input

Finding = tuple[str, str]  # kind (see check.py), message that names record and box


class Look(NamedTuple):
    """What reading one record showed; all n boxes are usable ones, difficult and crowd included."""

    size: Size  # of the picture as decoded; (0, 0) if it could not be
    boxes: np.ndarray  # float32 [n, 4], xyxy in 0..1 of the picture
    boxes_input: np.ndarray  # float32 [n, 4], xyxy in 0..1 of the network's input
    labels: np.ndarray  # int32 [n]
    trained: np.ndarray  # bool [n]: neither difficult nor crowd
    label: int  # of the picture as a whole, -1 without
    findings: list[Finding]


def look_at_all(
    source: Source, *, image_size: Size, letterbox: bool, max_boxes: int, threads: int
) -> list[Look]:
    """Read and decode every record of `source` in threads, with a progress bar.

    Args:
        source: the records.
        image_size: (height, width) of the network's input, which tiny boxes are measured in.
        letterbox: whether the aspect is kept on the way to it.
        max_boxes: truths of a picture that are trained on.
        threads: at least 1.
    """
    look = partial(look_at, source, image_size=image_size, letterbox=letterbox, max_boxes=max_boxes)
    with ThreadPoolExecutor(threads) as pool:
        looks = pool.map(look, range(len(source)))
        return list(progress(looks, total=len(source), desc="reading", unit="picture"))


def look_at(
    source: Source, index: int, *, image_size: Size, letterbox: bool, max_boxes: int
) -> Look:
    """Read and decode record `index`; arguments as of `look_at_all`."""
    try:
        record = source[index]
        image, data = _read_picture(record)
    except BadRecord as bad:
        none = np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, bool)
        return Look((0, 0), none[0], *none, -1, [("unreadable pictures", str(bad))])
    size = image.shape[:2]
    place = (place_letterbox if letterbox else place_squash)(size, image_size)
    boxes_input = boxes_to_input(record.boxes, affine_of(place, image_size[1]), size, image_size)
    trained = ~(record.difficult | record.crowd)
    usable = _has_area(record.boxes)
    findings = [*_box_findings(record, source.classes, size, boxes_input)]
    if is_cut_short(data):
        text = f"{record.image_id}: the JPEG has no end; what is missing is grey."
        findings.append(("pictures cut short", text))
    if trained.sum() > max_boxes:
        text = f"{record.image_id}: has {trained.sum()} objects, trained on the first {max_boxes}."
        findings.append(("more boxes than max_boxes", text))
    arrays = (x[usable] for x in (record.boxes, boxes_input, record.labels, trained))
    return Look(size, *arrays, record.label, findings)


def _read_picture(record: Record) -> tuple[np.ndarray, bytes]:
    """The picture, and the file it was decoded from (b"" where there is none)."""
    if isinstance(record.image, np.ndarray):
        return record.image, b""
    is_file = isinstance(record.image, Path)
    data = read_bytes(record.image) if is_file else record.image
    return decode_image(data, record.image if is_file else record.image_id), data


def is_cut_short(data: bytes) -> bool:
    """Whether a JPEG file has no end (marker FFD9) after the start of its last scan (FFDA).

    Neither occurs within a scan (ITU-T T.81, B.1.1.5), so the rest of the file needs no parsing.
    OpenCV decodes such a file without an error and leaves grey what is missing.
    """
    return data[:2] == b"\xff\xd8" and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")


def _has_area(boxes) -> np.ndarray:
    return (boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # NaN has none


def _box_findings(record: Record, classes, size: Size, boxes_input) -> Iterator[Finding]:
    height, width = size
    names = [f"box {i} ({classes[label]})" for i, label in enumerate(record.labels, 1)]
    pixels = record.boxes.astype(np.float64) * (width, height, width, height)

    def of(kind, mask, rule):
        for i in np.flatnonzero(mask):
            edges = ", ".join(f"{edge:.4g}" for edge in pixels[i])
            yield kind, f"{record.image_id}: {names[i]} at ({edges}) of {width}x{height} {rule}."

    inside = (pixels >= -EDGE_PIXELS) & (pixels <= np.tile((width, height), 2) + EDGE_PIXELS)
    yield from of("boxes outside the picture", ~inside.all(axis=1), "leaves the picture")
    has_area = _has_area(record.boxes)
    yield from of("boxes without area", ~has_area, "has no area")
    tiny = (boxes_input[:, 2:] - boxes_input[:, :2] < TINY).any(axis=1) & has_area
    yield from of("tiny boxes", tiny, f"has a side below {TINY:.0%} of the input")
    for i, j in _duplicates(record):
        text = f"{record.image_id}: {names[j]} lies on box {i + 1}."
        yield "duplicate boxes", text


def _duplicates(record: Record) -> np.ndarray:
    """Pairs [k, 2] of boxes i < j that are the same."""
    same = record.labels[:, None] == record.labels
    again = same & (pairwise_iou(record.boxes, record.boxes) > DUPLICATE_IOU)
    return np.argwhere(np.triu(again, 1))
