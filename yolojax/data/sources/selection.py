"""Some classes of a data set, under new names: config.data.keep_classes and config.data.rename.

Classes are first renamed, then those to keep are chosen. Boxes of the others are left out, and
their pictures stay; a picture that has a class itself, as for a classifier, is left out with it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from yolojax.data.parsing import RecordList, check_names, class_index, collect
from yolojax.data.records import Record, Source
from yolojax.suggestions import did_you_mean

MAX_LISTED = 8  # classes in a message


@dataclass(frozen=True)
class SelectedRecords:
    """Records of a source, which are read on access, with the boxes whose class has a label."""

    source: Source
    rows: Sequence[int]  # of `source`, one for each record
    labels: np.ndarray  # int32, the new label of each class of `source`; -1: left out

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Record:
        record = self.source[self.rows[index]]
        labels = self.labels[record.labels]
        kept = labels >= 0
        fields = {
            key: getattr(record, key)[kept] for key in ("boxes", "difficult", "crowd", "area")
        }
        label = int(self.labels[record.label]) if record.label >= 0 else -1
        return record._replace(labels=labels[kept], label=label, **fields)


def select(
    parts: Sequence[Source],
    *,
    classes: Sequence[str],
    keep: Sequence[str],
    rename: Sequence[tuple[str, str]],
    on_bad_record: str,
    strict: bool,
) -> list[RecordList]:
    """Rename the classes of `parts` and keep some of them, with the same labels in all parts.

    Args:
        parts: sources, each with its own classes.
        classes: names in label order; by default `keep`, or else those of the first part.
        keep: the classes to keep, which must be in `classes` if that is given; (): all of them, and
            a record with a box of another class is bad.
        rename: pairs of a class and its new name; several classes may get the same one.
        on_bad_record: "error" or "skip".
        strict: whether it is an error that no part has a class in `keep` or `rename`; otherwise it
            is a note, as one split of a data set need not have all classes.

    Raises:
        ValueError: `keep` or `rename` does not fit the data or `classes`.
        BadRecord: a box has a class that is not in `classes`, and `on_bad_record` is "error".
    """
    new_names = _checked_rename(rename)
    where = "+".join(part.name for part in parts)
    there = _classes_of(parts, new_names)
    not_kept = _unknown("keep_classes", keep, there, where, new_names)
    notes = _unknown("rename", [*new_names], _classes_of(parts, {}), where, {}) + not_kept
    if notes and strict:
        raise ValueError(notes[0])
    if keep and len(not_kept) == len(keep):
        raise ValueError(not_kept[0])
    _check_keep(keep, classes)
    classes = tuple(classes) or tuple(keep) or _classes_of(parts[:1], new_names)
    selected = [_select_part(part, classes, keep, new_names, on_bad_record) for part in parts]
    selected[0].notes.extend(notes)
    return selected


def _checked_rename(rename: Sequence[tuple[str, str]]) -> dict[str, str]:
    names = {}
    for old, new in rename:
        if not new or names.setdefault(old, new) != new:
            raise ValueError(f"rename: {old!r} needs one new name, got {[names.get(old), new]}.")
    return names


def _check_keep(keep: Sequence[str], classes: Sequence[str]) -> None:
    if keep:
        check_names(keep, "keep_classes")
    for name in keep:
        if classes and name not in classes:
            raise ValueError(
                f"keep_classes: {name!r} is not one of the classes of the model "
                f"({_listed(classes)}), whose order is that of the labels."
                f"{did_you_mean(name, classes)}"
            )


def _classes_of(parts: Sequence[Source], rename: Mapping[str, str]) -> tuple[str, ...]:
    """List the classes of all parts with their new names, each once."""
    return tuple(dict.fromkeys(rename.get(name, name) for part in parts for name in part.classes))


def _unknown(field, names, there, where: str, rename: Mapping[str, str]) -> list[str]:
    """Return a message for each of `names` that is not in `there`."""
    hints = {old: f" It is renamed to {new!r}." for old, new in rename.items()}
    return [
        f"{field}: {name!r} is not a class of {where} ({_listed(there)})."
        f"{hints.get(name) or did_you_mean(name, there)}"
        for name in names
        if name not in there
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:MAX_LISTED]) + (", ..." if len(names) > MAX_LISTED else "")


def _left_out_note(source: Source, labels: np.ndarray) -> list[str]:
    """Name the classes without a label; of records in memory those that have boxes, counted."""
    names = {i: name for i, name in enumerate(source.classes) if labels[i] < 0}
    if isinstance(source, RecordList):
        counts = Counter(label for record in source for label in record.labels.tolist())
        names = {i: f"{name} {counts[i]}" for i, name in names.items() if counts[i]}
    return [f"keep_classes: boxes left out: {_listed([*names.values()])}."] if names else []


def _select_part(source: Source, classes, keep, rename, on_bad_record: str) -> RecordList:
    new_names = [rename.get(name, name) for name in source.classes]
    index = {name: i for i, name in enumerate(classes) if not keep or name in keep}
    labels = np.array([index.get(name, -1) for name in new_names], np.int32)
    rows, skipped, notes = range(len(source)), [], []
    left_out = [name for name, label in zip(source.classes, labels, strict=True) if label < 0]

    def check(row: int) -> int:
        record = source[row]
        for label in (*record.labels, *((record.label,) if record.label >= 0 else ())):
            class_index(new_names[label], index, f"{source.name}: {record.image_id}")
        return row

    if left_out and not keep:
        rows, skipped = collect(check, rows, on_bad_record)
    elif left_out:
        notes = _left_out_note(source, labels)
        if source[0].label >= 0:
            rows = [row for row in rows if labels[source[row].label] >= 0]
    records = SelectedRecords(source, rows, labels)
    ids = getattr(source, "category_ids", ())
    first = [[*labels].index(label) if label in labels else None for label in range(len(classes))]
    same = {part.name: getattr(source, part.name, None) for part in fields(RecordList)}
    unreadable = [*getattr(source, "unreadable", ())]
    missed = SelectedRecords([record for record, _ in unreadable], range(len(unreadable)), labels)
    changed = {
        "classes": classes,
        "records": [*records] if isinstance(source, RecordList) else records,  # in memory as before
        "skipped": [*source.skipped, *skipped],
        "category_ids": tuple(-1 if i is None else ids[i] for i in first) if ids else (),
        "notes": [*source.notes, *notes],
        "unreadable": [(record, m) for record, (_, m) in zip(missed, unreadable, strict=True)],
    }
    return RecordList(**{key: value for key, value in same.items() if value is not None} | changed)
