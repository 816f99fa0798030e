"""Pictures with one class each: a folder per class, or the class at the start of file names.

ROOT/<class>/**/<picture>, or ROOT/<class>_<anything>.jpg as in samples of ImageNet. Folders may be
links, and loops of links end; names that start with a dot are left out. A class is one line of text
in UTF-8.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from yolojax.data.parsing import (
    RecordList,
    check_names,
    class_index,
    collect,
    is_one_line,
    make_record,
    printable,
    unique_ids,
)
from yolojax.data.records import BadRecord, Record
from yolojax.files import PICTURE_SUFFIXES, pictures_below


def load_folder(
    root: Path,
    split: str = "",
    *,
    name: str = "",
    classes: Sequence[str] = (),
    on_bad_record: str = "error",
) -> RecordList:
    """Load the pictures below ROOT, or below ROOT/<split>, with the class in their path.

    Args:
        classes: names in label order; by default all in the paths, sorted.
        on_bad_record: "error", or "skip" to skip pictures of another class, or of none.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it has no pictures, or `classes` has a repeated name.
        BadRecord: a picture has no class, or one that is not in `classes`.
    """
    folder = root / split
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{folder}: not a folder; folder:ROOT[:SPLIT] reads ROOT/SPLIT.")
    pictures = pictures_below(folder)
    if not pictures:
        raise ValueError(f"{folder}: has no pictures ({', '.join(PICTURE_SUFFIXES)}).")
    class_of = _class_of_folder if any(p.parent != folder for p in pictures) else _class_of_file
    if classes:
        classes = check_names(classes, f"the classes of folder:{folder}")
    else:
        classes = _classes_of(pictures, folder, class_of)
    index = {class_name: label for label, class_name in enumerate(classes)}

    def read(item: tuple[Path, str]) -> Record:
        path, image_id = item
        label = class_index(_usable(class_of(folder, path), path), index, str(path))
        return make_record(image_id, path, (1, 1), [], [])._replace(label=label)

    names = (path.relative_to(folder).with_suffix("").as_posix() for path in pictures)
    items = zip(pictures, unique_ids(map(printable, names)), strict=True)
    records, skipped = collect(read, items, on_bad_record)
    return RecordList(name or f"folder:{root}:{split}", classes, records, skipped)


def _classes_of(paths, folder, class_of) -> tuple[str, ...]:
    """List the classes of `paths`, sorted; paths without a class are ignored."""
    classes = set()
    for path in paths:
        with suppress(BadRecord):  # reported when the record is made
            classes.add(_usable(class_of(folder, path), path))
    return tuple(sorted(classes))


def _usable(class_name: str, path: Path) -> str:
    if not is_one_line(class_name):
        raise BadRecord(f"{path}: its class {class_name!r} is not one line of text in UTF-8.")
    return class_name


def _class_of_folder(folder: Path, path: Path) -> str:
    if path.parent == folder:
        raise BadRecord(f"{path}: is next to the class folders, not in one of them.")
    return path.relative_to(folder).parts[0]


def _class_of_file(folder: Path, path: Path) -> str:
    head, underscore, _ = path.stem.partition("_")
    if not underscore:
        raise BadRecord(
            f"{path}: no class; put pictures into a folder for each class, or name them "
            "<class>_<anything>."
        )
    return head
