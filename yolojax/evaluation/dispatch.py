"""Choose how a task is evaluated."""

from types import ModuleType

from yolojax.evaluation import classification, detection
from yolojax.tasks import Task


def evaluation_of(task: Task) -> ModuleType:
    """Return the module that evaluates `task`: `classification` or `detection`.

    Both have METRICS (names for config.eval.metric), make_programs, warm_up and evaluate_source,
    with the same arguments.
    """
    return classification if task.is_classifier else detection
