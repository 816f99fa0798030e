"""Each value of a COCO or VOC file in turn is replaced by values of all kinds."""

import copy
import json
from functools import partial

import cv2
import numpy as np
import pytest

from yolojax.data.sources.coco import load_coco
from yolojax.data.sources.voc import load_voc

NESTED = []
for _ in range(500):
    NESTED = [NESTED]
VALUES = [
    *(None, True, False, 0, -1, 1, 2, 7, 1.5, 1e300, -0.0, float("nan"), float("inf"), 10**4000),
    *(
        "",
        " ",
        "1",
        "01",
        " 1 ",
        "1.0",
        "1e2",
        "nan",
        "x",
        "a\0b",
        "\ud800",
        "\udc80",
        "é",
        "x" * 9999,
    ),
    *([], [1], [None], [[]], {}, {"id": 1}, {"a": {}}, NESTED),
    *("a.png", "A.PNG", "C:\\x\\a.png", "../a.png", "/", "." * 300, "/" * 5000),
]
CONTENT = {
    "images": [
        {"id": 1, "file_name": "a.png", "width": 20, "height": 10},
        {"id": 2, "file_name": "b.png"},
    ],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 5, 6], "area": 9, "iscrowd": 0},
        {"id": 2, "image_id": 2, "category_id": 2, "bbox": [1, 2, 5, 6], "area": 9, "iscrowd": 1},
    ],
}


def paths(value, path=()):
    """The path of every value in nested objects, and of the first in lists."""
    if path:
        yield path
    if isinstance(value, list | dict):
        for key in value if isinstance(value, dict) else range(min(1, len(value))):
            yield from paths(value[key], (*path, key))


def check(load):
    """Either one short line that names the file, or records with possible values."""
    try:
        source = load()
    except (ValueError, FileNotFoundError) as error:
        text = str(error)
        assert "a.json" in text or "a.xml" in text
        assert "\n" not in text
        assert len(text) < 700
        return
    ids = [record.image_id for record in source.records]
    assert len({*ids}) == len(ids)
    assert {*ids} <= {*source.original_ids} or not source.original_ids
    "".join([*ids, *source.classes, *source.skipped, *source.notes]).encode()
    for record in source.records:
        assert np.isfinite(record.boxes).all()
        assert ((record.area >= 0) & np.isfinite(record.area)).all()
        assert ((record.labels >= 0) & (record.labels < len(source.classes))).all()
        assert record.image.is_file()
        assert record.size is None or all(type(side) is int and side > 0 for side in record.size)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("set")
    for name in ("Annotations", "JPEGImages"):
        (root / name).mkdir()
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(root / "JPEGImages" / name), np.zeros((10, 20, 3), np.uint8))
    return root


@pytest.mark.parametrize("path", paths(CONTENT), ids=lambda path: ".".join(map(str, path)))
def test_any_value_in_a_coco_file(folder, path):
    for value in VALUES:
        content = copy.deepcopy(CONTENT)
        inner = content
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        (folder / "a.json").write_text(json.dumps(content))
        check(partial(load_coco, folder / "a.json", folder / "JPEGImages", on_bad_record="skip"))


XML = (
    "<annotation><filename>{}</filename><size><width>{}</width><height>{}</height></size><object>"
    "<name>{}</name><difficult>{}</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax>"
    "<ymax>{}</ymax></bndbox></object></annotation>"
)
TEXTS = ["a.png", "20", "10", "cat", "0", "1", "1", "10", "10"]


@pytest.mark.parametrize("place", range(len(TEXTS)))
def test_any_text_in_a_voc_file(folder, place):
    values = [value for value in VALUES if isinstance(value, str)]
    values += ["<x/>", "<![CDATA[1]]>", "&#65;", "9" * 5000, "\n1\n", "1_0", "0x1", "²", "١"]
    for value in values:
        texts = [*TEXTS[:place], value, *TEXTS[place + 1 :]]
        data = XML.format(*texts).encode("utf-8", "surrogatepass")
        (folder / "Annotations" / "a.xml").write_bytes(data)
        check(partial(load_voc, folder, on_bad_record="skip"))
