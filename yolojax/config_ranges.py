"""The range of every number of a config, and rules between its fields.

They hold for any network and any data; what depends on these is checked where it is known, as the
multiple of 32 of an image size.
"""

import math
from collections.abc import Callable, Iterator
from functools import reduce
from itertools import pairwise
from typing import NamedTuple

from yolojax.suggestions import choose

INT32 = 2**31 - 1  # images and boxes are counted in int32
MAX_SIDE = 8192  # of an image, in pixels
CELL = 32  # pixels of a grid cell
FINEST_CELL = 8  # pixels of a cell that a .cfg may have
LARGEST_GRID = 19  # cells of 608 pixels, the largest input of the published networks


class Range(NamedTuple):
    """The numbers that a field may have; each of them, if it has several."""

    low: float = -math.inf
    high: float = math.inf
    has_low: bool = True  # whether `low` itself may be
    has_high: bool = True
    hint: str = ""  # the way out

    def __contains__(self, value: float) -> bool:
        return (
            math.isfinite(value)
            and (value > self.low or (self.has_low and value == self.low))
            and (value < self.high or (self.has_high and value == self.high))
        )

    def rule(self, value: float) -> str:
        """Say what `value`, which is not in the range, must be."""
        low, high = f"{self.low:.10g}", f"{self.high:.10g}"
        if not math.isfinite(value):
            return "a finite number"
        if self.high >= INT32:
            at_least = f"{low} or more" if self.has_low else f"above {low}"
            return f"at most {high}" if value > self.high else at_least
        if not self.has_low:
            return f"above {low} and at most {high}"
        return f"from {low} to {high}" if self.has_high else f"from {low} to below {high}"


FRACTION = Range(0, 1)
BELOW_1 = Range(0, 1, has_high=False)
WEIGHT = Range(0, 1e6)
COUNT = Range(1, INT32)
COUNT_OR_0 = Range(0, INT32)
SIDE = Range(1, MAX_SIDE)
POWER = Range(0, 100)
FACTOR = Range(0, 1000, has_low=False, hint="1 changes nothing")

RANGES = {
    "model.anchors": Range(0, 1e6, has_low=False),
    "model.tree": Range(-1, INT32),
    "model.boxes": Range(1, 500),
    "model.side": Range(1, 1000),
    "model.temperature": Range(0, 1e6, has_low=False, hint="1 is a plain softmax"),
    "model.width": Range(0, 16, has_low=False, hint="0.25 has a quarter of the filters"),
    "data.mix": COUNT,
    "data.image_size": SIDE,
    "data.multiscale": SIDE,
    "data.multiscale_every": COUNT,
    "data.multiscale_last": COUNT_OR_0,
    "data.max_boxes": COUNT,
    "data.threads": Range(0, 4096),
    "data.augment.jitter": BELOW_1,
    "data.augment.flip": FRACTION,
    "data.augment.hue": FRACTION,
    "data.augment.saturation": FACTOR,
    "data.augment.exposure": FACTOR,
    "data.classifier.scales": Range(0, 1000, has_low=False),
    "data.classifier.angle": Range(0, 360, hint="in degrees"),
    "data.classifier.aspect": FACTOR,
    "data.classifier.flip": FRACTION,
    "data.classifier.hue": FRACTION,
    "data.classifier.saturation": FACTOR,
    "data.classifier.exposure": FACTOR,
    "loss.coord_weight": WEIGHT,
    "loss.object_weight": WEIGHT,
    "loss.noobject_weight": WEIGHT,
    "loss.class_weight": WEIGHT,
    "loss.assign_threshold": FRACTION,
    "loss.ignore_threshold": FRACTION,
    "loss.warmup_images": COUNT_OR_0,
    "loss.focal_gamma": POWER,
    "loss.label_smoothing": BELOW_1,
    "loss.class_weights": WEIGHT,
    "loss.arguments": Range(-1e30, 1e30),
    "optimizer.batch_size": COUNT,
    "optimizer.subdivisions": COUNT,
    "optimizer.images": COUNT,
    "optimizer.learning_rate": Range(0, 1000),
    "optimizer.burn_in_images": COUNT_OR_0,
    "optimizer.burn_in_power": POWER,
    "optimizer.step_images": COUNT_OR_0,
    "optimizer.step_scales": WEIGHT,
    "optimizer.poly_power": POWER,
    "optimizer.momentum": BELOW_1,
    "optimizer.weight_decay": FRACTION,
    "optimizer.layer_rates": WEIGHT,
    "optimizer.clip_norm": Range(0, has_low=False, hint="None is no clipping"),
    "optimizer.ema_decay": BELOW_1,
    "eval.every_images": COUNT_OR_0,
    "eval.batch_size": COUNT,
    "eval.score_threshold": FRACTION,
    "eval.iou_threshold": FRACTION,
    "eval.nodes": COUNT_OR_0,
    "eval.seen": COUNT_OR_0,
    "eval.tree_threshold": FRACTION,
    "eval.max_tree_boxes": COUNT,
    "eval.top_k": COUNT,
    "eval.max_detections": COUNT,
    "eval.bootstrap": Range(0, 10**7),
    "checkpoint.every_images": COUNT_OR_0,
    "checkpoint.keep": COUNT,
    "seed": Range(0, 2**32 - 1),
    "log_every": COUNT,
    "explain_every": COUNT_OR_0,
}
# Texts that are checked nowhere else before the first compilation.
CHOICES = {
    "data.augment.geometry": ("letterbox", "crop", "none"),
    "data.classifier_view": ("", "letterbox", "centre_crop"),
    "data.resize": ("opencv", "darknet"),
    "data.on_bad_record": ("error", "skip"),
}
# A .cfg may have other policies, with which its network is used but not trained.
TRAINING_CHOICES = {"optimizer.policy": ("constant", "steps", "poly")}


