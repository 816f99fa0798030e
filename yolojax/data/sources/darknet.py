"""YOLO data sets: pictures, each with a text file of boxes, named by a data.yaml or .data file.

The format of each file is described where it is read: data_yaml.py, darknet/data_files.py (.data
and .names), written_paths.py (lists of pictures, and how paths are found), label_files.py.
"""

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from yolojax.darknet.data_files import read_data
from yolojax.data.parsing import (
    RecordList,
    class_index,
    clip_box,
    collect,
    image_size,
    make_record,
    read_names,
    unique_ids,
)
from yolojax.data.records import BadRecord, Record, UnreadablePicture
from yolojax.data.sources.data_yaml import SPLITS, keys_of_splits, read_data_yaml
from yolojax.data.sources.label_files import find_label_file, label_file, read_label_line
from yolojax.data.sources.written_paths import Listed, find_pictures, find_place, prefix_of
from yolojax.files import read_lines

ANY_SIZE = (1000, 1000)  # for boxes in 0..1 of a picture whose header cannot be read
NO_LABEL_FILE = "pictures without a label file"  # the kind of the warnings
LINE_NOTES = {  # of the kinds of lines in label files
    "polygon": "are polygons, read as their boxes",
    "score": "have a score after the box, which is not used",
    "keypoints": "have keypoints after the box, which are not used",
}


class Description(NamedTuple):
    """What a data.yaml or .data file says."""

    names: tuple[str, ...]
    entries: dict[str, list[str]]  # split: its folders and lists of pictures
    roots: list[Path]  # where relative paths start
    keypoint_numbers: int = 0  # in each line of a label file, after the box


def load_darknet(
    path: Path,
    split: str = "",
    *,
    name: str = "",
    classes: Sequence[str] = (),
    on_bad_record: str = "error",
) -> RecordList:
    """Load the pictures of one split, or of all; a picture without a label file has no boxes.

    Such pictures are counted in a note and listed as warnings, since an empty label file is the way
    to say that there are no objects. Notes also name lines that are more than a box, and of
    paths of another machine.

    Args:
        path: a `.data` or `.yaml` file.
        split: "train", "val" ("valid") or "test"; "": all.
        classes: names in label order; by default those of the file.

    Raises:
        FileNotFoundError: the file, or one it names, is missing; or no picture has a label file.
        ValueError: the file is malformed, or has no such split (the message lists the splits).
        BadRecord: a picture or a label line cannot be used; the message names file and line.
    """
    if not os.path.isfile(path):
        names = sorted(os.listdir(path)) if os.path.isdir(path) else []
        nearby = [path / name for name in names if name.endswith((".yaml", ".yml", ".data"))]
        hint = f"darknet:{nearby[0]}" if nearby else "darknet:FILE.yaml or darknet:FILE.data"
        raise FileNotFoundError(f"{path}: no such file; write {hint}.")
    notes: list[str] = []
    read_description = _read_dot_data if path.suffix.lower() == ".data" else _read_yaml
    about = read_description(path, notes)
    listed = [
        picture
        for entry in _entries_of(path, about.entries, split)
        for picture in find_pictures(entry, about.roots, path, notes)
    ]
    labels = [find_label_file(one.path) if one.path.name else None for one in listed]
    _check_labels(path, listed, labels)
    classes = tuple(classes) or about.names
    index = {class_name: label for label, class_name in enumerate(classes)}
    kinds: Counter[str] = Counter()
    warnings: list[tuple[str, str]] = []

    def read(item: tuple[Listed, Path | None, str]) -> Record:
        picture, label, image_id = item
        record, of_lines = _read_record(picture, label, image_id, about, index)
        kinds.update(of_lines)
        if label is None:
            warnings.append((NO_LABEL_FILE, f"{picture.path}: {_missing_label(picture.path)}."))
        return record

    items = zip(listed, labels, unique_ids(one.path.stem for one in listed), strict=True)
    unreadable: list[tuple[Record, str]] = []
    records, skipped = collect(read, items, on_bad_record, unreadable)
    notes += _notes(len(warnings), len(records), kinds)
    name = name or f"darknet:{path}:{split}"
    more = {"notes": notes, "warnings": warnings, "unreadable": unreadable}
    return RecordList(name, classes, records, skipped, **more)


