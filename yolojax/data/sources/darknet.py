"""Darknet's layout: a list of pictures, each with a text file of `class cx cy w h` lines.

The list is named by Darknet's `.data` file, or by the `data.yaml` of later tools.
"""

from collections.abc import Sequence
from pathlib import Path

import yaml

from yolojax.darknet.data_files import read_data
from yolojax.data.parsing import (
    RecordList,
    check_names,
    class_index,
    clip_box,
    collect,
    image_size,
    make_record,
    read_names,
    unique_ids,
)
from yolojax.data.records import BadRecord, Record
from yolojax.files import PICTURE_SUFFIXES, is_picture, read_lines

SPLITS = ("train", "val", "test")


def load_darknet(
    path: Path,
    split: str = "",
    *,
    name: str = "",
    classes: Sequence[str] = (),
    on_bad_record: str = "error",
) -> RecordList:
    """Load the pictures of one split, or of all; a picture without a label file has no boxes.

    Args:
        path: a `.data` or `.yaml` file. Relative paths in it start at its folder, or else at the
            working directory, as in Darknet.
        split: "train", "val" ("valid") or "test"; "": all.
        classes: names in label order; by default those of the file.

    Raises:
        FileNotFoundError: the file, or one it names, is missing; or no picture has a label file.
        ValueError: the file is malformed, or has no such split (the message lists the splits).
        BadRecord: a label line cannot be used; the message names file and line.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; write darknet:FILE.yaml or darknet:FILE.data."
        )
    read_description = _read_dot_data if path.suffix == ".data" else _read_yaml
    names, entries, bases = read_description(path)
    pictures = [
        p for entry in _entries_of(path, entries, split) for p in _pictures(entry, bases, path)
    ]
    _check_labels(path, pictures)
    classes = tuple(classes) or names
    index = {class_name: label for label, class_name in enumerate(classes)}

    def read(item: tuple[Path, str]) -> Record:
        return _read_record(*item, names, index)

    items = zip(pictures, unique_ids(picture.stem for picture in pictures), strict=True)
    records, skipped = collect(read, items, on_bad_record)
    return RecordList(name or f"darknet:{path}:{split}", classes, records, skipped)


def _read_dot_data(path: Path) -> tuple[tuple[str, ...], dict[str, list[str]], list[Path]]:
    """Read `key = value` lines -> names, {split: lists of pictures}, folders where paths start."""
    values, bases = read_data(path), [path.parent, Path()]
    if "names" not in values:
        raise ValueError(f"{path}: has no line `names = FILE`; add one for the class names.")
    names = read_names(_resolve(values["names"], bases, path))
    _check_count(path, "classes", values.get("classes", len(names)), names)
    keys = {"train": "train", "val": "valid", "test": "test"}
    return names, {split: [values[key]] for split, key in keys.items() if key in values}, bases


def _read_yaml(path: Path) -> tuple[tuple[str, ...], dict[str, list[str]], list[Path]]:
    """Read the keys path, train, val, test and names -> names, {split: entries}, folders."""
    try:
        content = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, UnicodeError) as error:
        raise ValueError(f"{path}: not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict) or not isinstance(content.get("names"), list | dict):
        raise ValueError(
            f"{path}: must have the keys names (a list or 0: name, ...), train and val."
        )
    names = _yaml_names(content["names"], path)
    _check_count(path, "nc", content.get("nc", len(names)), names)
    entries = {split: content[split] for split in SPLITS if content.get(split)}
    lists = {split: e if isinstance(e, list) else [e] for split, e in entries.items()}
    base = path.parent / str(content.get("path") or "")
    return names, lists, [base, path.parent, Path()]


def _yaml_names(names: list | dict, path: Path) -> tuple[str, ...]:
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):
            keys = f"0..{len(names) - 1}"
            raise ValueError(f"{path}: the keys of names must be {keys}, got {[*names]}.")
        names = [names[label] for label in range(len(names))]
    return check_names([str(class_name) for class_name in names], path)


def _check_count(path: Path, key: str, value: str | int, names: tuple[str, ...]) -> None:
    if str(value) != str(len(names)):
        raise ValueError(f"{path}: {key} is {value}, but there are {len(names)} names.")


def _entries_of(path: Path, entries: dict[str, list[str]], split: str) -> list[str]:
    split = {"valid": "val"}.get(split, split)
    if not entries or (split and split not in entries):
        raise ValueError(
            f"{path}: no split {split!r}; there are: {', '.join(entries) or 'none'}. "
            "Without a split, all are read."
        )
    return [entry for key in entries if split in ("", key) for entry in entries[key]]


def _resolve(entry: str, bases: Sequence[Path], path: Path) -> Path:
    """Return the first BASE/entry that exists."""
    for base in bases:
        if (base / entry).exists():
            return base / entry
    tried = ", ".join(dict.fromkeys(str(base / entry) for base in bases))
    raise FileNotFoundError(f"{path}: names {entry!r}, which does not exist; tried {tried}.")


def _pictures(entry: str, bases: Sequence[Path], path: Path) -> list[Path]:
    """List all pictures below a folder, or those in a text file."""
    resolved = _resolve(str(entry), bases, path)
    if resolved.is_dir():
        pictures = sorted(p for p in resolved.rglob("*") if is_picture(p))
    else:
        bases = [resolved.parent, *bases]
        pictures = [_listed(line, bases) for line in read_lines(resolved) if line]
    if not pictures:
        raise ValueError(f"{path}: {resolved} has no pictures ({', '.join(PICTURE_SUFFIXES)}).")
    return pictures


def _listed(line: str, bases: Sequence[Path]) -> Path:
    """Resolve a listed picture; a missing one is reported when its record is read."""
    return next((base / line for base in bases if (base / line).exists()), bases[0] / line)


def label_file(picture: Path) -> Path:
    """Return the label file of a picture: images or JPEGImages -> labels, suffix -> .txt (data.c).

    Darknet replaces text anywhere in the path. Here only the last folder of that name is replaced,
    so that a parent folder may have "images" in its name.
    """
    parts = list(picture.parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] in ("images", "JPEGImages"):
            parts[i] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _check_labels(path: Path, pictures: list[Path]) -> None:
    if not any(label_file(picture).is_file() for picture in pictures):
        raise FileNotFoundError(
            f"{path}: none of {len(pictures)} pictures has a label file; "
            f"the first should have {label_file(pictures[0])}."
        )


def _read_record(picture: Path, image_id: str, names: tuple[str, ...], index: dict) -> Record:
    size = image_size(picture, picture)
    path = label_file(picture)
    boxes, labels = [], []
    for number, line in enumerate(_label_lines(path), 1):
        if not line:
            continue
        place = f"{path}:{number}"
        label, box = _read_line(line, size, len(names), place)
        labels.append(class_index(names[label], index, place))
        boxes.append(clip_box(box, *size, place))
    return make_record(image_id, picture, size, boxes, labels)


def _label_lines(path: Path) -> list[str]:
    try:
        return read_lines(path) if path.is_file() else []
    except ValueError as error:
        raise BadRecord(str(error)) from error


def _read_line(
    line: str, size: tuple[int, int], classes: int, place: str
) -> tuple[int, tuple[float, ...]]:
    """Parse `class cx cy w h`, in 0..1 of the picture -> label and xyxy in pixels."""
    try:
        label, cx, cy, w, h = (float(word) for word in line.split())
    except ValueError:
        raise BadRecord(f"{place}: must be `class cx cy w h`, got {line!r}.") from None
    if not (label.is_integer() and 0 <= label < classes):
        raise BadRecord(f"{place}: class must be one of 0..{classes - 1}, got {label:g}.")
    width, height = size
    x1, x2 = (cx - w / 2) * width, (cx + w / 2) * width
    y1, y2 = (cy - h / 2) * height, (cy + h / 2) * height
    return int(label), (x1, y1, x2, y2)
