"""Pictures that each show one class: a folder for each class, or the class in each file's name.

ROOT/<class>/**/<picture>, or ROOT/<class>_<rest of the name>.jpg as in samples of ImageNet.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from yolojax.data.parsing import RecordList, check_names, class_index, collect, make_record
from yolojax.data.records import BadRecord, Record

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


def load_folder(
    root: Path,
    split: str = "",
    *,
    name: str = "",
    classes: Sequence[str] = (),
    on_bad_record: str = "error",
) -> RecordList:
    """The pictures below ROOT, or below ROOT/<split>, with the class that each one's place says.

    Args:
        classes: names in label order; by default those found, sorted.
        on_bad_record: "error", or "skip" to leave out pictures of other classes, or of none.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no pictures in it, or a name comes twice in `classes`.
        BadRecord: a picture of a class that is not among `classes`, or of none.
    """
    folder = root / split
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: not a folder; folder:ROOT[:SPLIT] reads ROOT/SPLIT.")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not found:
        raise ValueError(f"{folder}: no pictures ({', '.join(SUFFIXES)}) there.")
    class_of = _class_of_folder if any(p.parent != folder for p in found) else _class_of_file
    if classes:
        classes = check_names(classes, f"the classes of folder:{folder}")
    else:
        classes = _classes_of(found, folder, class_of)
    index = {class_name: label for label, class_name in enumerate(classes)}

    def read(path: Path) -> Record:
        label = class_index(class_of(folder, path), index, str(path))
        image_id = path.relative_to(folder).with_suffix("").as_posix()
        return make_record(image_id, path, (1, 1), [], [])._replace(label=label)

    records, skipped = collect(read, found, on_bad_record)
    return RecordList(name or f"folder:{root}:{split}", classes, records, skipped)


def _classes_of(paths, folder, class_of) -> tuple[str, ...]:
    """The classes of those of `paths` that have one, sorted."""
    classes = set()
    for path in paths:
        with suppress(BadRecord):  # met again, and told, where the record is made
            classes.add(class_of(folder, path))
    return tuple(sorted(classes))


def _class_of_folder(folder: Path, path: Path) -> str:
    if path.parent == folder:
        raise BadRecord(f"{path}: stands beside the folders of the classes, not in one of them.")
    return path.relative_to(folder).parts[0]


def _class_of_file(folder: Path, path: Path) -> str:
    head, underscore, _ = path.stem.partition("_")
    if not underscore:
        raise BadRecord(
            f"{path}: no class; pictures lie in a folder for each class, or are named "
            "<class>_<anything>."
        )
    return head
