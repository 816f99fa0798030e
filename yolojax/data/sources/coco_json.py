"""The annotation file of COCO: https://cocodataset.org/#format-data, the part for detection.

A JSON object in UTF-8, UTF-16 or UTF-32, of lists of objects; other keys are ignored:

    images       id, file_name; width, height: the size, or null, "", 0 or missing
    categories   id, name
    annotations  image_id, category_id, bbox: [x, y, width, height] in pixels from 0;
                 iscrowd: 0, 1, false, true, null or missing; area: a number of pixels, or anything
                 but a list, an object or a boolean, which means that of the box

A number may be text ("12.5"). The id of an image is a number or text, that of a category a whole
number from 0; the text of an id is the same id. File names may have backslashes.

An annotation is left out, and a note counts it, if its image_id or category_id is missing or is not
in the file. Without the key annotations, as in image_info_test-dev2017.json, the pictures have no
ground truth.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from yolojax.data.parsing import check_names, short_repr, to_number
from yolojax.json_files import parse_json

NOT_ANNOTATED = "the file has no annotations, so there is no ground truth to train on or to score."
WHOLE = re.compile(r"0|[1-9]\d{0,17}", re.ASCII)


class CocoFile(NamedTuple):
    """What is read of the file."""

    images: list[dict]
    annotations: list[list[dict]]  # those of each image
    names: dict[Any, str]  # of the categories, by every form of the id
    category_ids: dict[str, Any]  # name -> the id as it is written, in the order of the ids
    annotated: bool  # whether the file has annotations at all
    notes: list[str]  # of what was left out


def read_coco(path: Path) -> CocoFile:
    """Read the annotation file.

    Raises:
        ValueError: the file cannot be read, is malformed or lacks a list; an id is there twice.
    """
    content = _read_json(path)
    images = _objects(path, content, "images", ("id", "file_name"))
    categories = _objects(path, content, "categories", ("id", "name"))
    annotated = "annotations" in content
    annotations = _objects(path, content, "annotations", ()) if annotated else []
    names, category_ids = _categories(path, categories)
    positions = _by_form(path, "images", images, _image_id, range(len(images)))
    if not images:
        raise ValueError(f"{path}: 'images' must have at least one entry.")
    of_image, notes = _group(path, annotations, positions, names, len(images))
    return CocoFile(
        images, of_image, names, category_ids, annotated, notes if annotated else [NOT_ANNOTATED]
    )


def _read_json(path: Path) -> dict:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}).") from error
    content = parse_json(data, path)
    if not isinstance(content, dict):
        raise ValueError(
            f"{path}: must be an object with the lists 'images', 'annotations' and 'categories', "
            f"as in instances_*.json, got {short_repr(content)}."
        )
    return content


def _objects(path: Path, content: dict, key: str, fields: Iterable[str]) -> list[dict]:
    """Return content[key], a list of objects that have all `fields`."""
    items = content.get(key)
    if not isinstance(items, list):
        raise ValueError(f"{path}: {key!r} must be a list of objects, as in instances_*.json.")
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            raise ValueError(f"{path}: {key}[{number}] must be an object, got {short_repr(item)}.")
        if missing := [field for field in fields if field not in item]:
            raise ValueError(f"{path}: {key}[{number}] has no {', '.join(missing)!r}.")
    return items


def _categories(path: Path, categories: list[dict]) -> tuple[dict[Any, str], dict[str, Any]]:
    """Return the name of every form of an id, and the ids by name in the order of the ids."""
    names = [category["name"] for category in categories]
    check_names(names, f"{path}: 'categories'")
    of_form = _by_form(path, "categories", categories, _category_id, names)
    ordered = sorted(categories, key=lambda category: int(category["id"]))
    return of_form, {category["name"]: category["id"] for category in ordered}


def _category_id(value: Any) -> bool:
    """Check that it is a whole number from 0, or text of one."""
    return type(value) in (int, float, str) and bool(WHOLE.fullmatch(_text(value)))


def _image_id(value: Any) -> bool:
    """Check that it is text or a finite number."""
    return type(value) is str or to_number(value) is not None


def _by_form(
    path: Path, key: str, items: list[dict], is_id: Callable[[Any], bool], values: Iterable
) -> dict:
    """Map every form of the id of each of `items`, 1 and "1", to its value.

    Raises:
        ValueError: an id is wrong or there twice; the message names the item.
    """
    of_form, owners = {}, {}
    for number, (item, value) in enumerate(zip(items, values, strict=True)):
        own = item["id"]
        if not is_id(own):
            rule = "a whole number from 0" if key == "categories" else "a number or text"
            place = f"{path}: {key}[{number}], {_label(item)}"
            raise ValueError(f"{place}: id must be {rule}, got {short_repr(own)}.")
        text = _text(own)
        if text in owners:
            raise ValueError(
                f"{path}: {key}: id {short_repr(own)} is there twice, for {_label(owners[text])} "
                f"and for {_label(item)}; ids must be unique."
            )
        owners[text] = item
        of_form[text] = of_form[own] = value
        if WHOLE.fullmatch(text):
            of_form[int(text)] = value
    return of_form


def _label(item: dict) -> str:
    return short_repr(item.get("name", item.get("file_name")))


def _text(value: Any) -> str:
    """Return the text of an id: "1" for 1, 1.0 and " 1"."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return str(value).strip()


def _group(
    path: Path, annotations: list[dict], positions: dict, names: dict, images: int
) -> tuple[list[list[dict]], list[str]]:
    """Return the annotations of each image, and notes of those that are left out."""
    of_image, left_out = [[] for _ in range(images)], defaultdict(list)
    for annotation in annotations:
        position = look_up(positions, annotation.get("image_id"))
        category = annotation.get("category_id")
        if position is None:
            left_out["image_id"].append(annotation)
        elif look_up(names, category) is None and (category is None or _is_scalar(category)):
            left_out["category_id"].append(annotation)
        else:
            of_image[position].append(annotation)
    for key, items in left_out.items():
        if len(items) == len(annotations):  # not a file in which some are wrong, but another format
            raise ValueError(
                f"{path}: none of the {len(items)} annotations has a known {key}; the first has "
                f"{short_repr(items[0].get(key))}."
            )
    return of_image, [_note(key, items) for key, items in left_out.items() if items]


def look_up(of_form: dict, value: Any) -> Any:
    """Return what belongs to an id, or None."""
    if type(value) is int:  # not isinstance: true and false equal 1 and 0
        return of_form.get(value)
    return of_form.get(_text(value)) if _is_scalar(value) else None


def _is_scalar(value: Any) -> bool:
    return type(value) in (int, str, float)


def _note(key: str, items: list[dict]) -> str:
    listed = {"image_id": "images", "category_id": "categories"}[key]
    first = f"annotation {short_repr(items[0].get('id'))}, {key} {short_repr(items[0].get(key))}"
    return f"annotations left out, as their {key} is not in {listed!r}: {len(items)} ({first})."
