"""SOURCE strings, which name a data set in every config and command.

    voc:ROOT[:SPLIT]          a VOC folder (Annotations, JPEGImages, ImageSets), or XML next to JPG
    coco:JSON[:IMAGE_DIR]     a COCO JSON and its pictures; by default in images/ next to it, or
                              else in the folder of the JSON
    darknet:FILE[:SPLIT]      a data.yaml, or a Darknet .data file
    tfds:NAME[:SPLIT]         a prepared TFDS set: a name, or its folder
    folder:ROOT[:SPLIT]       pictures of one class each, in ROOT/CLASS/ or named CLASS_*.jpg
    shapes:[SPLIT]            drawn on the fly

Join several with +. Without a SPLIT, all pictures are read.
"""

import os
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from yolojax.data.parsing import check_names
from yolojax.data.records import Record, Source, check_on_bad_record
from yolojax.data.sources.coco import load_coco
from yolojax.data.sources.darknet import load_darknet
from yolojax.data.sources.folder import load_folder
from yolojax.data.sources.selection import select
from yolojax.data.sources.shapes import load_shapes
from yolojax.data.sources.tfds import load_tfds
from yolojax.data.sources.voc import load_voc
from yolojax.suggestions import did_you_mean

FORMS = {
    "voc": "voc:ROOT[:SPLIT]",
    "coco": "coco:JSON[:IMAGE_DIR]",
    "darknet": "darknet:FILE[:SPLIT]",
    "tfds": "tfds:NAME[:SPLIT]",
    "folder": "folder:ROOT[:SPLIT]",
    "shapes": "shapes:[SPLIT]",
}
# A + inside a tfds split does not join: a scheme must follow.
JOIN = re.compile(rf"\s*\+\s*(?=(?:{'|'.join(FORMS)}):)")
SPLIT = re.compile(r"(?!\.)[\w.-]*")  # no / and no \, so that a part of a path is not a split


@dataclass(frozen=True)
class ConcatenatedSource:
    """Sources one after the other; image_id is prefixed by the source's number ("1/000005")."""

    name: str
    classes: tuple[str, ...]
    parts: tuple[Source, ...]

    @property
    def skipped(self) -> list[str]:
        """The messages of skipped records of all parts."""
        return [message for part in self.parts for message in part.skipped]

    @property
    def notes(self) -> list[str]:
        """The notes of all parts."""
        return [note for part in self.parts for note in part.notes]

    @property
    def warnings(self) -> list[tuple[str, str]]:
        """The warnings of all parts."""
        return [w for part in self.parts for w in getattr(part, "warnings", ())]

    @property
    def unreadable(self) -> list[tuple[Record, str]]:
        """The records of all parts whose pictures cannot be read, and messages."""
        return [
            (record._replace(image_id=f"{number}/{record.image_id}"), message)
            for number, part in enumerate(self.parts)
            for record, message in getattr(part, "unreadable", ())
        ]

    @property
    def category_ids(self) -> tuple[int, ...]:
        """The COCO ids of the classes if all parts have the same ones, otherwise ()."""
        (first, *others) = (getattr(part, "category_ids", ()) for part in self.parts)
        return first if all(ids == first for ids in others) else ()

    @property
    def original_ids(self) -> dict[str, Any]:
        """The ids in the annotation files of all parts; {} if an id is in two of them."""
        ids = {
            f"{number}/{image_id}": original
            for number, part in enumerate(self.parts)
            for image_id, original in getattr(part, "original_ids", {}).items()
        }
        return ids if len(set(ids.values())) == len(ids) else {}

    @property
    def annotated(self) -> bool:
        """Whether all parts have ground truth."""
        return all(getattr(part, "annotated", True) for part in self.parts)

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, index: int) -> Record:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is outside of {len(self)} records.")
        index %= len(self)
        ends = list(accumulate(map(len, self.parts)))
        which = bisect_right(ends, index)
        record = self.parts[which][index - ends[which] + len(self.parts[which])]
        return record._replace(image_id=f"{which}/{record.image_id}")


