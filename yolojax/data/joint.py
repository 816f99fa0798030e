"""Joint training on pictures with boxes and pictures with a label (YOLO9000 paper, section 4).

Row i of a training is a pure function of (seed, i), as in `pipeline`. Both kinds of picture get the
detector's augmentation, as both are inputs of the same network.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from yolojax.data import pipeline
from yolojax.data.classification import check_labelled
from yolojax.data.loader import Batch, Handler
from yolojax.data.records import Source
from yolojax.data.transforms import Size

NO_LABEL = np.int32(-1)
NO_BOXES = (np.zeros((0, 4), np.float32), np.zeros(0, np.int32))
LABEL_STREAM = 1 << 31  # added to the seed, so that the draws of both kinds are independent


@dataclass(frozen=True)
class JointSource:
    """A source with boxes and one with labels, over the same classes, for `train_sample`.

    Raises:
        ValueError: `labels` has pictures without a label, or `mix` has a number below 1.
    """

    boxes: Source
    labels: Source  # pictures with one class each
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


class JointRow(NamedTuple):
    """The kind of a row, and its position among the rows of that kind."""

    labelled: bool
    position: int


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
    """Make row `position` of a joint training: with a mix of (4, 1), four of five have boxes.

    Returns:
        A row of `pipeline.train_sample` with "label" int32: the class of a labelled picture, whose
        mask is all False, or -1. `image_id` is the index in the source of its kind.

    Raises:
        BadRecord: the picture cannot be read and `on_bad` raises, or none of all can.
    """
    labelled, at = row_at(position, source.mix, seed)
    view = {"size": size, "augment": augment, "max_boxes": max_boxes}
    if not labelled:
        row = pipeline.train_sample(source.boxes, at, seed=seed, on_bad=on_bad, **view)
        return row | {"label": NO_LABEL}
    drawn = pipeline.draw(source.labels, at, (seed + LABEL_STREAM) % 2**32, on_bad)
    row = pipeline.detector_row(drawn, *NO_BOXES, **view)
    return row | {"label": np.int32(drawn.record.label)}


def row_at(position: int, mix: tuple[int, int], seed: int) -> JointRow:
    """Return the kind of row `position`, and its position among the rows of that kind.

    Each run of sum(mix) rows is shuffled on its own. With a fixed order, strided sub-batches (see
    config.optimizer.subdivisions) could consist of one kind only.
    """
    run, row = divmod(position, sum(mix))
    index = _order(seed, run, sum(mix))[row]
    labelled = index >= mix[0]
    within_kind = index - mix[0] if labelled else index
    return JointRow(labelled, run * mix[labelled] + within_kind)


@lru_cache(maxsize=256)
def _order(seed: int, run: int, length: int) -> tuple[int, ...]:
    return tuple(np.random.default_rng([seed, run, length]).permutation(length).tolist())