def check_ranges(config) -> None:
    """Check every field of a Config against RANGES and CHOICES.

    Raises:
        ValueError: a value is out of its range; it names the field and the likely meaning.
    """
    for name, wanted in RANGES.items():
        value = value_of(config, name)
        wrong = next((number for number in numbers(value) if number not in wanted), None)
        if wrong is not None:
            where = "is" if wrong is value else "holds"
            hint = wanted.hint or _percent(wrong, wanted)
            hint = f" ({hint})" if hint else ""
            raise ValueError(
                f"config.{name} {where} {wrong:.10g}: must be {wanted.rule(wrong)}{hint}."
            )
    for name, known in CHOICES.items():
        choose(name, value_of(config, name), known)


def check_training(config) -> None:
    """Check what the training needs of the fields of a Config together.

    Raises:
        ValueError: a field has none of TRAINING_CHOICES, or two fields do not fit each other.
    """
    for name, known in TRAINING_CHOICES.items():
        choose(name, value_of(config, name), known)
    for rule in RULES:
        problem = rule(config)
        if problem:
            raise ValueError(f"config.{problem}.")


def value_of(config, name: str):
    """Return the field with the dotted `name`."""
    return reduce(getattr, name.split("."), config)


def numbers(value) -> Iterator[float]:
    """Yield the numbers in the value of a field."""
    if isinstance(value, tuple):
        for part in value:
            yield from numbers(part)
    elif isinstance(value, int | float):
        yield value


def _percent(value: float, wanted: Range) -> str:
    """Return what a percentage would be as a fraction, "" if `value` is none."""
    is_percent = wanted.low == 0 and wanted.high == 1 < value <= 100
    return f"{value:g} percent is {value / 100:g}" if is_percent else ""


def _grid(config) -> str | None:
    data, model = config.data, config.model
    side = max(*data.image_size, *data.multiscale)
    cells = max(side // (FINEST_CELL if model.cfg else CELL), LARGEST_GRID)
    large = next((anchor for anchor in model.anchors if max(anchor) > cells), None)
    if large is None:
        return None
    in_cells = tuple(round(length / CELL, 3) for length in large)
    return (
        f"model.anchors holds {large}, in cells, but images of {side} pixels have at most "
        f"{side // CELL}: are these pixels? Divided by {CELL} they are {in_cells}"
    )


def _steps(config) -> str | None:
    steps, scales = config.optimizer.step_images, config.optimizer.step_scales
    if any(a > b for a, b in pairwise(steps)):
        return f"optimizer.step_images is {steps}: must rise"
    if len(steps) != len(scales):
        return (
            f"optimizer.step_scales is {scales}: must have one scale for each of step_images, "
            f"{steps}"
        )
    return None


def _length(config) -> str | None:
    optimizer = config.optimizer
    if optimizer.images < optimizer.batch_size:
        return (
            f"optimizer.images is {optimizer.images}: must be at least one batch, "
            f"optimizer.batch_size={optimizer.batch_size}"
        )
    if optimizer.batch_size % optimizer.subdivisions:
        return (
            f"optimizer.subdivisions is {optimizer.subdivisions}: must divide "
            f"optimizer.batch_size={optimizer.batch_size}"
        )
    if optimizer.burn_in_images > optimizer.images:
        return (
            f"optimizer.burn_in_images is {optimizer.burn_in_images}: must be at most the run's "
            f"length, optimizer.images={optimizer.images}, or the learning rate is never reached; "
            "0 is no burn-in"
        )
    return None


def _scales(config) -> str | None:
    low, high = config.data.classifier.scales
    return f"data.classifier.scales is {(low, high)}: must be (least, most)" if low > high else None


def _jitter(config) -> str | None:
    augment = config.data.augment
    if augment.geometry == "crop" and augment.jitter >= 0.5:
        return (
            f"data.augment.jitter is {augment.jitter:g}: must be below 0.5 with geometry 'crop', "
            "which moves each edge by as much; Darknet has 0.2"
        )
    return None


def _class_weights(config) -> str | None:
    weights, classes = config.loss.class_weights, config.model.classes
    if weights and classes and len(weights) != len(classes):
        return (
            f"loss.class_weights has {len(weights)} numbers: must be one for each of the "
            f"{len(classes)} classes, or none"
        )
    return None


RULES: tuple[Callable, ...] = (_grid, _steps, _length, _scales, _jitter, _class_weights)
