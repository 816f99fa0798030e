"""Is a data set fit to train on? Read all of it, say what is wrong, and count what there is."""

import re
from collections import defaultdict
from collections.abc import Sequence

from yolojax.data.geometry import Size
from yolojax.data.inspect.findings import Look, look_at_all
from yolojax.data.inspect.statistics import Census, grid_limits, never_seen, numbers_of, take_census
from yolojax.data.records import Source

ERRORS = (  # training stops at them, leaves the record out, or learns nonsense
    "unusable annotations",
    "unknown classes",
    "unreadable pictures",
    "boxes outside the picture",
    "boxes without area",
)
WARNINGS = (
    "pictures cut short",
    "duplicate boxes",
    "tiny boxes",
    "more boxes than max_boxes",
    "classes that never occur",
)
UNKNOWN_CLASS = re.compile(r"class '(.+)' is not one of the classes")  # annotations.class_index


def check_source(
    source: Source,
    *,
    image_size: Size,
    letterbox: bool,
    max_boxes: int,
    side: int,
    anchors: Sequence[tuple[float, float]],
    threads: int,
) -> tuple[dict, Census]:
    """Read and decode every record of `source`, with a progress bar.

    Args:
        source: opened with on_bad_record="skip", so that what it left out can be told.
        image_size: (height, width) of the network's input.
        letterbox: whether the aspect is kept on the way to it.
        max_boxes: truths of a picture that are trained on.
        side: cells in a row of YOLOv1's grid.
        anchors: of YOLOv2, (w, h) in cells.
        threads: that decode, at least 1.

    Returns:
        (report, census); the report is ready for JSON: source, errors and warnings {kind: [message,
        ...]} (the kinds are those in ERRORS and WARNINGS), what `census.numbers_of` counts, limits
        {"yolov1", "yolov2": see `census.grid_limits`} and settings.
    """
    fit = {"image_size": image_size, "max_boxes": max_boxes}
    looks = look_at_all(source, letterbox=letterbox, threads=threads, **fit)
    census = take_census(source.classes, looks)
    found = _findings(source, looks, census)
    report = {
        "source": source.name,
        "errors": {kind: found[kind] for kind in ERRORS if kind in found},
        "warnings": {kind: found[kind] for kind in WARNINGS if kind in found},
        **numbers_of(census, **fit),
        "limits": grid_limits(census, image_size=image_size, side=side, anchors=anchors),
        "settings": {**fit, "image_size": list(image_size), "letterbox": letterbox},
    }
    return report, census


def _findings(source: Source, looks: list[Look], census: Census) -> dict[str, list[str]]:
    """Messages of each kind: of the reader of `source`, of the records and of all together."""
    found = defaultdict(list)
    for kind, message in _left_out(source.skipped):
        found[kind].append(message)
    for look in looks:
        for kind, message in look.findings:
            found[kind].append(message)
    if never := never_seen(census):
        found["classes that never occur"] = never
    return found


def _left_out(skipped: list[str]):
    """(kind, message) of records that the reader left out; one for each unknown class."""
    unknown = defaultdict(list)
    for message in skipped:
        if match := UNKNOWN_CLASS.search(message):
            unknown[match[1]].append(message)
        else:
            yield "unusable annotations", message
    for name, messages in unknown.items():
        yield "unknown classes", f"{name}: {len(messages)} records left out; {messages[0]}"
