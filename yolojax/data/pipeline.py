"""From a source to the batches of a detector's training and evaluation.

Row i of a training is a pure function of (seed, i). Threads, hosts and restarts do not change it.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from yolojax.config import AugmentConfig
from yolojax.data import transforms
from yolojax.data.loader import Batch, Handler, batches, check, handler, read_good, refuse
from yolojax.data.records import BadRecord, Record, Source, load_image
from yolojax.data.transforms import Fit, Size

UNREADABLE = (0, 0)  # the size of a picture that cannot be read, in the rows of an evaluation
Sample = Callable[..., Batch]  # (source, position, *, seed, size, on_bad) -> a row of a training


def train_loader(
    source: Source,
    sample: Sample,
    *,
    image_size: Size,
    batch_size: int,
    seed: int,
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
    """Yield training batches without end; every epoch has another order.

    Args:
        source: the records.
        sample: makes a row, called as (source, position, seed=, size=, on_bad=): `train_sample`, or
            that of `classification` or `joint`, with the augmentation bound.
        image_size: (height, width) of the images, unless `sizes` is given.
        batch_size: rows of the global batch; this host gets its `host`-th part, in order.
        seed: of order, augmentation and sizes; 0 to 2**32 - 1.
        sizes: sides of square inputs to draw from; () for `image_size` alone.
        sizes_every: batches between two draws.
        sizes_last: batches at the end that have the largest side.
        total_batches: length of the whole training, from which `sizes_last` counts; 0: no end.
        start_batch: the first batch to yield. It starts at image `start_batch * batch_size`; a run
            that resumes with another batch size passes the images seen // the new batch size.
        host: this process, below `hosts`.
        hosts: processes that share the global batch.
        threads: threads that decode and augment; 0: the caller's thread does.
        on_bad_record: "error", or "skip" to take the next record of the source instead; a warning
            is given once for each.

    Returns:
        Iterator of stacked rows of `sample`, batch_size // hosts at a time.

    Raises:
        ValueError: an argument is out of its range.
        BadRecord: while iterating: a picture cannot be read, and `on_bad_record` is "error".
    """
    check(source, batch_size, host, hosts, threads, on_bad_record)
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be in 0..2**32 - 1, got {seed}.")
    multiscale = {"seed": seed, "sizes": sizes, "every": sizes_every}
    multiscale |= {"total_batches": total_batches, "last": sizes_last}
    on_bad = handler(source, on_bad_record)

    def size_at(position):
        if not sizes:
            return image_size
        side = side_of(position // batch_size, **multiscale)
        return side, side

    def row(position):
        return sample(source, position, seed=seed, size=size_at(position), on_bad=on_bad)

    return batches(row, start_batch, None, batch_size, host, hosts, threads)


def side_of(
    batch: int,
    *,
    seed: int,
    sizes: Sequence[int],
    every: int = 10,
    total_batches: int = 0,
    last: int = 200,
) -> int:
    """Draw the side in pixels of a batch's images, for multi-scale training.

    A side out of `sizes` is drawn for each `every` batches (YOLO9000 paper, section 2). The `last`
    of `total_batches` batches have the largest (detector.c, train_detector); `total_batches` 0
    means that the end is unknown. A pure function, so that all hosts agree.

    Raises:
        ValueError: `every` is below 1.
    """
    if every < 1:
        raise ValueError(f"multiscale_every must be at least 1, got {every}.")
    if total_batches and batch >= total_batches - last:
        return max(sizes)
    draw = np.random.default_rng([seed, batch // every]).integers(len(sizes))
    return int(sizes[draw])


def train_sample(
    source: Source,
    position: int,
    *,
    seed: int,
    size: Size,
    augment: AugmentConfig,
    max_boxes: int = 30,
    on_bad: Handler = refuse,
) -> Batch:
    """Make row `position` of a detector's training, counted in images from its start.

    Difficult and crowd boxes are dropped.

    Returns:
        {"image": uint8 [H, W, 3], "boxes": float32 [M, 4], "labels": int32 [M], "mask": bool [M],
        "image_id": int32}, with the boxes padded to M = max_boxes.

    Raises:
        BadRecord: the picture cannot be read and `on_bad` raises, or none of all can.
    """
    drawn = draw(source, position, seed, on_bad)
    record = drawn.record
    wanted = ~(record.difficult | record.crowd)  # voc_label.py of Darknet drops the difficult ones
    annotations = record.boxes[wanted], record.labels[wanted]
    return detector_row(drawn, *annotations, size=size, augment=augment, max_boxes=max_boxes)


class Drawn(NamedTuple):
    """The record of a row, its decoded picture, and the row's random generator."""

    index: int  # of the record
    record: Record
    image: np.ndarray  # uint8 RGB [h, w, 3]
    generator: np.random.Generator


