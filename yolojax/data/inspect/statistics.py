"""What a data set is made of, in numbers: classes, sizes, crowding, and what the grids allow."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from yolojax.data.geometry import Size
from yolojax.data.inspect.findings import Look
from yolojax.data.inspect.grid_limits import anchor_slots, cell_slots, recall_bound

STRIDE = 32  # pixels of the input to a cell of YOLOv2's grid
QUANTILES = {"smallest": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "largest": 1.0}
SIZES = 10  # most frequent sizes of pictures in the report


class Census(NamedTuple):
    """P readable pictures and the n truths in them that are trained on."""

    classes: tuple[str, ...]
    sizes: np.ndarray  # int [P, 2], height and width
    whole: np.ndarray  # int [P], label of the picture itself, -1 without
    pictures: np.ndarray  # int [n], index of each truth's picture
    labels: np.ndarray  # int [n]
    boxes: np.ndarray  # float32 [n, 4], xyxy in 0..1 of the picture
    boxes_input: np.ndarray  # float32 [n, 4], xyxy in 0..1 of the network's input
    ignored: int  # truths that are difficult or a crowd


def take_census(classes: Sequence[str], looks: Sequence[Look]) -> Census:
    """Gather what `looking.look_at_all` saw of a source with these `classes`."""
    looks = [look for look in looks if look.size != (0, 0)]

    def gather(values, shape, dtype):
        return np.concatenate([np.zeros(shape, dtype), *values])

    return Census(
        classes=tuple(classes),
        sizes=np.array([look.size for look in looks], int).reshape(-1, 2),
        whole=np.array([look.label for look in looks], int),
        pictures=np.repeat(np.arange(len(looks)), [int(look.trained.sum()) for look in looks]),
        labels=gather((look.labels[look.trained] for look in looks), 0, int),
        boxes=gather((look.boxes[look.trained] for look in looks), (0, 4), np.float32),
        boxes_input=gather((look.boxes_input[look.trained] for look in looks), (0, 4), np.float32),
        ignored=sum(int((~look.trained).sum()) for look in looks),
    )


def numbers_of(census: Census, *, image_size: Size, max_boxes: int) -> dict:
    """The census as a dict, ready for JSON.

    Returns:
        pictures, objects, ignored; classes {name: {objects, pictures}}; picture_sizes {distinct,
        most: {"640x480": pictures}}; box_pixels {width, height: {quantile: pixels of the input}};
        boxes_per_picture {mean, most, without, beyond_max_boxes}.
    """
    crowding = per_picture(census)
    height, width = image_size
    widths, heights = ((census.boxes_input[:, 2:] - census.boxes_input[:, :2]) * (width, height)).T
    return {
        "pictures": len(census.sizes),
        "objects": len(census.labels),
        "ignored": census.ignored,
        "classes": _count_classes(census),
        "picture_sizes": _count_sizes(census),
        "box_pixels": {"width": _quantiles(widths), "height": _quantiles(heights)},
        "boxes_per_picture": {
            "mean": float(crowding.mean()) if len(crowding) else 0.0,
            "most": int(crowding.max(initial=0)),
            "without": int((crowding == 0).sum()),
            "beyond_max_boxes": int(np.maximum(crowding - max_boxes, 0).sum()),
        },
    }


def per_picture(census: Census) -> np.ndarray:
    """Truths in each picture, int [P]."""
    return np.bincount(census.pictures, minlength=len(census.sizes))


def _count_classes(census: Census) -> dict[str, dict[str, int]]:
    count = len(census.classes)
    objects = np.bincount(census.labels, minlength=count)
    pairs = np.unique(np.stack([census.pictures, census.labels]), axis=1)
    pictures = np.bincount(pairs[1], minlength=count)
    pictures += np.bincount(census.whole[census.whole >= 0], minlength=count)
    return {
        name: {"objects": int(n), "pictures": int(p)}
        for name, n, p in zip(census.classes, objects, pictures, strict=True)
    }


def _count_sizes(census: Census) -> dict:
    sizes = Counter(f"{width}x{height}" for height, width in census.sizes)
    return {"distinct": len(sizes), "most": dict(sizes.most_common(SIZES))}


def _quantiles(values) -> dict[str, float | None]:
    if not len(values):
        return dict.fromkeys(QUANTILES)
    found = np.quantile(values, list(QUANTILES.values()))
    return {name: round(float(x), 1) for name, x in zip(QUANTILES, found, strict=True)}


def grid_limits(census: Census, *, image_size: Size, side: int, anchors) -> dict[str, dict]:
    """The upper bounds of recall of YOLOv1 and of YOLOv2 (see grid_limits.py) -> {head: bound}.

    YOLOv1 lays its `side` x `side` cells over the picture itself, which it stretches; YOLOv2 has a
    cell for every STRIDE pixels of the input.
    """
    grid = image_size[0] // STRIDE, image_size[1] // STRIDE
    v1 = cell_slots(census.boxes, (side, side))
    v2 = anchor_slots(census.boxes_input, grid, anchors)
    return {
        "yolov1": {"grid": [side, side], **recall_bound(census.pictures, v1)},
        "yolov2": {
            "grid": list(grid),
            "anchors": len(anchors),
            **recall_bound(census.pictures, v2),
        },
    }


def never_seen(census: Census) -> list[str]:
    """Classes of which no picture has a truth that is trained on."""
    return [name for name, row in _count_classes(census).items() if not row["pictures"]]
