"""The layouts of files that data sets are written in: VOC, COCO and YOLO."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import yaml

from yolojax.data.records import Record, Source
from yolojax.files import write_text
from yolojax.json_files import to_json

YOLO_SPLITS = ("train", "val", "test")  # keys of data.yaml


class Item(NamedTuple):
    """A picture that is in its folder already, and its annotations."""

    name: str  # of the file
    size: tuple[int, int]  # (width, height) of the upright picture
    record: Record  # with boxes of the upright picture

    def pixels(self) -> np.ndarray:
        """Return the boxes as xyxy in pixels, float64 [n, 4]."""
        return self.record.boxes.astype(np.float64) * (*self.size, *self.size)


class Layout(NamedTuple):
    """A layout: how it is read, where its pictures are, and how the rest of a split is written."""

    source: str  # the SOURCE of `split` in `out`
    pictures: str  # the folder for the pictures of `split`
    write: Callable  # (folder, split, source, items) -> None
    lost: dict[str, str]  # what it cannot hold (see `count_lost`), and what becomes of it
    splits: tuple[str, ...] = ()  # the names that splits may have; (): any


def count_lost(record: Record, size: tuple[int, int], counts: dict[str, int]) -> None:
    """Add the boxes of `record` with each of the properties that `counts` has.

    They are "difficult", "crowd", and "area": one that is not that of the box, but of a mask.
    """
    sides = (record.boxes[:, 2:] - record.boxes[:, :2]) * np.array(size)
    masks = ~np.isclose(record.area, sides.prod(axis=1), rtol=0.01, atol=1)
    for kind, mask in {"difficult": record.difficult, "crowd": record.crowd, "area": masks}.items():
        if kind in counts:
            counts[kind] += int(np.count_nonzero(mask))


def write_voc(folder: Path, split: str, source: Source, items: Iterable[Item]) -> None:
    """Write Annotations/*.xml, ImageSets/Main/SPLIT.txt, and labels.txt with the classes."""
    stems = []
    for item in items:
        stems.append(Path(item.name).stem)
        write_text(folder / "Annotations" / f"{stems[-1]}.xml", _voc_xml(item, source.classes))
    write_text(folder / "ImageSets" / "Main" / f"{split}.txt", "".join(f"{s}\n" for s in stems))
    write_text(folder / "labels.txt", "".join(f"{name}\n" for name in source.classes))


def _voc_xml(item: Item, classes: tuple[str, ...]) -> str:
    root = ElementTree.Element("annotation")
    _add(root, folder="JPEGImages", filename=item.name)
    width, height = item.size
    _add(ElementTree.SubElement(root, "size"), width=width, height=height, depth=3)
    _add(root, segmented=0)
    record, edges = item.record, voc_edges(item)
    for label, box, ignored in zip(
        record.labels, edges, record.difficult | record.crowd, strict=True
    ):
        element = ElementTree.SubElement(root, "object")
        _add(element, name=classes[label], pose="Unspecified", truncated=0, difficult=int(ignored))
        names = ("xmin", "ymin", "xmax", "ymax")
        _add(ElementTree.SubElement(element, "bndbox"), **dict(zip(names, box, strict=True)))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _add(element: ElementTree.Element, **children: str | int) -> None:
    for tag, value in children.items():
        ElementTree.SubElement(element, tag).text = str(value)


def voc_edges(item: Item) -> list[list[int]]:
    """Round the boxes to VOC's xmin, ymin, xmax, ymax: whole pixels, counted from 1, inclusive.

    A box that is thinner than a pixel becomes one pixel.
    """
    boxes, last = item.pixels(), np.array(item.size) - 1
    first = np.rint(boxes[:, :2])
    thin = np.rint(boxes[:, 2:]) <= first
    first = np.where(thin, np.minimum(np.floor(boxes[:, :2]), last), first)
    end = np.where(thin, first + 1, np.rint(boxes[:, 2:]))
    return np.concatenate([first + 1, end], axis=1).astype(int).tolist()


def write_coco(folder: Path, split: str, source: Source, items: Iterable[Item]) -> None:
    """Write annotations/instances_SPLIT.json, with the ids of a COCO file if `source` has them."""
    original = getattr(source, "original_ids", {})
    categories = _unique_ids(getattr(source, "category_ids", ()), len(source.classes))
    items = [*items]
    ids = _unique_ids([original.get(item.record.image_id, -1) for item in items], len(items))
    images, annotations = [], []
    for image_id, item in zip(ids, items, strict=True):
        record, (width, height) = item.record, item.size
        images.append({"id": image_id, "file_name": item.name, "width": width, "height": height})
        columns = zip(
            item.pixels().tolist(),
            record.labels,
            record.crowd | record.difficult,
            record.area.tolist(),
            strict=True,
        )
        for (x1, y1, x2, y2), label, ignored, area in columns:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": categories[label],
                    "bbox": [float(f"{edge:.7g}") for edge in (x1, y1, x2 - x1, y2 - y1)],
                    "area": area,
                    "iscrowd": int(ignored),
                    "segmentation": [],
                }
            )
    names = zip(categories, source.classes, strict=True)
    content = {
        "info": {"description": f"Written by `yolojax prepare` from {source.name}."},
        "licenses": [],
        "categories": [{"id": id_, "name": name, "supercategory": name} for id_, name in names],
        "images": images,
        "annotations": annotations,
    }
    write_text(folder / "annotations" / f"instances_{split}.json", to_json(content))


def _unique_ids(ids, count: int) -> list[int]:
    """Return `ids` if they are `count` different whole numbers from 0, else 1 to `count`."""
    usable = all(type(one) is int and one >= 0 for one in ids) and len({*ids}) == count
    return [*ids] if usable else [*range(1, count + 1)]


def write_yolo(folder: Path, split: str, source: Source, items: Iterable[Item]) -> None:
    """Write labels/SPLIT/*.txt and data.yaml, whose paths are relative to it."""
    for item in items:
        path = folder / "labels" / split / f"{Path(item.name).stem}.txt"
        write_text(path, "".join(_yolo_lines(item.record)))
    there = [name for name in YOLO_SPLITS if (folder / "images" / name).is_dir()]
    content = {name: f"images/{name}" for name in there}
    content |= {"nc": len(source.classes), "names": dict(enumerate(source.classes))}
    text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=10_000)
    write_text(folder / "data.yaml", text)


def _yolo_lines(record: Record) -> Iterable[str]:
    """Yield `class cx cy w h` for each box that is trained on, in 0..1 of the upright picture."""
    trained = ~(record.difficult | record.crowd)
    boxes = record.boxes[trained].astype(np.float64)
    for box, label in zip(boxes, record.labels[trained], strict=True):
        centre, sides = (box[:2] + box[2:]) / 2, np.maximum(box[2:] - box[:2], 1e-6)
        yield f"{label} " + " ".join(f"{value:.6f}" for value in (*centre, *sides)) + "\n"


LAYOUTS = {
    "voc": Layout(
        source="voc:{out}:{split}",
        pictures="JPEGImages",
        write=write_voc,
        lost={
            "crowd": "crowds are written as difficult, as VOC cannot mark them",
            "area": "areas of masks are not written, as VOC has none",
        },
    ),
    "coco": Layout(
        source="coco:{out}/annotations/instances_{split}.json:{out}/{split}",
        pictures="{split}",
        write=write_coco,
        lost={"difficult": "difficult boxes are written as crowds, as COCO cannot mark them"},
    ),
    "yolo": Layout(
        source="darknet:{out}/data.yaml:{split}",
        pictures="images/{split}",
        write=write_yolo,
        lost={
            "difficult": "difficult boxes are left out, as YOLO's lines cannot mark them",
            "crowd": "crowds are left out, as YOLO's lines cannot mark them",
            "area": "areas of masks are not written, as YOLO's lines have none",
        },
        splits=YOLO_SPLITS,
    ),
}
