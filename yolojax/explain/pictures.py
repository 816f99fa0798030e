"""Find a picture in the data, and make a training batch of it."""

import difflib
from pathlib import Path

import numpy as np

from yolojax.config import Config
from yolojax.data.joint import NO_LABEL
from yolojax.data.loader import Batch
from yolojax.data.records import BadRecord, Record, Source, load_record
from yolojax.data.transforms import boxes_to_input, fitter, pad_boxes

NEAR = 3  # names suggested in an error
Names = tuple[str | None, str | None, str | None]  # image id, resolved file, name of that file


def find_record(source: Source, wanted: str) -> int:
    """Find the index in `source` of the picture `wanted`, an image id, a file or an index.

    They are tried in this order; a file also matches by its name alone.

    Raises:
        ValueError: no picture matches; the message has the nearest names.
    """
    names = [_names(source, index) for index in range(len(source))]
    for kind, name in enumerate((wanted, str(Path(wanted).resolve()), wanted)):
        places = [index for index, known in enumerate(names) if known[kind] == name]
        if places:
            return places[0]
    if wanted.isdecimal() and int(wanted) < len(source):
        return int(wanted)
    known = [name for row in names for name in (row[0], row[2]) if name]
    near = difflib.get_close_matches(Path(wanted).name, known, n=NEAR, cutoff=0.5)
    hint = f"near it are {', '.join(map(repr, near))}" if near else f"one is {known[0]!r}"
    raise ValueError(
        f"{wanted!r} is no picture of {source.name}: give an image id, a file or an index in "
        f"0..{len(source) - 1}; {hint}."
    )


def _names(source: Source, index: int) -> Names:
    try:
        record = source[index]
    except BadRecord:
        return None, None, None
    if not isinstance(record.image, Path):
        return record.image_id, None, None
    return record.image_id, str(record.image.resolve()), record.image.name


def batch_of_one(record: Record, config: Config) -> Batch:
    """Make a training batch of one picture, without augmentation.

    The picture is resized as in evaluation. Its boxes are those of training: not difficult, not
    crowds, at most config.data.max_boxes.

    Raises:
        BadRecord: the picture cannot be read.
    """
    data, size = config.data, tuple(config.data.image_size)
    record, picture = load_record(record)
    image, affine = fitter(data.letterbox, data.resize)(picture, size)
    wanted = ~(record.difficult | record.crowd)
    boxes = boxes_to_input(record.boxes[wanted], affine, picture.shape[:2], size)
    boxes, labels, mask = pad_boxes(boxes, record.labels[wanted], data.max_boxes)
    row = {"image": image, "boxes": boxes, "labels": labels, "mask": mask}
    if data.labelled:  # the loss of a joint training knows pictures by their label alone
        row["label"] = NO_LABEL if len(record.boxes) else np.int32(record.label)
    return {name: np.asarray(value)[None] for name, value in row.items()}


def one_of(batch: Batch) -> Batch:
    """Return a batch of the first picture of `batch` that has boxes, or of the first."""
    index = int(np.asarray(batch["mask"]).any(axis=1).argmax())
    return {name: np.asarray(value)[index : index + 1] for name, value in batch.items()}
