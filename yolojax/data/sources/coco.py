"""COCO detection sets: a JSON of annotations (see `coco_json`) and a folder of pictures."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from yolojax.data.parsing import (
    RecordList,
    class_index,
    clip_box,
    collect,
    image_size,
    make_record,
    printable,
    refuse_fractions,
    short_repr,
    stated_size,
    to_number,
)
from yolojax.data.records import BadRecord, Record, UnreadablePicture
from yolojax.data.sources.coco_json import look_up, read_coco
from yolojax.data.sources.name_index import NameIndex
from yolojax.files import pictures_below

CROWD = {0: False, 1: True, None: False, "": False, "0": False, "1": True}
MAX_AREA = 1e30  # pixels**2, within float32


def load_coco(
    path: Path,
    image_dir: Path,
    *,
    name: str = "",
    classes: Sequence[str] = (),
    on_bad_record: str = "error",
) -> RecordList:
    """Load every picture of the JSON, with or without annotations; image_id is the COCO id as text.

    Labels are contiguous, in the order of the category ids (80 classes for COCO's ids 1..90) or of
    `classes`; `category_ids[label]` is the id of a label, `original_ids[image_id]` that of a
    picture, both as they are in the file.

    A picture is file_name in the folder, or else the part at the end of file_name that is there, or
    else the picture below the folder with this base name if only one has it.

    A file without the key "annotations", such as image_info_test-dev2017.json, gives pictures
    without boxes; `annotated` is then False.

    Raises:
        FileNotFoundError: the JSON or the folder is missing.
        ValueError: the JSON is malformed or lacks a list that the format requires.
        BadRecord: an annotation or picture cannot be used; the message has its id.
    """
    if not os.path.isdir(image_dir):
        raise FileNotFoundError(f"{image_dir}: no such folder; write coco:FILE.json[:IMAGE_DIR].")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such file; write coco:FILE.json[:IMAGE_DIR].")
    file = read_coco(path)
    classes = tuple(classes) or tuple(file.category_ids)
    index = {class_name: label for label, class_name in enumerate(classes)}
    find, found_notes = _finder([image["file_name"] for image in file.images], image_dir)

    def read(item: tuple[dict, list[dict]]) -> Record:
        return _read_record(path, *item, find, file.names, index)

    items = zip(file.images, file.annotations, strict=True)
    unreadable: list[tuple[Record, str]] = []
    records, skipped = collect(read, items, on_bad_record, unreadable)
    return RecordList(
        name or f"coco:{path}:{image_dir}",
        classes,
        records,
        skipped,
        tuple(file.category_ids.get(class_name, -1) for class_name in classes),
        file.notes + found_notes,
        {_image_id(image): image["id"] for image in file.images},
        file.annotated,
        unreadable=unreadable,
    )


def _image_id(image: dict) -> str:
    return printable(str(image["id"]))


def _finder(file_names: Iterable[Any], folder: Path) -> tuple[Callable[[str], Path], list[str]]:
    """Return the function file_name -> picture, and notes of names with foreign folders.

    That function raises BadRecord if there is no such picture, or if another name is nearer to it.
    """
    there, moved = {}, {}
    for name in dict.fromkeys(name for name in file_names if type(name) is str):
        if name and os.path.isfile(folder / name):
            there[name] = folder / name
        else:
            moved[name] = []
    if moved:
        index = NameIndex((str(p.relative_to(folder)), p) for p in pictures_below(folder))
        moved = {name: index.find(name) for name in moved}
    taken = Counter(there.values())
    taken.update(pictures[0] for pictures in moved.values() if len(pictures) == 1)

    def find(name: str) -> Path:
        if name in there:
            return there[name]
        if not (pictures := moved.get(name)):
            raise BadRecord(f"file_name {short_repr(name)} is missing in {folder}.")
        if len(pictures) > 1:
            several = ", ".join(map(str, pictures[:3]))
            raise BadRecord(f"file_name {short_repr(name)} may be any of {several}.")
        if taken[pictures[0]] > 1:
            raise BadRecord(
                f"file_name {short_repr(name)} may be {pictures[0]}, but so may another file_name."
            )
        return pictures[0]

    single = [name for name, pictures in moved.items() if len(pictures) == 1]
    used = [name for name in single if taken[moved[name][0]] == 1]
    return find, [_moved_note(used, moved[used[0]][0])] if used else []


def _moved_note(names: list[str], first: Path) -> str:
    return (
        f"file names with other folders, found by the part at their end: {len(names)} "
        f"({short_repr(names[0])} is {first})."
    )


def _read_record(
    path: Path,
    image: dict,
    annotations: list[dict],
    find: Callable[[str], Path],
    names: dict[Any, str],
    index: dict[str, int],
) -> Record:
    file, place = str(path), f"{path}: image {short_repr(image['id'])}"
    if type(image["file_name"]) is not str:
        raise BadRecord(f"{place}: file_name must be text, got {short_repr(image['file_name'])}.")
    missing, stated = "", stated_size(image.get("width"), image.get("height"), place)
    try:
        picture = find(image["file_name"])
    except BadRecord as bad:
        missing, picture = f"{place}: {bad}", Path(image["file_name"])
        if not stated:
            raise BadRecord(missing) from None
    size = stated or image_size(picture, picture)
    boxes, labels, crowd, area = [], [], [], []
    for annotation in annotations:
        place = f"{file}: annotation {short_repr(annotation.get('id'))}"
        labels.append(_label(annotation["category_id"], names, index, place))
        left, top, width, height = _read_box(annotation, place)
        boxes.append(clip_box((left, top, left + width, top + height), *size, place))
        crowd.append(_is_crowd(annotation, place))
        area.append(_area(annotation, width * height, place))
    record = make_record(
        _image_id(image), picture, size, boxes, labels, crowd=crowd, area=area, stated=stated
    )
    if missing:
        raise UnreadablePicture(missing, record)
    return record


def _label(category: Any, names: dict[Any, str], index: dict[str, int], place: str) -> int:
    name = look_up(names, category)
    if name is None:
        raise BadRecord(f"{place}: category_id must be a number, got {short_repr(category)}.")
    return class_index(name, index, place)


def _read_box(annotation: dict, place: str) -> list[float]:
    box = annotation.get("bbox")
    numbers = [to_number(edge) for edge in box] if type(box) is list and len(box) == 4 else [None]
    if None in numbers:
        rule = "bbox must be [x, y, width, height]"
        raise BadRecord(f"{place}: {rule}, got {short_repr(box)}.")
    refuse_fractions(numbers, place)
    return numbers


def _is_crowd(annotation: dict, place: str) -> bool:
    value = annotation.get("iscrowd")
    if type(value) in (list, dict) or value not in CROWD:
        raise BadRecord(f"{place}: iscrowd must be 0 or 1, got {short_repr(value)}.")
    return CROWD[value]


def _area(annotation: dict, of_box: float, place: str) -> float:
    """Return the area of the mask, or that of the box if the file states none that is usable."""
    value = annotation.get("area")
    if type(value) in (list, dict, bool):
        raise BadRecord(f"{place}: area must be a number, got {short_repr(value)}.")
    area = to_number(value)
    return area if area is not None and 0 <= area <= MAX_AREA else of_box
