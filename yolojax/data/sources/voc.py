"""Pascal VOC folders: ROOT/{Annotations,JPEGImages,ImageSets/Main}.

VOC pixel coordinates are 1-based and inclusive, so the continuous box is (xmin - 1, ymin - 1, xmax,
ymax). Its width xmax - xmin + 1 is the one in the development kit's overlaps.
"""

from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException, ElementTree

from yolojax.data.class_names import VOC_CLASSES
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
from yolojax.files import PICTURE_SUFFIXES, read_lines

NAME_FILES = ("labels.txt", "classes.txt", "voc.names", "*.names")


def load_voc(
    root: Path,
    split: str = "",
    *,
    name: str = "",
    classes: Sequence[str] = (),
    on_bad_record: str = "error",
) -> RecordList:
    """Load the pictures in ROOT/ImageSets/Main/<split>.txt, or without a split all annotated ones.

    Args:
        classes: names in label order; by default ROOT's list of names if it has one, else the 20
            of VOC if no annotation of ROOT has another, else all names in them, sorted.
        on_bad_record: "error", or "skip" to skip bad records and list them in `skipped`.

    Raises:
        FileNotFoundError: a folder or the split is missing; the message lists the splits.
        BadRecord: an annotation cannot be used; the message names file and object.
    """
    _check_folders(root)
    stems = _split_stems(root, split)
    classes = tuple(classes) or _find_classes(root)
    index = {class_name: label for label, class_name in enumerate(classes)}
    pictures = {path.name.lower(): path for path in (root / "JPEGImages").iterdir()}

    def read(item: tuple[str, str]) -> Record:
        stem, image_id = item
        return _read_record(root / "Annotations" / f"{stem}.xml", image_id, pictures, index)

    items = zip(stems, unique_ids(stems), strict=True)
    records, skipped = collect(read, items, on_bad_record)
    return RecordList(name or f"voc:{root}:{split}", classes, records, skipped)


def _check_folders(root: Path) -> None:
    missing = [part for part in ("Annotations", "JPEGImages") if not (root / part).is_dir()]
    if not missing:
        return
    nearby = sorted({p.parent for at in ("*", "*/*") for p in root.glob(f"{at}/Annotations")})
    layout = "A VOC folder has Annotations/, JPEGImages/ and ImageSets/Main/."
    hint = f"Did you mean {', '.join(map(str, nearby))}?" if nearby else layout
    raise FileNotFoundError(f"{root}: no folder {' and no '.join(missing)}. {hint}")


def _split_stems(root: Path, split: str) -> list[str]:
    """List the stems of the annotation files, in the order of the split."""
    if not split:
        stems = sorted(path.stem for path in (root / "Annotations").glob("*.xml"))
    else:
        lists = root / "ImageSets" / "Main"
        path = lists / f"{split}.txt"
        if not path.is_file():
            there = ", ".join(sorted(p.stem for p in lists.glob("*.txt"))) or "none"
            raise FileNotFoundError(
                f"{path}: no such split; there are: {there}. Without a split, all are read."
            )
        # The lists of one class (cat_train.txt) have a second column.
        stems = [line.split()[0] for line in read_lines(path) if line]
    if not stems:
        raise ValueError(f"{root}: split {split!r} lists no pictures.")
    return stems


def _find_classes(root: Path) -> tuple[str, ...]:
    for pattern in NAME_FILES:
        if files := sorted(root.glob(pattern)):
            return read_names(files[0])
    names = set()
    for path in (root / "Annotations").glob("*.xml"):
        try:
            names |= {element.findtext("name", "").strip() for element in _objects(_parse(path))}
        except BadRecord:
            continue  # reported when its own split is read
    if names <= set(VOC_CLASSES):
        return VOC_CLASSES
    return check_names(sorted(names - {""}), root)


def _parse(path: Path) -> Element:
    try:
        return ElementTree.parse(path).getroot()
    except OSError as error:
        raise BadRecord(f"{path}: cannot be read ({error.strerror}).") from error
    except (ParseError, UnicodeError, DefusedXmlException) as error:
        raise BadRecord(f"{path}: not a usable XML file: {error}.") from error


def _objects(annotation: Element) -> list[Element]:
    return annotation.findall("object")


def _read_record(path: Path, image_id: str, pictures: dict, index: dict[str, int]) -> Record:
    annotation = _parse(path)
    picture = _find_picture(path, annotation, pictures)
    stated = _stated_size(annotation)
    size = stated or image_size(picture, picture)
    boxes, labels, difficult = [], [], []
    for number, element in enumerate(_objects(annotation), 1):
        class_name = element.findtext("name", "").strip()
        place = f"{path}: object {number} ({class_name or 'no name'})"
        labels.append(class_index(class_name, index, place))
        boxes.append(clip_box(_read_box(element, place), *size, place))
        difficult.append(element.findtext("difficult", "0").strip() == "1")
    return make_record(image_id, picture, size, boxes, labels, difficult=difficult, stated=stated)


def _find_picture(path: Path, annotation: Element, pictures: dict[str, Path]) -> Path:
    """Find the picture by the annotation's stem, as in a split, or else by its <filename>."""
    written = annotation.findtext("filename", "").strip().replace("\\", "/").rpartition("/")[2]
    candidates = [path.stem + suffix for suffix in PICTURE_SUFFIXES]
    for candidate in (*candidates, written, *(written + suffix for suffix in PICTURE_SUFFIXES)):
        if candidate.lower() in pictures:
            return pictures[candidate.lower()]
    raise BadRecord(f"{path}: neither {candidates[0]} nor <filename> {written!r} is in JPEGImages.")


def _stated_size(annotation: Element) -> tuple[int, int] | None:
    """Read (width, height) from <size>; None if that is missing or 0."""
    sides = [annotation.findtext(f"size/{side}", "").strip() for side in ("width", "height")]
    if all(side.isdigit() and int(side) for side in sides):
        return int(sides[0]), int(sides[1])
    return None


def _read_box(element: Element, place: str) -> tuple[float, ...]:
    """Read a box as continuous xyxy in pixels; see the docstring of this file."""
    edges = []
    for tag in ("xmin", "ymin", "xmax", "ymax"):
        text = element.findtext(f"bndbox/{tag}", "").strip()
        try:
            edges.append(float(text))
        except ValueError:
            raise BadRecord(f"{place}: <{tag}> must be a number, got {text!r}.") from None
    xmin, ymin, xmax, ymax = edges
    return xmin - 1, ymin - 1, xmax, ymax
