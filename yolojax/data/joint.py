"""Pictures with boxes and pictures with a label alone, mixed (YOLO9000 paper, section 4).

Row i of a training is a pure function of (seed, i), as in `pipeline`. Both kinds go through the
detector's augmentation: the labelled pictures are an input of the same network and step.
"""

from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from yolojax.data import pipeline
from yolojax.data.augment import augment as augment_picture
from yolojax.data.augment import pad_truths
from yolojax.data.classification import check_labelled
from yolojax.data.geometry import Size
from yolojax.data.multiscale import size_for
from yolojax.data.reading import Batch, Handler, batches, check, handler, read_good
from yolojax.data.records import Source

NO_LABEL = np.int32(-1)
OTHER_STREAM = 1 << 31  # added to the seed, so that the draws of both kinds are independent


class JointSource(NamedTuple):
    """Two sources with the same classes."""

    boxes: Source
    labels: Source  # of pictures with one class each
    mix: tuple[int, int]  # pictures of `boxes` to pictures of `labels`


class Place(NamedTuple):
    """Where a row of the training comes from."""

    labelled: bool
    position: int  # among the rows of its kind


def train_loader(
    source: JointSource,
    *,
    image_size: Size,
    batch_size: int,
    seed: int,
    augment,
    max_boxes: int = 30,
    sizes: tuple[int, ...] = (),
    sizes_every: int = 10,
    sizes_last: int = 200,
    total_batches: int = 0,
    start_batch: int = 0,
    host: int = 0,
    hosts: int = 1,
    threads: int = 2,
    on_bad_record: str = "error",
) -> Iterator[Batch]:
    """Training batches without end; every epoch of each source in another order.

    With a mix of (4, 1), of the rows 0..4, 5..9, ... each time four have boxes. The arguments, and
    what is raised, are those of `pipeline.train_loader`.

    Returns:
        Iterator of what that one yields and "label" int32 [b], the class of a picture known by its
        label alone, whose mask is all False; -1 for the others. An image_id is the index in the
        source of its kind.
    """
    for part in (source.boxes, source.labels):
        check(part, batch_size, host, hosts, threads, on_bad_record)
    check_labelled(source.labels)
    if min(source.mix) < 1:
        raise ValueError(f"data.mix must be two numbers of 1 or more, got {source.mix}.")
    multiscale = {"seed": seed, "sizes": sizes, "every": sizes_every}
    multiscale |= {"total_steps": total_batches, "last": sizes_last}
    fixed = {"augment": augment, "max_boxes": max_boxes}
    on_bad = [handler(part, on_bad_record) for part in (source.boxes, source.labels)]

    def row(position):
        side = size_for(position // batch_size, **multiscale) if sizes else None
        size = (side, side) if side else image_size
        labelled, at = place_at(position, source.mix, seed)
        if labelled:
            other = (seed + OTHER_STREAM) % 2**32
            options = fixed | {"seed": other, "on_bad": on_bad[1]}
            return labelled_sample(source.labels, at, size=size, **options)
        options = fixed | {"seed": seed, "on_bad": on_bad[0]}
        sample = pipeline.train_sample(source.boxes, at, size=size, **options)
        return sample | {"label": NO_LABEL}

    return batches(row, start_batch, None, batch_size, host, hosts, threads)


def place_at(position: int, mix: tuple[int, int], seed: int) -> Place:
    """What row `position` of a training is.

    Each run of sum(mix) rows has its own order: with one order for all, strided sub-batches (as of
    config.optimizer.subdivisions) could be of one kind alone.
    """
    run, row = divmod(position, sum(mix))
    place = _order(seed, run, sum(mix))[row]
    labelled = place >= mix[0]
    among = place - mix[0] if labelled else place
    return Place(labelled, run * mix[labelled] + among)


@lru_cache(maxsize=256)
def _order(seed: int, run: int, length: int) -> tuple[int, ...]:
    return tuple(np.random.default_rng([seed, run, length]).permutation(length).tolist())


def labelled_sample(
    source: Source,
    position: int,
    *,
    seed: int,
    size: Size,
    augment,
    max_boxes: int,
    on_bad: Handler,
) -> Batch:
    """As `pipeline.train_sample`, of a picture whose boxes, if it has any, are not told.

    Raises:
        BadRecord: the picture cannot be read and `on_bad` raises, or none of all can.
    """
    index, record, image = read_good(source, pipeline.record_at(source, position, seed), on_bad)
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, position], np.uint64)))
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int32)
    image, *found = augment_picture(image, *nothing, generator, size=size, **asdict(augment))
    boxes, labels, mask = pad_truths(*found, max_boxes)
    truth = {"boxes": boxes, "labels": labels, "mask": mask}
    return {"image": image, **truth, "image_id": np.int32(index), "label": np.int32(record.label)}
