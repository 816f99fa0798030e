"""COCO detection sets: a JSON of annotations and a folder of pictures."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from yolojax.data.parsing import (
    RecordList,
    check_names,
    class_index,
    clip_box,
    collect,
    image_size,
    make_record,
)
from yolojax.data.records import BadRecord, Record

NOT_ANNOTATED = "the file has no annotations, so there is no ground truth to train on or to score."


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
    `classes`; `category_ids[label]` is the id of a label.

    A file without the key "annotations", such as image_info_test-dev2017.json, gives pictures
    without boxes; `annotated` is then False.

    Raises:
        FileNotFoundError: the JSON or the folder is missing.
        ValueError: the JSON is malformed or lacks a list that the format requires.
        BadRecord: an annotation or picture cannot be used; the message has its id.
    """
    if not image_dir.is_dir():
        raise FileNotFoundError(f"{image_dir}: no such folder; write coco:FILE.json:IMAGE_DIR.")
    images, annotations, categories, annotated = _read_json(path)
    names = {category["id"]: category["name"] for category in sorted(categories, key=_id)}
    classes = tuple(classes) or check_names(list(names.values()), path)
    index = {class_name: label for label, class_name in enumerate(classes)}
    of_image = defaultdict(list)
    for annotation in annotations:
        of_image[annotation.get("image_id")].append(annotation)

    def read(image: dict) -> Record:
        return _read_record(path, image, of_image[image["id"]], image_dir, names, index)

    _check_images(path, images, of_image)
    records, skipped = collect(read, images, on_bad_record)
    ids = {class_name: category_id for category_id, class_name in names.items()}
    category_ids = tuple(ids.get(class_name, -1) for class_name in classes)
    return RecordList(
        name or f"coco:{path}:{image_dir}",
        classes,
        records,
        skipped,
        category_ids,
        [] if annotated else [NOT_ANNOTATED],
        {str(image["id"]): image["id"] for image in images},
        annotated,
    )


def _id(item: dict) -> int:
    return item["id"]


def _read_json(path: Path) -> tuple[list[dict], list[dict], list[dict], bool]:
    """Read the lists images, annotations and categories, and whether there are annotations."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; write coco:FILE.json:IMAGE_DIR.")
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON: {error}.") from error
    annotated = not isinstance(content, dict) or "annotations" in content
    if not annotated:
        content["annotations"] = []
    required = {"images": {"id", "file_name"}, "annotations": set(), "categories": {"id", "name"}}
    for key, fields in required.items():
        items = content.get(key) if isinstance(content, dict) else None
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise ValueError(f"{path}: {key!r} must be a list of objects, as in instances_*.json.")
        for number, item in enumerate(items):
            if missing := fields - item.keys():
                raise ValueError(f"{path}: {key}[{number}] has no {', '.join(sorted(missing))!r}.")
    return content["images"], content["annotations"], content["categories"], annotated


def _check_images(path: Path, images: list[dict], of_image: dict) -> None:
    ids = {image["id"] for image in images}
    if not ids or len(ids) != len(images):
        raise ValueError(f"{path}: 'images' must have at least one entry, and unique ids.")
    if unknown := of_image.keys() - ids:
        annotation = of_image[next(iter(unknown))][0]
        raise ValueError(
            f"{path}: annotation {annotation.get('id')} belongs to image_id "
            f"{annotation.get('image_id')}, which is not in 'images'."
        )


def _read_record(
    path: Path, image: dict, annotations: list[dict], image_dir: Path, names: dict, index: dict
) -> Record:
    picture = image_dir / image["file_name"]
    if not picture.is_file():
        raise BadRecord(f"{path}: image {image['id']}: {picture} is missing.")
    size = (image.get("width"), image.get("height"))
    size = size if all(size) else image_size(picture, picture)
    boxes, labels, crowd, area = [], [], [], []
    for annotation in annotations:
        place = f"{path}: annotation {annotation.get('id')}"
        category = annotation.get("category_id")
        labels.append(class_index(names.get(category, f"category_id {category}"), index, place))
        left, top, width, height = _read_box(annotation, place)
        boxes.append(clip_box((left, top, left + width, top + height), *size, place))
        crowd.append(bool(annotation.get("iscrowd", 0)))
        area.append(float(annotation.get("area", width * height)))
    return make_record(str(image["id"]), picture, size, boxes, labels, crowd=crowd, area=area)


def _read_box(annotation: dict, place: str) -> list[float]:
    box = annotation.get("bbox")
    try:
        left, top, width, height = (float(edge) for edge in box)
    except (TypeError, ValueError):
        raise BadRecord(f"{place}: bbox must be [x, y, width, height], got {box!r}.") from None
    return [left, top, width, height]
