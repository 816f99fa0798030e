"""The formats of data sets for tests/fuzz.py: annotations, lists, descriptions and pictures."""

import contextlib
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from mutations import (
    Mutate,
    mutate_bytes,
    mutate_json,
    mutate_lines,
    mutate_png,
    mutate_xml,
    mutate_yaml,
)

from yolojax.data.records import Record, load_image
from yolojax.data.sources.load import load_source


class Format(NamedTuple):
    """A kind of file: valid examples, how they are changed, and the reader."""

    seeds: tuple[bytes, ...]
    mutate: Mutate
    file: Path  # where each input is written
    read: Callable[[], Any]  # reads `file`
    check: Callable[[Any, bytes], str]  # (result, input) -> what is wrong with this success, or ""


def no_check(result, data: bytes) -> str:
    """Accept every result."""
    return ""


def picture(suffix: str = ".jpg", size=(12, 16)) -> bytes:
    """Encode a small picture of (height, width)."""
    pixels = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    return cv2.imencode(suffix, pixels)[1].tobytes()


def check_source(source, data: bytes) -> str:
    """Check that every record has finite boxes within the picture and labels of its classes."""
    for record in source:
        n, boxes = len(record.labels), record.boxes
        if boxes.shape != (n, 4) or not np.isfinite(boxes).all():
            return f"boxes {boxes.tolist()}"
        if n and not (boxes.min() >= 0 and boxes.max() <= 1 + 1e-6):
            return f"boxes outside of the picture: {boxes.tolist()}"
        if n and not (boxes[:, 2:] > boxes[:, :2]).all():
            return f"boxes without area: {boxes.tolist()}"
        if n and not (record.labels.min() >= 0 and record.labels.max() < len(source.classes)):
            return f"labels {record.labels.tolist()} of {len(source.classes)} classes"
        if not np.isfinite(record.area).all() or (record.area < 0).any():
            return f"area {record.area.tolist()}"
    if any(not isinstance(name, str) or not name.strip() for name in source.classes):
        return f"class names {source.classes}"
    return ""


def opened(spec: str):
    """Return a function that opens a SOURCE and reads the pictures of its records."""

    def read():
        source = load_source(spec)
        for record in [source[i] for i in range(min(len(source), 8))]:
            load_image(record)
        return source

    return read


def voc(folder: Path) -> dict[str, Format]:
    """A VOC folder: an annotation, and the list of a split."""
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    (folder / "JPEGImages" / "a.jpg").write_bytes(picture())
    (folder / "JPEGImages" / "b.jpg").write_bytes(picture())
    xml = (
        b"<annotation><folder>x</folder><filename>a.jpg</filename><size><width>16</width>"
        b"<height>12</height><depth>3</depth></size><object><name>cat</name><difficult>1</difficult>"
        b"<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>8</xmax><ymax>9</ymax></bndbox></object>"
        b"<object><name>dog</name><bndbox><xmin>3.5</xmin><ymin>2</ymin><xmax>16</xmax>"
        b"<ymax>12</ymax></bndbox></object></annotation>"
    )
    annotations = folder / "Annotations"
    (annotations / "a.xml").write_bytes(xml)
    (annotations / "b.xml").write_bytes(xml.replace(b"a.jpg", b"b.jpg"))
    splits = folder / "ImageSets" / "Main"
    (splits / "one.txt").write_text("a\n")
    seeds = (b"a\nb\n", b"a  1\nb -1\n", b"a.jpg\nb.jpg\n")
    return {
        "VOC XML": Format(
            (xml, xml.replace(b"cat", "猫".encode())),
            mutate_xml,
            annotations / "a.xml",
            opened(f"voc:{folder}:one"),
            lambda source, data: check_source(source, data) or check_xml(data),
        ),
        "VOC split list": Format(
            seeds, mutate_lines, splits / "all.txt", opened(f"voc:{folder}:all"), check_source
        ),
    }


def check_xml(data: bytes) -> str:
    """An XML that was read has its root element, opened and closed."""
    for encoding in ("utf-8-sig", "utf-16", "gb18030", "latin-1"):
        with contextlib.suppress(UnicodeError):
            text = data.decode(encoding)
            if "<annotation" in text and "</annotation" in text:
                return ""
    return "no <annotation> ... </annotation>"


