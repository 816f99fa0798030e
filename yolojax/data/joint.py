"""Pictures with boxes and pictures with a label alone, mixed (YOLO9000 paper, section 4).

Row i of a training is a pure function of (seed, i), as in `pipeline`. Both kinds go through the
detector's augmentation: the labelled pictures are an input of the same network and step.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from yolojax.data import pipeline
from yolojax.data.classification import check_labelled
from yolojax.data.geometry import Size
from yolojax.data.loader import Batch, Handler
from yolojax.data.records import Source

NO_LABEL = np.int32(-1)
NO_TRUTHS = (np.zeros((0, 4), np.float32), np.zeros(0, np.int32))
OTHER_STREAM = 1 << 31  # added to the seed, so that the draws of both kinds are independent


@dataclass(frozen=True)
class JointSource:
    """Two sources with the same classes, as one; its records are drawn by `train_sample`.

    Raises:
        ValueError: `labels` has pictures without a class of their own, or `mix` a number below 1.
    """

    boxes: Source
    labels: Source  # of pictures with one class each
    mix: tuple[int, int]  # pictures of `boxes` to pictures of `labels`

    def __post_init__(self):
        check_labelled(self.labels)
        if min(self.mix) < 1:
            raise ValueError(f"data.mix must be two numbers of 1 or more, got {self.mix}.")

    @property
    def name(self) -> str:
        """Both SOURCE strings."""
        return f"{self.boxes.name} and {self.labels.name}"

    def __len__(self) -> int:
        return len(self.boxes) + len(self.labels)


class Place(NamedTuple):
    """Where a row of the training comes from."""

    labelled: bool
    position: int  # among the rows of its kind


def train_sample(
    source: JointSource,
    position: int,
    *,
    seed: int,
    size: Size,
    augment,
    max_boxes: int,
    on_bad: Handler,
) -> Batch:
    """Row `position` of a joint training: with a mix of (4, 1), four of each five have boxes.

    Returns:
        What `pipeline.train_sample` does and "label" int32, the class of a picture known by its
        label alone, whose mask is all False; -1 for the others. `image_id` is the index in the
        source of its kind.

    Raises:
        BadRecord: the picture cannot be read and `on_bad` raises, or none of all can.
    """
    labelled, at = place_at(position, source.mix, seed)
    view = {"size": size, "augment": augment, "max_boxes": max_boxes}
    if not labelled:
        row = pipeline.train_sample(source.boxes, at, seed=seed, on_bad=on_bad, **view)
        return row | {"label": NO_LABEL}
    drawn = pipeline.draw(source.labels, at, (seed + OTHER_STREAM) % 2**32, on_bad)
    row = pipeline.detector_row(drawn, *NO_TRUTHS, **view)
    return row | {"label": np.int32(drawn.record.label)}


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
