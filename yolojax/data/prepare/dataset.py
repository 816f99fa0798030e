"""From sources to a new folder that appears once it is complete."""

import os
import re
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from yolojax.data.prepare import arrayrecord
from yolojax.data.prepare.layouts import LAYOUTS, Item, count_lost
from yolojax.data.records import BadRecord, Record, Source, header_of, load_record
from yolojax.files import PICTURE_SUFFIXES, safe_name, write_text
from yolojax.json_files import to_json
from yolojax.progress import progress
from yolojax.suggestions import did_you_mean

ARRAYRECORD = "arrayrecord"
TARGETS = (ARRAYRECORD, *LAYOUTS)
MARK = "prepared.json"  # in a written folder, which may be overwritten only then
SUFFIX_OF = {"JPEG": ".jpg", "PNG": ".png", "WebP": ".webp", "TIFF": ".tif", "BMP": ".bmp"}
OTHER_SUFFIXES = (".xml", ".txt", ".json")

# Controls, line breaks, and what UTF-8 or XML 1.0 does not have.
NOT_WRITABLE = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")

Usable = Iterator[tuple[int, Record, np.ndarray]]  # index, upright record, its picture


class Prepared(NamedTuple):
    """A written split."""

    source: str  # to read it
    images: int
    skipped: list[str]  # a message for each record that could not be used
    notes: list[str]  # those of the source, and on what the layout cannot hold


