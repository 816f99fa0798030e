"""What evaluation means for a task: boxes are detected, classes are told."""

from collections.abc import Callable
from typing import NamedTuple

from yolojax.evaluation import classification, detect, evaluator, run
from yolojax.tasks import Task


class Kind(NamedTuple):
    """The functions that evaluate one kind of task; their arguments are the same in both."""

    metrics: tuple[str, ...]  # what config.eval.metric may be
    make_programs: Callable
    warm_up: Callable
    evaluate_source: Callable


DETECTION = Kind(
    tuple(evaluator.METRICS), detect.make_programs, detect.warm_up, run.evaluate_source
)
CLASSIFICATION = Kind(
    classification.METRICS,
    classification.make_programs,
    classification.warm_up,
    classification.evaluate_source,
)


def kind_of(task: Task) -> Kind:
    """How `task` is evaluated."""
    return CLASSIFICATION if task.head == "classes" else DETECTION
