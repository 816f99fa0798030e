"""The files of a VOC data set: which annotations a split has, and the picture of each.

The layouts, whose folders may have any letter case and may be links:

    ROOT/Annotations/**/NAME.xml, ROOT/JPEGImages/**/NAME.jpg, ROOT/ImageSets/Main/SPLIT.txt
    ROOT/annotations/**/NAME.xml, ROOT/images/**/NAME.jpg      a split is a folder in annotations/
    ROOT/SPLIT/NAME.xml next to ROOT/SPLIT/NAME.jpg             or ROOT/NAME.xml, ROOT/NAME.jpg
    ROOT/SPLIT/annotations/NAME.xml, ROOT/SPLIT/images/NAME.jpg

A line of SPLIT.txt is a NAME, with folders and blanks, maybe in double quotes; it may end in the
suffix of a picture, or have a second column of -1, 0 or 1, as the lists of one class
(cat_train.txt). Folders up to JPEGImages or images, as of another machine, are ignored.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from yolojax.data.parsing import printable, short_repr, unique_ids
from yolojax.data.records import BadRecord
from yolojax.data.sources.name_index import NameIndex
from yolojax.files import PICTURE_SUFFIXES, files_below, read_lines

ANNOTATIONS = ("annotations", "annotation", "xmls", "xml", "labels")  # the first that has XML
PICTURES = ("jpegimages", "images", "image", "imgs", "img")
SECOND_COLUMN = re.compile(r"\s+(-1|0|1)$")
QUOTED = re.compile(r'"([^"]+)"(\s+(-1|0|1))?')


class Listed(NamedTuple):
    """An annotation of a split."""

    image_id: str
    name: str  # path below the folder of annotations, without suffix
    path: Path | None  # None: there is no such annotation, for the reason in `error`
    error: str = ""


class VocFiles:
    """The annotations and pictures below a root.

    Raises:
        FileNotFoundError: there are none in any of the layouts; the message has near folders.
    """

    def __init__(self, root: Path):
        """List the files."""
        parts = _parts(root)
        annotations = [
            item for part in parts for item in _named(part.annotations, part.prefix, (".xml",))
        ]
        pictures = [
            item for part in parts for item in _named(part.pictures, part.prefix, PICTURE_SUFFIXES)
        ]
        self.root = root
        self.annotations = dict(sorted(annotations))
        self._places = ", ".join(str(part.pictures) for part in parts[:3])
        self._names = {path: name for name, path in annotations}
        self._own, self._pictures = NameIndex(annotations), NameIndex(pictures)
        self._picture_names = {path: name for name, path in pictures}

    def split(self, split: str) -> list[Listed]:
        """List the annotations of a split, in its order, or all for ""; val and valid are one.

        Raises:
            FileNotFoundError: there is no such split; the message lists the splits.
            ValueError: it is empty, or its list is not text.
        """
        other = {"val": "valid", "valid": "val"}.get(split)
        if other and not self._has(split) and self._has(other):
            split = other
        if path := self._list_file(split):
            lines = enumerate(read_lines(path), 1)
            listed = [self._line(line, f"{path}:{number}") for number, line in lines if line]
            if not listed:
                raise ValueError(f"{path}: split {split!r} lists no pictures.")
        else:
            start = f"{split}/" if split else ""
            listed = [
                Listed(name.removeprefix(start), name, path)
                for name, path in self.annotations.items()
                if name.startswith(start)
            ]
            if not listed:
                raise FileNotFoundError(self._no_split(split))
        ids = unique_ids(printable(item.image_id) for item in listed)
        return [item._replace(image_id=own) for item, own in zip(listed, ids, strict=True)]

    def _has(self, split: str) -> bool:
        in_folder = any(name.startswith(f"{split}/") for name in self.annotations)
        return in_folder or self._list_file(split) is not None

    def _list_file(self, split: str) -> Path | None:
        lists = _lists(self.root)
        path = lists / f"{split}.txt" if lists and split else None
        return path if path and os.path.isfile(path) else None

    def _line(self, line: str, place: str) -> Listed:
        names = list(_readings(line))
        for name in names:
            if found := self._own.at(name):
                own = self._names[found[0]]
                several = "" if len(found) == 1 else f"{place}: may be {found[0]} or {found[1]}."
                return Listed(own, own, None if several else found[0], several)
        error = f"{place}: there is no annotation {short_repr(f'{names[-1]}.xml')}."
        return Listed(names[-1], names[-1], None, error)

    def _no_split(self, split: str) -> str:
        lists = _lists(self.root)
        there = sorted(p.stem for p in lists.glob("*.txt")) if lists else []
        there += dict.fromkeys(name.partition("/")[0] for name in self.annotations if "/" in name)
        place = lists / f"{split}.txt" if lists else self.root / split
        known = ", ".join(there) or "none"
        return f"{place}: no such split; there are: {known}. Without a split, all are read."

    def picture(self, name: str, written: str) -> Path:
        """Find the picture of annotation `name`: by that name, or else by its <filename>.

        Raises:
            BadRecord: there is none, or it is ambiguous, or another annotation has its name.
        """
        base = written.replace("\\", "/").rpartition("/")[2]
        if found := self._pictures.at(name) or self._pictures.at(_without_suffix(name)):
            return _choose(found, base)
        folder = name.rpartition("/")[0]
        beside = self._pictures.at(f"{folder}/{_without_suffix(base)}") if base and folder else []
        found = beside or (self._pictures.find(_without_suffix(written)) if base else [])
        if not found and self._own.count_base(name) == 1:
            found = self._pictures.find(name)
        if not found:
            raise BadRecord(
                f"neither {name}{PICTURE_SUFFIXES[0]} nor <filename> {short_repr(written)} is in "
                f"{self._places}."
            )
        picture = _choose(found, base)
        if self._own.at(self._picture_names[picture]):
            raise BadRecord(
                f"no picture has its name, and <filename> {short_repr(written)} is the picture of "
                "another annotation."
            )
        return picture

    def not_annotated(self, split: str, used: set[Path]) -> list[str]:
        """Return a note of the pictures that no annotation has, if the split is not a list.

        `used` are the pictures of the records.
        """
        start = f"{split}/" if split else ""
        pictures = [
            path
            for path, name in self._picture_names.items()
            if name.startswith(start) and path not in used and not self._own.at(name)
        ]
        if not pictures or self._list_file(split):
            return []
        return [f"pictures left out, as they have no XML file: {len(pictures)} ({pictures[0]})."]


class _Part(NamedTuple):
    prefix: str
    annotations: Path
    pictures: Path


def _parts(root: Path) -> list[_Part]:
    """Find the folders of annotations and pictures: one pair, or one for each split."""
    if not os.path.isdir(root):
        raise FileNotFoundError(f"{root}: no such folder; voc:ROOT[:SPLIT] reads a VOC folder.")
    if part := _part(root, ""):
        return [part]
    children = [path for path in _folders(root).values() if "imagesets" not in _folders(path)]
    parts = [part for path in children if (part := _part(path, _prefix(path)))]
    if parts:
        return parts
    nearby = sorted({p.parent for at in ("*", "*/*") for p in root.glob(f"{at}/Annotations")})
    layout = "A VOC folder has Annotations/, JPEGImages/ and ImageSets/Main/, or XML next to JPG."
    hint = f"Did you mean {', '.join(map(str, nearby))}?" if nearby else layout
    raise FileNotFoundError(
        f"{root}: no XML files in it, nor in a folder Annotations or annotations. {hint}"
    )


def _part(folder: Path, prefix: str) -> _Part | None:
    folders = _folders(folder)
    candidates = [folders[name] for name in ANNOTATIONS if name in folders]
    with_xml = (path for path in candidates if _has_xml(path) or files_below(path, (".xml",)))
    annotations = next(with_xml, folder if _has_xml(folder) else None)
    pictures = next((folders[name] for name in PICTURES if name in folders), folder)
    return _Part(prefix, annotations, pictures) if annotations else None


def _prefix(folder: Path) -> str:
    """Return the start of names in a folder of a split; XML in images/ is no split."""
    return "" if folder.name.lower() in PICTURES else f"{folder.name}/"


def _has_xml(folder: Path) -> bool:
    return any(n.lower().endswith(".xml") and not n.startswith(".") for n in os.listdir(folder))


def _folders(folder: Path) -> dict[str, Path]:
    """Return the folders in `folder` by their names in lower case."""
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise ValueError(f"{folder}: cannot be listed ({error.strerror}).") from error
    folders: dict[str, Path] = {}
    for name in names:
        if os.path.isdir(folder / name):
            folders.setdefault(name.lower(), folder / name)  # Annotations before annotations
    return folders


def _lists(root: Path) -> Path | None:
    """Return ROOT/ImageSets/Main, or ROOT/ImageSets."""
    lists = _folders(root).get("imagesets")
    return _folders(lists).get("main", lists) if lists else None


def _named(folder: Path, prefix: str, suffixes: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """Yield (path below `folder` without suffix, path) of the files below `folder`."""
    start = 0 if str(folder) == "." else len(os.path.join(folder, ""))
    for path in files_below(folder, suffixes):
        yield prefix + os.path.splitext(str(path)[start:])[0], path


def _readings(line: str) -> Iterator[str]:
    """Yield what a line of a list may name, the likeliest last; see the docstring of this file."""
    quoted = QUOTED.fullmatch(line)
    for name in (quoted[1],) if quoted else (line, SECOND_COLUMN.sub("", line)):
        parts = name.replace("\\", "/").split("/")
        folders = [i for i, part in enumerate(parts[:-1]) if part.lower() in ANNOTATIONS + PICTURES]
        name = "/".join(parts[folders[-1] + 1 if folders else 0 :])
        yield name
        yield _without_suffix(name)


def _without_suffix(name: str) -> str:
    """Remove the suffix of a picture, or .xml."""
    head, dot, suffix = name.rpartition(".")
    return head if f"{dot}{suffix}".lower() in (*PICTURE_SUFFIXES, ".xml") else name


def _choose(pictures: list[Path], written: str) -> Path:
    """Choose from pictures of one name: that with the name `written`, or by the suffix.

    Raises:
        BadRecord: two differ in nothing but letter case or folder.
    """
    named = [picture for picture in pictures if picture.name.lower() == written.lower()]
    order = {suffix: rank for rank, suffix in enumerate(PICTURE_SUFFIXES)}
    ranked = sorted(named or pictures, key=lambda picture: order[picture.suffix.lower()])
    if len(ranked) > 1 and ranked[0].suffix.lower() == ranked[1].suffix.lower():
        raise BadRecord(f"its picture may be {ranked[0]} or {ranked[1]}.")
    return ranked[0]