def _read_dot_data(path: Path, notes: list[str]) -> Description:
    values, roots = read_data(path), [path.parent]
    if "names" not in values:
        raise ValueError(f"{path}: has no line `names = FILE`; add one for the class names.")
    names_file = find_place(values["names"], roots, path, notes)
    if not os.path.isfile(names_file):
        raise ValueError(f"{path}: names is the folder {names_file}; give a file of class names.")
    try:
        names = read_names(names_file)
    except ValueError as error:
        raise ValueError(f"{prefix_of(names_file, path)}{error}") from error
    count = values.get("classes", str(len(names)))
    if count != str(len(names)):
        raise ValueError(f"{path}: classes is {count[:40]}, but there are {len(names)} names.")
    splits = keys_of_splits(values, path)
    return Description(names, {split: [values[key]] for split, key in splits.items()}, roots)


def _read_yaml(path: Path, notes: list[str]) -> Description:
    content = read_data_yaml(path)
    roots = [path.parent]
    if content.path:
        with suppress(FileNotFoundError):  # the folder of the file is used instead
            roots.insert(0, find_place(content.path, roots, path, notes))
        roots.insert(-1, Path(content.path))
    return Description(content.names, content.entries, roots, content.keypoint_numbers)


def _entries_of(path: Path, entries: dict[str, list[str]], split: str) -> list[str]:
    split = SPLITS.get(split, split)
    if not entries or (split and split not in entries):
        raise ValueError(
            f"{path}: no split {split!r}; there are: {', '.join(entries) or 'none'}. "
            "Without a split, all are read."
        )
    return [entry for key in entries if split in ("", key) for entry in entries[key]]


def _check_labels(path: Path, listed: list[Listed], labels: list[Path | None]) -> None:
    if all(picture.problem for picture in listed):
        raise FileNotFoundError(
            f"{path}: none of {len(listed)} pictures is there; the first: {listed[0].problem}"
        )
    if not any(labels):
        first = next(picture.path for picture in listed if not picture.problem)
        raise FileNotFoundError(
            f"{path}: none of {len(listed)} pictures has a label file; "
            f"the first should have {label_file(first)}."
        )


def _missing_label(picture: Path) -> str:
    """Say where the label file of a picture should be."""
    path = label_file(picture)
    upper = path.with_suffix(".TXT")
    way_out = f"; give {upper} this name" if os.path.exists(upper) else ""
    return f"has no label file {path}{way_out}"


def _notes(missing: int, total: int, kinds: Counter) -> list[str]:
    notes = []
    if missing:
        has, is_ = ("has", "is") if missing == 1 else ("have", "are")
        notes.append(
            f"{missing} of {total} pictures {has} no label file and {is_} trained as background; "
            "an empty file says that a picture has no objects."
        )
    for kind, words in LINE_NOTES.items():
        if kinds[kind]:
            notes.append(f"{kinds[kind]} lines of label files {words}.")
    return notes


def _read_record(
    picture: Listed, label: Path | None, image_id: str, about: Description, index: dict[str, int]
) -> tuple[Record, list[str]]:
    """Read the size and the labels of a picture -> record, kinds of its lines.

    Raises:
        UnreadablePicture: the picture is missing or damaged, its labels are not.
        BadRecord: the labels cannot be used; if the picture cannot either, that is the message.
    """

    def read(size: tuple[int, int]) -> tuple[Record, list[str]]:
        boxes, labels, kinds = [], [], []
        for number, line in enumerate(_label_lines(label), 1):
            if not line:
                continue
            place = f"{label}:{number}"
            which, box, kind = read_label_line(
                line, size, len(about.names), about.keypoint_numbers, place
            )
            labels.append(class_index(about.names[which], index, place))
            boxes.append(clip_box(box, *size, place))
            kinds.append(kind)
        return make_record(image_id, picture.path, size, boxes, labels), kinds

    try:
        if picture.problem:
            raise BadRecord(picture.problem)
        size = image_size(picture.path, picture.path)
    except BadRecord as problem:
        try:
            record, _ = read(ANY_SIZE)
        except BadRecord:
            raise problem from None
        raise UnreadablePicture(str(problem), record) from problem
    return read(size)


def _label_lines(path: Path | None) -> list[str]:
    if path is None:
        return []
    if not os.path.isfile(path):
        raise BadRecord(f"{path}: is not a file, but a folder, a pipe or a broken link.")
    try:
        return read_lines(path)
    except ValueError as error:
        raise BadRecord(str(error)) from error
