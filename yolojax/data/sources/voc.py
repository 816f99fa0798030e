"""Pascal VOC annotations: one XML file for each picture. `voc_files` has the layouts of folders.

    <annotation>
      <filename>NAME.jpg</filename>           used if no picture has the name of the XML file
      <size><width>, <height></size>          whole numbers; missing, empty or 0: not stated
      <object>                                any number
        <name>                                one of the classes
        <difficult>                           1 or true: difficult; anything else: not
        <bndbox><xmin>, <ymin>, <xmax>, <ymax></bndbox>   decimal numbers

Other elements are ignored, and of several of one name the first is taken. Text may have blanks
around it. VOC pixel coordinates are 1-based and inclusive, so the continuous box is (xmin - 1,
ymin - 1, xmax, ymax). Its width xmax - xmin + 1 is the one in the development kit's overlaps.

The encoding is that of the byte order mark, or else the declared one, or else UTF-8, which is also
taken where the declaration is clearly wrong. "ANSI" names no encoding: such a file is read as
UTF-8, and other bytes are allowed where they are not used.
"""

import codecs
import re
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
    is_one_line,
    make_record,
    read_names,
    refuse_fractions,
    short_repr,
    stated_size,
    to_number,
)
from yolojax.data.records import BadRecord, Record, UnreadablePicture, read_bytes
from yolojax.data.sources.voc_files import Listed, VocFiles
from yolojax.files import shorten

