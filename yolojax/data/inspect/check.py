"""Checking a data set for training: every record is read and decoded as training would."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from yolojax.data.inspect.duplicates import equal_pictures
from yolojax.data.inspect.statistics import (
    Summary,
    classes_without_objects,
    grid_limits,
    statistics,
    summarize,
)
from yolojax.data.parsing import EDGE_PIXELS
from yolojax.data.records import (
    BadRecord,
    Record,
    Source,
    WrongSize,
    header_of,
    is_cut_short,
    load_record,
    read_bytes,
)
from yolojax.data.transforms import Size, affine_of, boxes_to_input, place_letterbox, place_squash
from yolojax.ops.boxes import pairwise_iou
from yolojax.progress import progress

ERRORS = (  # training stops at them, skips the record, or trains on wrong boxes
    "unusable annotations",
    "unknown classes",
    "unreadable pictures",
    "sizes that do not match",
    "boxes outside the picture",
    "boxes without area",
)
EQUAL = ("the same picture twice", "pictures that are in the other set too")
WARNINGS = (
    "pictures without a label file",
    "pictures cut short",
    "boxes turned by EXIF",
    "boxes of pictures that EXIF turns",
    *EQUAL,
    "duplicate boxes",
    "tiny boxes",
    "more boxes than max_boxes",
    "classes that never occur",
)
UNKNOWN_CLASS = re.compile(r"class '(.+)' is not one of the classes")  # parsing.class_index
DUPLICATE_IOU = 0.99  # of two boxes of one class
TINY = 0.01  # of a side of the network's input

Finding = tuple[str, str]  # kind (of ERRORS or WARNINGS), message that names record and box


class Checked(NamedTuple):
    """A checked record: its n usable boxes, difficult and crowd included, and its findings."""

    size: Size  # of the decoded picture; (0, 0) if it is unreadable
    boxes: np.ndarray  # float32 [n, 4], xyxy in 0..1 of the picture
    boxes_input: np.ndarray  # float32 [n, 4], xyxy in 0..1 of the network's input
    labels: np.ndarray  # int32 [n]
    trained: np.ndarray  # bool [n]: neither difficult nor crowd
    label: int  # of the whole picture, or -1
    findings: list[Finding]


def check_source(
    source: Source,
    *,
    image_size: Size,
    letterbox: bool,
    max_boxes: int,
    side: int,
    anchors: Sequence[tuple[float, float]],
    threads: int,
    other: Source | None = None,
) -> tuple[dict, Summary]:
    """Check every record of `source`, with a progress bar.

    Args:
        source: opened with on_bad_record="skip", so that skipped records are reported.
        image_size: (height, width) of the network's input.
        letterbox: whether pictures keep their aspect.
        max_boxes: boxes per picture that are trained on.
        side: cells in a row of YOLOv1's grid.
        anchors: anchors of YOLOv2, (w, h) in cells.
        threads: threads that decode, at least 1.
        other: a set that should have no picture of `source`, such as that of the evaluation.

    Returns:
        (report, summary). The report is ready for JSON: source, against, errors and warnings {kind:
        [message, ...]} with the kinds of ERRORS and WARNINGS, the numbers of
        `statistics.statistics`, limits {"yolov1", "yolov2"} (see `statistics.grid_limits`) and
        settings.
    """
    fit = {"image_size": image_size, "max_boxes": max_boxes}
    check = partial(check_record, source, letterbox=letterbox, **fit)
    with ThreadPoolExecutor(threads) as pool:
        results = pool.map(check, range(len(source)))
        records = list(progress(results, total=len(source), desc="reading", unit="picture"))
    summary = summarize(source.classes, [record for record in records if record.size != (0, 0)])
    findings = _all_findings(source, records, summary)
    for kind, messages in zip(EQUAL, equal_pictures(source, other), strict=True):
        findings[kind] += messages
    report = {
        "source": source.name,
        "against": None if other is None else other.name,
        "notes": list(source.notes),
        "errors": {kind: findings[kind] for kind in ERRORS if kind in findings},
        "warnings": {kind: findings[kind] for kind in WARNINGS if findings.get(kind)},
        **statistics(summary, **fit),
        "limits": grid_limits(summary, image_size=image_size, side=side, anchors=anchors),
        "settings": {**fit, "image_size": list(image_size), "letterbox": letterbox},
    }
    return report, summary


def _all_findings(source: Source, records: list[Checked], summary: Summary) -> dict[str, list[str]]:
    """Collect the messages of each kind from the reader, the records and the summary."""
    messages = defaultdict(list)
    for kind, message in (*_skipped(source.skipped), *getattr(source, "warnings", ())):
        messages[kind].append(message)
    for record in records:
        for kind, message in record.findings:
            messages[kind].append(message)
    if unused := classes_without_objects(summary):
        messages["classes that never occur"] = unused
    return messages


def _skipped(skipped: list[str]) -> Iterator[Finding]:
    """Yield the records that the reader skipped; one finding for each unknown class."""
    unknown = defaultdict(list)
    for message in skipped:
        if match := UNKNOWN_CLASS.search(message):
            unknown[match[1]].append(message)
        else:
            yield "unusable annotations", message
    for name, messages in unknown.items():
        yield "unknown classes", f"{name}: {len(messages)} records skipped; {messages[0]}"


def check_record(
    source: Source, index: int, *, image_size: Size, letterbox: bool, max_boxes: int
) -> Checked:
    """Read, decode and check record `index`; the arguments are those of `check_source`."""
    try:
        stated = source[index]
        record, image = load_record(stated)
        data = _encoded(record)
    except BadRecord as bad:
        none = np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, bool)
        kind = "sizes that do not match" if isinstance(bad, WrongSize) else "unreadable pictures"
        return Checked((0, 0), none[0], *none, -1, [(kind, str(bad))])
    size = image.shape[:2]
    place = (place_letterbox if letterbox else place_squash)(size, image_size)
    boxes_input = boxes_to_input(record.boxes, affine_of(place, image_size[1]), size, image_size)
    trained = ~(record.difficult | record.crowd)
    usable = _has_area(record.boxes)
    findings = [*_box_findings(record, source.classes, size, boxes_input)]
    findings += _exif_findings(record, stated)
    if is_cut_short(data):
        text = f"{record.image_id}: the JPEG has no end; the missing part is grey."
        findings.append(("pictures cut short", text))
    if trained.sum() > max_boxes:
        text = f"{record.image_id}: has {trained.sum()} objects, trained on the first {max_boxes}."
        findings.append(("more boxes than max_boxes", text))
    arrays = (x[usable] for x in (record.boxes, boxes_input, record.labels, trained))
    return Checked(size, *arrays, record.label, findings)


def _exif_findings(record: Record, stated: Record) -> Iterator[Finding]:
    """Say which picture the boxes of `record` are of; `stated` is the record before it was turned.

    See `records.upright_record`.
    """
    header = header_of(record)
    if header.orientation == 1 or not len(record.boxes):
        return
    place = f"{record.image_id}: EXIF orientation {header.orientation}"
    if record.size != stated.size:
        yield (
            "boxes turned by EXIF",
            f"{place}; its boxes are of the stored picture and are turned.",
        )
    elif stated.size is None or header.size == (header.width, header.height):
        text = f"{place}, and no size shows whether its boxes are turned; they are read as turned."
        yield "boxes of pictures that EXIF turns", text


def _encoded(record: Record) -> bytes:
    """Return the encoded picture; b"" for an array."""
    if isinstance(record.image, np.ndarray):
        return b""
    return read_bytes(record.image) if isinstance(record.image, Path) else record.image


def _has_area(boxes) -> np.ndarray:
    return (boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # False for NaN


def _box_findings(record: Record, classes, size: Size, boxes_input) -> Iterator[Finding]:
    height, width = size
    names = [f"box {i} ({classes[label]})" for i, label in enumerate(record.labels, 1)]
    pixels = record.boxes.astype(np.float64) * (width, height, width, height)

    def where(kind, mask, rule):
        for i in np.flatnonzero(mask):
            edges = ", ".join(f"{edge:.4g}" for edge in pixels[i])
            yield kind, f"{record.image_id}: {names[i]} at ({edges}) of {width}x{height} {rule}."

    inside = (pixels >= -EDGE_PIXELS) & (pixels <= np.tile((width, height), 2) + EDGE_PIXELS)
    yield from where("boxes outside the picture", ~inside.all(axis=1), "exceeds the picture")
    has_area = _has_area(record.boxes)
    yield from where("boxes without area", ~has_area, "has no area")
    tiny = (boxes_input[:, 2:] - boxes_input[:, :2] < TINY).any(axis=1) & has_area
    yield from where("tiny boxes", tiny, f"has a side below {TINY:.0%} of the input")
    for i, j in _duplicates(record):
        yield "duplicate boxes", f"{record.image_id}: {names[j]} is the same as box {i + 1}."


def _duplicates(record: Record) -> np.ndarray:
    """Find pairs [k, 2] of equal boxes i < j."""
    same_class = record.labels[:, None] == record.labels
    duplicate = same_class & (pairwise_iou(record.boxes, record.boxes) > DUPLICATE_IOU)
    return np.argwhere(np.triu(duplicate, 1))