def draw(source: Source, position: int, seed: int, on_bad: Handler) -> Drawn:
    """Read the record of row `position`, or the next readable one."""
    index, record, image = read_good(source, record_at(source, position, seed), on_bad)
    key = np.array([seed, position], np.uint64)
    return Drawn(index, record, image, np.random.Generator(np.random.Philox(key=key)))


def detector_row(
    drawn: Drawn, boxes, labels, *, size: Size, augment: AugmentConfig, max_boxes: int
) -> Batch:
    """Augment a picture with these boxes into a row; see `train_sample`."""
    image, boxes, labels = transforms.augment(
        drawn.image, boxes, labels, drawn.generator, size=size, **vars(augment)
    )
    boxes, labels, mask = transforms.pad_boxes(boxes, labels, max_boxes)
    annotations = {"boxes": boxes, "labels": labels, "mask": mask}
    return {"image": image, **annotations, "image_id": np.int32(drawn.index)}


def record_at(source: Source, position: int, seed: int) -> int:
    """Return the index of the record of row `position`; each record appears once an epoch."""
    epoch, index = divmod(position, len(source))
    return int(_epoch_order(seed, epoch, len(source))[index])


@lru_cache(maxsize=4)
def _epoch_order(seed, epoch, count):
    return np.random.default_rng([seed, epoch]).permutation(count)


def eval_loader(
    source: Source,
    *,
    image_size: Size,
    letterbox: bool,
    resize: str = "opencv",
    batch_size: int,
    host: int = 0,
    hosts: int = 1,
    threads: int = 2,
    on_bad_record: str = "error",
) -> Iterator[Batch]:
    """Yield every picture of `source` once, in order, in batches of one shape.

    Args:
        letterbox, resize: how a picture becomes the input; see `transforms.fitter`. The other
            arguments are those of `train_loader`.

    Returns:
        Iterator of {"image": uint8 [b, H, W, 3] (float32 in 0..1 with resize="darknet"),
        "image_id": int32 [b], "affine": float32 [b, 4], "size": int32 [b, 2]}: the map from
        picture to input (`transforms.Affine`) and the picture's (height, width), as
        `transforms.boxes_to_original` takes them. Rows that pad the last batch have `image_id` -1;
        with "skip", those of unreadable pictures have size (0, 0). All hosts get equally many
        batches.

    Raises:
        ValueError: an argument is out of its range.
        BadRecord: while iterating: a picture cannot be read, and `on_bad_record` is "error".
    """
    check(source, batch_size, host, hosts, threads, on_bad_record)
    on_bad, fit = handler(source, on_bad_record), transforms.fitter(letterbox, resize)

    def row(position):
        if position >= len(source):
            return _blank(image_size, resize, -1, image_size)
        try:
            return eval_sample(source, position, size=image_size, fit=fit)
        except BadRecord as error:
            on_bad(error)
            return _blank(image_size, resize, position, UNREADABLE)

    last = -(-len(source) // batch_size)
    return batches(row, 0, last, batch_size, host, hosts, threads)


def eval_sample(source: Source, index: int, *, size: Size, fit: Fit) -> Batch:
    """Make the row of `eval_loader` for record `index`; `fit` comes from `transforms.fitter`.

    Raises:
        BadRecord: the picture cannot be read.
    """
    picture = load_image(source[index])
    image, affine = fit(picture, size)
    return _eval_row(image, index, affine, picture.shape[:2])


def _blank(size, resize, index, picture):
    image = transforms.blank(resize, (*size, 3))
    return _eval_row(image, index, transforms.Affine(1, 1, 0, 0), picture)


def _eval_row(image, index, affine, picture):
    return {
        "image": image,
        "image_id": np.int32(index),
        "affine": np.array(affine, np.float32),
        "size": np.array(picture, np.int32),
    }