NAME_FILES = ("labels.txt", "classes.txt", "voc.names", "*.names", "labelmap.txt")
MARKS = (  # the UTF-32 mark starts with the UTF-16 one
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
DECLARED = re.compile(rb"<\?xml[^>]{0,200}?\sencoding\s*=\s*[\"']([\w.:-]{1,40})[\"']")
NOT_ENCODINGS = {"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "utf-7"}
NOT_DECODED = "\ufffd"  # in place of bytes of an ANSI file
OTHER_SHAPES = ("robndbox", "polygon", "segmentation", "mask")


def load_voc(
    root: Path,
    split: str = "",
    *,
    name: str = "",
    classes: Sequence[str] = (),
    on_bad_record: str = "error",
    all_names: bool = False,
) -> RecordList:
    """Load the pictures of a split, or without one all annotated ones.

    Args:
        root: a folder in one of the layouts of `voc_files`.
        classes: names in label order; by default ROOT's list of names if it has one, else the 20
            of VOC if no annotation of ROOT has another, else all names in them, sorted.
        on_bad_record: "error", or "skip" to skip bad records and list them in `skipped`.
        all_names: whether names that ROOT's list lacks are classes too, behind those of the list.

    Raises:
        FileNotFoundError: a folder or the split is missing; the message lists the splits.
        ValueError: the split is empty, or a list of pictures or of names is malformed.
        BadRecord: an annotation cannot be used; the message names file and object.
    """
    files = VocFiles(root)
    listed = files.split(split)
    classes = tuple(classes) or _find_classes(files, all_names)
    index = {class_name: label for label, class_name in enumerate(classes)}
    unreadable: list[tuple[Record, str]] = []
    records, skipped = collect(
        lambda item: _read_record(files, item, index), listed, on_bad_record, unreadable
    )
    notes = files.not_annotated(split, {record.image for record in records})
    more = {"notes": notes, "unreadable": unreadable}
    return RecordList(name or f"voc:{root}:{split}", classes, records, skipped, **more)


def _find_classes(files: VocFiles, all_names: bool) -> tuple[str, ...]:
    listed = _listed_classes(files)
    if listed and not all_names:
        return listed
    names = set()
    for path in files.annotations.values():
        try:
            names |= {_text(element, "name") for element in _objects(_parse(path))}
        except BadRecord:
            continue  # reported when its own split is read
    if not listed and names <= {*VOC_CLASSES, ""}:
        return VOC_CLASSES
    usable = sorted(name for name in names if is_one_line(name) and NOT_DECODED not in name)
    return check_names(tuple(dict.fromkeys((*listed, *usable))), files.root)


def _listed_classes(files: VocFiles) -> tuple[str, ...]:
    for pattern in NAME_FILES:
        found = sorted(p for p in files.root.glob(pattern) if not p.name.startswith("."))
        if found:
            return _labelmap(found[0]) if pattern == "labelmap.txt" else read_names(found[0])
    return ()


def _labelmap(path: Path) -> tuple[str, ...]:
    """Read CVAT's lines `name:r,g,b:parts:actions`; its class background has no objects."""
    lines = [line for line in read_names(path) if not line.startswith("#")]
    names = [line.rsplit(":", 3)[0].strip() for line in lines]
    return check_names([name for name in names if name != "background"], path)


def _parse(path: Path) -> Element:
    text = _decode(read_bytes(path), path)
    try:
        root = ElementTree.fromstring(text)
    except (ParseError, ValueError, DefusedXmlException) as error:
        raise BadRecord(f"{path}: not a usable XML file: {shorten(str(error), 200)}.") from error
    if root.tag.lower() == "annotations" and root.find("image") is not None:
        raise BadRecord(
            f'{path}: is a "CVAT for images" XML, of many pictures; export as "Pascal VOC".'
        )
    if root.tag.lower() != "annotation":
        raise BadRecord(f"{path}: the outer element must be <annotation>, not <{root.tag[:60]}>.")
    return root


def _decode(data: bytes, path: Path) -> str:
    encoding = next((encoding for mark, encoding in MARKS if data.startswith(mark)), "")
    declared = None if encoding else DECLARED.match(data)
    if declared:
        encoding = _python_encoding(declared[1].decode(errors="replace"))
    if encoding == "ansi":
        return data.decode(errors="replace")
    try:
        name = codecs.lookup(encoding or "utf-8").name
        if name in NOT_ENCODINGS:
            raise LookupError
        return (declared and _certain_utf8(data, name)) or data.decode(name)
    except LookupError:
        rule = "is no known encoding; save the file in UTF-8."
        raise BadRecord(f"{path}: encoding={encoding!r} {rule}") from None
    except UnicodeError as error:
        raise BadRecord(f"{path}: is not in its encoding: {error}; save it in UTF-8.") from None


def _certain_utf8(data: bytes, declared: str) -> str:
    """Decode a file in UTF-8 that declares another encoding; "" if it may well be that one.

    Text in another encoding has hardly ever only characters of UTF-8. Two characters of GBK and its
    like may be one of two bytes by chance, so those need one of three bytes.
    """
    try:
        text = "" if data.isascii() else data.decode()
    except UnicodeDecodeError:
        return ""
    first = (
        "\x80" if declared.startswith(("ascii", "iso8859", "cp125", "koi8", "mac")) else "\u0800"
    )
    return text if any(character >= first for character in text) else ""


def _python_encoding(declared: str) -> str:
    """Return Python's name of an encoding that a file of 8-bit characters declares."""
    name = declared.lower().removeprefix("x-")
    if name.startswith(("utf-16", "utf16", "utf-32", "utf32", "ucs", "unicode")):
        return "utf-8"  # programs that write text declare it so, and then save it in UTF-8
    return {"gb2312": "gb18030", "gbk": "gb18030"}.get(name, name)  # supersets


def _objects(annotation: Element) -> list[Element]:
    return annotation.findall("object")


def _text(element: Element, path: str) -> str:
    return element.findtext(path, "").strip()


def _read_record(files: VocFiles, item: Listed, index: dict[str, int]) -> Record:
    if item.path is None:
        raise BadRecord(item.error)
    annotation = _parse(item.path)
    sides = (_text(annotation, f"size/{side}") for side in ("width", "height"))
    missing, stated = "", stated_size(*sides, f"{item.path}: <size>")
    try:
        picture = files.picture(item.name, _text(annotation, "filename"))
    except BadRecord as bad:
        missing, picture = f"{item.path}: {bad}", item.path
        if not stated:
            raise BadRecord(missing) from None
    size = stated or image_size(picture, picture)
    boxes, labels, difficult = [], [], []
    for number, element in enumerate(_objects(annotation), 1):
        class_name = _text(element, "name")
        shown = shorten(" ".join(class_name.split())) or "no name"
        place = f"{item.path}: object {number} ({shown})"
        if NOT_DECODED in class_name:
            raise BadRecord(f"{place}: the name is not in UTF-8, nor another known encoding.")
        labels.append(class_index(class_name, index, place))
        boxes.append(clip_box(_read_box(element, place), *size, place))
        difficult.append(_text(element, "difficult").lower() in ("1", "true"))
    record = make_record(
        item.image_id, picture, size, boxes, labels, difficult=difficult, stated=stated
    )
    if missing:
        raise UnreadablePicture(missing, record)
    return record


def _read_box(element: Element, place: str) -> tuple[float, ...]:
    """Read a box as continuous xyxy in pixels; see the docstring of this file."""
    if (box := element.find("bndbox")) is None:
        others = [f"<{tag}>" for tag in OTHER_SHAPES if element.find(tag) is not None]
        raise BadRecord(
            f"{place} has no <bndbox>{', it has ' if others else ''}{', '.join(others)}."
        )
    edges = []
    for tag in ("xmin", "ymin", "xmax", "ymax"):
        text = _text(box, tag)
        if (edge := to_number(text)) is None:
            raise BadRecord(f"{place}: <{tag}> must be a number, got {short_repr(text)}.")
        edges.append(edge)
    refuse_fractions(edges, place)
    xmin, ymin, xmax, ymax = edges
    return xmin - 1, ymin - 1, xmax, ymax