def coco(folder: Path) -> dict[str, Format]:
    """A COCO JSON."""
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(picture())
    box = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 5, 6], "area": 30, "iscrowd": 0}
    content = {
        "images": [
            {"id": 1, "file_name": "a.jpg", "width": 16, "height": 12},
            {"id": 2, "file_name": "a.jpg"},
        ],
        "annotations": [box, box | {"id": 2, "image_id": 2, "category_id": 7, "iscrowd": 1}],
        "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
    }
    path = folder / "ann.json"
    seeds = (json.dumps(content).encode(), json.dumps(content, indent=1).encode("utf-8-sig"))
    read = opened(f"coco:{path}:{folder}")

    def check(source, data):
        return check_source(source, data) or check_json(data)

    return {"COCO JSON": Format(seeds, mutate_json, path, read, check)}


def check_json(data: bytes) -> str:
    """A JSON that was read is one that Python reads too."""
    try:
        json.loads(data)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"
    return ""


def yolo(folder: Path) -> dict[str, Format]:
    """The files of a data.yaml and of a Darknet .data: descriptions, names, lists and labels."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for name in "ab":
        (folder / "images" / f"{name}.jpg").write_bytes(picture())
        (folder / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.5 0.5\n1 .5 .5 1 1\n")
    files = {
        "fixed.yaml": "path: .\ntrain: one.txt\nval: images\nnames: [cat, dog]\n",
        "fixed.data": "train = list.txt\nnames = fixed.names\n",
        "names.data": "train = one.txt\nnames = some.names\n",
        "fixed.names": "cat\ndog\n",
        "one.txt": "images/a.jpg\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    label = folder / "labels" / "a.txt"

    def of(spec, path, *seeds, mutate=mutate_lines, check=check_source):
        texts = tuple(seed.encode() for seed in seeds)
        return Format(texts, mutate, path, opened(f"darknet:{folder}/{spec}"), check)

    return {
        "label txt": of(
            "fixed.yaml:train",
            label,
            "0 0.5 0.5 0.5 0.5\n1 .25 .25 .5 .5\n",
            "1 0.5 0.5 0.5 0.5 0.9\n0 0.1 0.1 0.9 0.1 0.5 0.8\n",
            "",
            check=lambda source, data: check_source(source, data) or check_labels(data),
        ),
        "data.yaml": of(
            "data.yaml:train",
            folder / "data.yaml",
            "path: .\ntrain: images\nval: one.txt\nnc: 2\nnames: [cat, dog]\n",
            "train: [images, one.txt]\nval: images\nnames:\n  0: cat\n  1: dog\n",
            mutate=mutate_yaml,
        ),
        ".data": of(
            "some.data:train",
            folder / "some.data",
            "classes = 2\ntrain = one.txt\nvalid=images\nnames = fixed.names\nbackup = b\n",
        ),
        ".names of a data set": of("names.data:train", folder / "some.names", "cat\ndog\n"),
        "list of pictures": of(
            "fixed.data:train", folder / "list.txt", "images/a.jpg\nimages/b.jpg\n"
        ),
    }


LABEL = re.compile(r"[-+0-9.eE_]+(\s+[-+0-9.eE_]+){4,}")


def check_labels(data: bytes) -> str:
    """Every line that was read has a class and at least four numbers."""
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    lines = data.decode(encoding, "replace").splitlines()
    bad = [line for line in lines if line.strip() and not LABEL.fullmatch(line.strip())]
    return f"line {bad[0]!r}" if bad else ""


def pictures(folder: Path) -> dict[str, Format]:
    """Encoded pictures, with and without an EXIF orientation."""
    folder.mkdir(parents=True)
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    jpeg = picture()
    turned = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    formats = {}
    for suffix, seeds, mutate in (
        (".jpg", (jpeg, turned), mutate_bytes),
        (".png", (picture(".png"),), mutate_png),
        (".webp", (picture(".webp"),), mutate_bytes),
        (".bmp", (picture(".bmp"),), mutate_bytes),
        (".tif", (picture(".tiff"),), mutate_bytes),
    ):
        file = folder / f"a{suffix}"
        record = Record("a", file, *np.zeros((2, 0, 4), np.float32), *[np.zeros(0, bool)] * 3)

        def read(record=record):
            return load_image(record)

        formats[f"picture {suffix}"] = Format(seeds, mutate, file, read, check_picture)
    return formats


def check_picture(result, data: bytes) -> str:
    """A decoded picture is uint8 RGB."""
    image = result if isinstance(result, np.ndarray) else result[-1]
    good = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size
    return "" if good else f"{image.dtype} {image.shape}"