def load_source(
    spec: str,
    *,
    dir: str = "",
    on_bad_record: str = "error",
    classes: Sequence[str] = (),
    keep_classes: Sequence[str] = (),
    rename: Sequence[tuple[str, str]] = (),
    strict: bool = True,
) -> Source:
    """Open the data set that a SOURCE string names.

    Args:
        spec: one SOURCE, or several joined with +.
        dir: where relative paths start; also tfds' data_dir.
        on_bad_record: "error", or "skip" to skip bad records and list them in `skipped`.
        classes: names in label order, to which labels are mapped by name; by default
            `keep_classes`, or those of the (first) source. A record with an object of another class
            is bad.
        keep_classes: boxes of other classes are left out; (): none are.
        rename: pairs of a class and its new name, which `classes` and `keep_classes` have.
        strict: whether a class in `keep_classes` or `rename` that the data lacks is an error.

    Raises:
        FileNotFoundError, ValueError: the string, or what it names, is wrong.
        ValueError: `classes` has a repeated name; and as `selection.select`.
        BadRecord: an annotation cannot be used, and `on_bad_record` is "error".
    """
    check_on_bad_record(on_bad_record)
    if "\0" in spec + dir:
        raise ValueError(f"SOURCE and dir must be text without NUL, got {spec!r} and {dir!r}.")
    if classes:
        check_names(classes, "the classes that labels are mapped to")
    is_selected = bool(keep_classes or rename)
    wanted, parts = tuple(classes), []
    for part in JOIN.split(spec):
        source = _load_one(part, dir, on_bad_record, () if is_selected else wanted, is_selected)
        _check_usable(source, part)
        parts.append(source)
        wanted = wanted if is_selected else source.classes
    if is_selected:
        options = {"on_bad_record": on_bad_record, "strict": strict}
        parts = select(parts, classes=classes, keep=keep_classes, rename=rename, **options)
        for source in parts:
            _check_usable(source, source.name)
    parts[0].notes.extend(_alike(parts[0].classes))
    return parts[0] if len(parts) == 1 else ConcatenatedSource(spec, parts[0].classes, (*parts,))


def _check_usable(source: Source, spec: str) -> None:
    if not len(source):
        first = f" The first skipped record: {source.skipped[0]}" if source.skipped else ""
        raise ValueError(f"{spec}: has no usable record.{first}")


def _alike(classes: Sequence[str]) -> list[str]:
    """Return a note for each group of classes that differ in case, blanks, "_" and "-" alone."""
    groups: dict[str, list[str]] = {}
    for name in classes:
        key = "".join(c for c in name.casefold() if not c.isspace() and c not in "_-")
        groups.setdefault(key, []).append(name)
    return [
        f"the classes {', '.join(map(repr, names))} differ in case or spacing alone; if they are "
        f"one, join them, as with --config.data.rename.{names[0]}={names[1]}."
        for names in groups.values()
        if len(names) > 1
    ]


def _load_one(
    spec: str, dir: str, on_bad_record: str, classes: tuple[str, ...], all_names: bool
) -> Source:
    scheme, colon, rest = spec.partition(":")
    if not colon or scheme not in FORMS:
        hint = did_you_mean(scheme, FORMS, "{}:")
        forms = ", ".join(FORMS.values())
        raise ValueError(f"SOURCE must be one of {forms}, got {spec!r}.{hint}")
    if not rest and scheme != "shapes":
        raise ValueError(f"SOURCE must be {FORMS[scheme]}, got {spec!r}.")
    if scheme == "shapes":
        return load_shapes(rest, name=spec, classes=classes)
    options = {"name": spec, "classes": classes, "on_bad_record": on_bad_record}
    if scheme == "tfds":
        dataset, _, split = rest.partition(":")
        return load_tfds(dataset, split, data_dir=dir, **options)
    if scheme == "coco":
        return load_coco(*_cut_folder(rest, dir), **options)
    path, split = _cut_split(rest, dir)
    if scheme == "voc":
        return load_voc(_place(path, dir), split, all_names=all_names, **options)
    load = {"darknet": load_darknet, "folder": load_folder}[scheme]
    return load(_place(path, dir), split, **options)


def _cut_folder(rest: str, dir: str) -> tuple[Path, Path]:
    """Split JSON[:IMAGE_DIR], whose parts may have colons, at the colon where both exist."""
    cuts = [i for i, c in enumerate(rest) if c == ":" and rest[i + 1 :]]
    alone = _place(rest.rstrip(":"), dir)
    if not cuts or os.path.isfile(alone):
        images = alone.parent / "images"
        return alone, images if os.path.isdir(images) else alone.parent
    pairs = [(_place(rest[:i], dir), _place(rest[i + 1 :], dir)) for i in cuts]
    both = (pair for pair in pairs if os.path.isfile(pair[0]) and os.path.isdir(pair[1]))
    likely = (pair for pair in pairs if pair[0].suffix.lower() == ".json")
    return next(both, None) or next(likely, pairs[0])


def _cut_split(rest: str, dir: str) -> tuple[str, str]:
    """Split PATH[:SPLIT] into path and split; a path with a colon that exists has no split."""
    path, colon, split = rest.rpartition(":")
    if not colon or not SPLIT.fullmatch(split):
        return rest, ""
    is_path = os.path.exists(_place(rest, dir)) and not os.path.exists(_place(path, dir))
    return (rest, "") if is_path else (path, split)


def _place(path: str, dir: str) -> Path:
    return Path(os.path.expanduser(dir)) / os.path.expanduser(path)
