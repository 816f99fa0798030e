"""Sources -> batches. Row i of a training is a pure function of (seed, i): neither threads, nor
hosts, nor a restart change it. Grain supplies the threads, the read-ahead and the batching.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from yolojax.config import AugmentConfig
from yolojax.data import geometry
from yolojax.data.augment import augment as augment_picture
from yolojax.data.augment import pad_truths
from yolojax.data.geometry import Fit, Size
from yolojax.data.loader import Batch, Handler, batches, check, handler, read_good, refuse
from yolojax.data.multiscale import size_for
from yolojax.data.records import BadRecord, Record, Source, load_image

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
    """Training batches without end; every epoch in another order.

    Args:
        source: the records.
        sample: makes a row: `train_sample`, or that of `classification` or `joint`, with their
            augmentation given; called with (source, position, seed=, size=, on_bad=).
        image_size: (height, width) of the images, unless `sizes` is given.
        batch_size: rows of the global batch; this host gets its `host`-th part, in order.
        seed: of order, augmentation and sizes; 0 to 2**32 - 1.
        sizes: sides of square inputs to draw from; () for `image_size` alone.
        sizes_every: batches between two draws.
        sizes_last: batches at the end that are at the largest side.
        total_batches: length of the whole training, where `sizes_last` counts from; 0: no end.
        start_batch: the first batch to yield. It starts at image `start_batch * batch_size`, so a
            run that goes on with another batch size passes images seen // the new one.
        host: this process, below `hosts`.
        hosts: processes that share the global batch.
        threads: that decode and augment; 0 does it in the caller's.
        on_bad_record: "error", or "skip" to take the next record of the source instead; each bad
            one is warned about once, with their number so far.

    Returns:
        Iterator of what `sample` returns, b = batch_size // hosts rows stacked.

    Raises:
        ValueError: an argument is out of its range.
        BadRecord: while iterating: a picture cannot be read, and `on_bad_record` is "error".
    """
    check(source, batch_size, host, hosts, threads, on_bad_record)
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be in 0..2**32 - 1, got {seed}.")
    multiscale = {"seed": seed, "sizes": sizes, "every": sizes_every}
    multiscale |= {"total_steps": total_batches, "last": sizes_last}
    on_bad = handler(source, on_bad_record)

    def size_at(position):
        if not sizes:
            return image_size
        side = size_for(position // batch_size, **multiscale)
        return side, side

    def row(position):
        return sample(source, position, seed=seed, size=size_at(position), on_bad=on_bad)

    return batches(row, start_batch, None, batch_size, host, hosts, threads)


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
    """Row `position` of a detector's training, counted in images from its start.

    Difficult and crowd truths are left out.

    Returns:
        {"image": uint8 [H, W, 3], "boxes": float32 [M, 4], "labels": int32 [M], "mask": bool [M],
        "image_id": int32} with M = max_boxes places for truths.

    Raises:
        BadRecord: the picture cannot be read and `on_bad` raises, or none of all can.
    """
    drawn = draw(source, position, seed, on_bad)
    record = drawn.record
    wanted = ~(record.difficult | record.crowd)  # voc_label.py of Darknet drops the difficult ones
    truths = record.boxes[wanted], record.labels[wanted]
    return detector_row(drawn, *truths, size=size, augment=augment, max_boxes=max_boxes)


class Drawn(NamedTuple):
    """What a row of a training is made from."""

    index: int  # of the record
    record: Record
    image: np.ndarray  # uint8 RGB [h, w, 3]
    generator: np.random.Generator  # of all that is random in this row


def draw(source: Source, position: int, seed: int, on_bad: Handler) -> Drawn:
    """The record that is due at `position`, or the next one that can be read."""
    found = read_good(source, record_at(source, position, seed), on_bad)
    key = np.array([seed, position], np.uint64)
    return Drawn(*found, np.random.Generator(np.random.Philox(key=key)))


def detector_row(
    drawn: Drawn, boxes, labels, *, size: Size, augment: AugmentConfig, max_boxes: int
) -> Batch:
    """One view of what was drawn, with these of its truths; as `train_sample` returns it."""
    image, boxes, labels = augment_picture(
        drawn.image, boxes, labels, drawn.generator, size=size, **vars(augment)
    )
    boxes, labels, mask = pad_truths(boxes, labels, max_boxes)
    truth = {"boxes": boxes, "labels": labels, "mask": mask}
    return {"image": image, **truth, "image_id": np.int32(drawn.index)}


def record_at(source: Source, position: int, seed: int) -> int:
    """The record that is due at `position`: each one once an epoch."""
    epoch, place = divmod(position, len(source))
    return int(_epoch_order(seed, epoch, len(source))[place])


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
    """Every picture of `source` once, in order, in batches of one shape; see `train_loader`.

    Args:
        letterbox, resize: how a picture becomes the input; see `geometry.fitter`.

    Returns:
        Iterator of {"image": uint8 [b, H, W, 3] (float32 in 0..1 with resize="darknet"),
        "image_id": int32 [b], "affine": float32 [b, 4], "size": int32 [b, 2]}: the map from
        picture to input (`geometry.Affine`) and the picture's (height, width), which
        `geometry.boxes_to_original` takes. Rows that fill up the last batch, and with "skip" those
        of unreadable pictures, have `image_id` -1. All hosts get as many batches.

    Raises:
        ValueError: an argument is out of its range.
        BadRecord: while iterating: a picture cannot be read, and `on_bad_record` is "error".
    """
    check(source, batch_size, host, hosts, threads, on_bad_record)
    on_bad, fit = handler(source, on_bad_record), geometry.fitter(letterbox, resize)

    def row(position):
        if position >= len(source):
            return _blank(image_size, resize)
        try:
            return eval_sample(source, position, size=image_size, fit=fit)
        except BadRecord as error:
            on_bad(error)
            return _blank(image_size, resize)

    last = -(-len(source) // batch_size)
    return batches(row, 0, last, batch_size, host, hosts, threads)


def eval_sample(source: Source, index: int, *, size: Size, fit: Fit) -> Batch:
    """One row of `eval_loader`: the picture of record `index`, and the way back to its pixels.

    `fit` is a function that `geometry.fitter` returns.

    Raises:
        BadRecord: it cannot be read.
    """
    picture = load_image(source[index])
    image, affine = fit(picture, size)
    return _eval_row(image, index, affine, picture.shape[:2])


def _blank(size, resize):
    image = geometry.blank(resize, (*size, 3))
    return _eval_row(image, -1, geometry.Affine(1, 1, 0, 0), size)


def _eval_row(image, index, affine, picture):
    return {
        "image": image,
        "image_id": np.int32(index),
        "affine": np.array(affine, np.float32),
        "size": np.array(picture, np.int32),
    }