def prepare_dataset(
    splits: dict[str, Source],
    out: Path,
    *,
    to: str = ARRAYRECORD,
    pictures: str = "copy",
    shards: int | None = None,
    overwrite: bool = False,
    on_bad_record: str = "error",
) -> dict[str, Prepared]:
    """Write the splits to `out` -> {split: what was written}.

    Pictures are decoded as a check and written unchanged, arrays as PNG. Boxes are those of the
    upright picture. `out` appears once everything is written.

    Args:
        splits: {name: source}, all with the same classes.
        out: the folder of the data set; for "arrayrecord" its last part becomes the set's name.
        to: one of TARGETS.
        pictures: "copy", or "link" for hard links (symbolic ones to another disk) in a layout of
            files.
        shards: files per split of "arrayrecord"; by default tfds chooses by size.
        overwrite: replace an earlier prepared set at `out`.
        on_bad_record: "error", or "skip" to skip a picture that cannot be decoded.

    Raises:
        ValueError: the classes differ, or one cannot be written; a source has no boxes; a split or
            an option does not fit.
        FileExistsError: `out` exists and must not be replaced.
        BadRecord: a picture cannot be decoded, and `on_bad_record` is "error".
    """
    _check_options(to, pictures, shards)
    _check_splits(splits, to)
    _check_out(out, overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    bad = {split: [] for split in splits}
    usable = {s: _usable(s, source, bad[s], on_bad_record) for s, source in splits.items()}
    # Next to `out`, so that the last step is a rename within one file system.
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
        if to == ARRAYRECORD:
            written = arrayrecord.write(splits, usable, out, Path(temporary), shards)
            lost = {}
        else:
            written = Path(temporary) / "written"
            lost = _write_files(splits, usable, written, to, pictures)
            write_text(written / MARK, _mark(splits, to))
        if out.exists():
            out.rename(Path(temporary) / "replaced")
        written.rename(out)
    form = LAYOUTS[to].source if to in LAYOUTS else "tfds:{out}:{split}"
    return {
        split: Prepared(
            form.format(out=out, split=split),
            len(source) - len(bad[split]),
            [*source.skipped, *bad[split]],
            [*source.notes, *lost.get(split, ())],
        )
        for split, source in splits.items()
    }


def _check_options(to: str, pictures: str, shards: int | None) -> None:
    if to not in TARGETS:
        hint = did_you_mean(to, TARGETS)
        raise ValueError(f"to must be one of {', '.join(TARGETS)}, got {to!r}.{hint}")
    if pictures not in ("copy", "link"):
        raise ValueError(f'pictures must be "copy" or "link", got {pictures!r}.')
    if to == ARRAYRECORD and pictures == "link":
        raise ValueError("arrayrecord holds the pictures themselves; leave out pictures='link'.")
    if to != ARRAYRECORD and shards is not None:
        raise ValueError(f"shards are those of arrayrecord; {to} has none, got {shards}.")
    if shards is not None and shards < 1:
        raise ValueError(f"shards must be 1 or more, got {shards}.")


def _check_splits(splits: dict[str, Source], to: str) -> None:
    for split, source in splits.items():
        if len(source) and source[0].label >= 0 and not len(source[0].boxes):
            raise ValueError(
                f"{split} ({source.name}) has a class for each picture and no boxes; only sets "
                "with boxes are written. Train on the source itself, or on a tfds set of labels."
            )
    all_classes = {tuple(source.classes): split for split, source in splits.items()}
    if len(all_classes) != 1:
        raise ValueError(f"all splits must have the same classes, got {[*all_classes]}.")
    for name in next(iter(all_classes)):
        if not name or name.strip() != name or NOT_WRITABLE.search(name):
            raise ValueError(
                f"class {name!r} must be one line of text without blanks around it, to be written; "
                "give it another name, as with --rename."
            )
    allowed = LAYOUTS[to].splits if to in LAYOUTS else ()
    for split, source in splits.items():
        if not re.fullmatch(r"[a-z][a-z0-9_]*", split) or not len(source):
            raise ValueError(
                f"a split needs a lower-case name and at least one record, got {split!r} with "
                f"{len(source)}."
            )
        if allowed and split not in allowed:
            raise ValueError(f"the splits of {to} are {', '.join(allowed)}; got {split!r}.")


def _check_out(out: Path, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise FileExistsError(f"{out}: exists already; give another --out, or --overwrite.")
    if not (arrayrecord.is_prepared(out) or (out / MARK).is_file()):
        raise FileExistsError(f"{out}: was not written by `yolojax prepare`; not overwritten.")


def _mark(splits: dict[str, Source], to: str) -> str:
    sources = {split: source.name for split, source in splits.items()}
    return to_json({"written_by": "yolojax prepare", "to": to, "sources": sources}, indent=2)


def _usable(split: str, source: Source, bad: list[str], on_bad_record: str) -> Usable:
    for index in progress(range(len(source)), desc=split, unit="image"):
        try:
            record, image = load_record(source[index])
        except BadRecord as error:
            if on_bad_record == "error":
                raise
            bad.append(str(error))
        else:
            yield index, record, image
    if len(bad) == len(source):
        raise ValueError(f"{split}: none of its pictures can be used: {bad[0]}")


def _write_files(
    splits: dict[str, Source], usable: dict[str, Usable], folder: Path, to: str, pictures: str
) -> dict[str, list[str]]:
    """Write the splits as a layout of files -> {split: what it cannot hold}."""
    layout, lost = LAYOUTS[to], {}
    taken = defaultdict(set)  # names in each folder of pictures
    for split, source in splits.items():
        place = folder / layout.pictures.format(split=split)
        place.mkdir(parents=True, exist_ok=True)
        counts = dict.fromkeys(layout.lost, 0)
        items = _items(usable[split], place, pictures, taken[place], counts)
        layout.write(folder, split, source, items)
        lost[split] = [
            f"{split}: {count} {layout.lost[kind]}." for kind, count in counts.items() if count
        ]
    return lost


def _items(
    usable: Usable, place: Path, pictures: str, taken: set[str], counts: dict[str, int]
) -> Iterator[Item]:
    """Place each picture in the folder `place`, and count what the layout cannot hold."""
    for _, record, image in usable:
        name = _place_picture(record, image, place, pictures, taken)
        height, width = image.shape[:2]
        count_lost(record, (width, height), counts)
        yield Item(name, (width, height), record)


def _place_picture(record: Record, image, place: Path, pictures: str, taken: set[str]) -> str:
    """Copy or link the picture of `record`, or write it -> its name, unique in `place`."""
    file = record.image if isinstance(record.image, Path) else None
    stem = file.stem if file else record.image_id
    # Lists of pictures are split at blanks, and lose suffixes.
    stem = "_".join(stem.split())
    if stem.lower().endswith((*PICTURE_SUFFIXES, *OTHER_SUFFIXES)):
        stem = stem.replace(".", "_")
    suffix = file.suffix.lower() if file else ""
    if suffix not in PICTURE_SUFFIXES:
        suffix = SUFFIX_OF.get(header_of(record).format, ".png")
    target = place / (safe_name(stem, taken) + suffix)
    if isinstance(record.image, np.ndarray):
        target.write_bytes(arrayrecord.encode_png(image))
    elif not file:
        target.write_bytes(record.image)
    elif pictures == "copy":
        shutil.copyfile(file, target)
    else:
        _link(file.resolve(), target)
    return target.name


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:  # on another disk, or one without hard links
        target.symlink_to(file)
