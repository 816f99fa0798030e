"""A loss from a file of the user's own: config.loss.name = "FILE.py:FUNCTION"."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

from yolojax.suggestions import did_you_mean


def is_in_file(name: str) -> bool:
    """Whether the name of a loss is that of a function in a file."""
    return ".py:" in name


def load_maker(name: str) -> Callable:
    """The function that FILE.py:FUNCTION names; it makes a loss from keyword arguments.

    FILE is relative to the current folder. Modules that it imports may lie beside it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it has no such function.
    """
    file, _, function = name.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(
            f"config.loss.name is {name!r}, but there is no file {path.absolute()}; start in the "
            "folder that the name is relative to, or give it with its whole path."
        )
    names = _run(path)
    if not callable(names.get(function)):
        hint = did_you_mean(function, [key for key in names if callable(names[key])])
        raise ValueError(f"config.loss.name is {name!r}: {path} has no such function.{hint}")
    return names[function]


def _run(path: Path) -> dict:
    """The names that the file defines."""
    spec = importlib.util.spec_from_file_location(f"user_loss_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for their annotations
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
    return vars(module)


def checked(loss: Callable, name: str) -> Callable:
    """`loss` that raises ValueError where it returns no (scalar, {name: scalar}) with "loss".

    Raises:
        ValueError: `loss` is no function.
    """
    if not callable(loss):
        raise ValueError(
            f"config.loss.name is {name!r}, which returned {type(loss).__name__}; it must return "
            "a function of (raw, batch, seen)."
        )

    def checked_loss(raw, batch, seen):
        returned = loss(raw, batch, seen)
        problem = _problem(returned)
        if problem:
            raise ValueError(
                f"the loss {name} must return a scalar and a dict of scalars that has it as "
                f"'loss', but {problem}."
            )
        return returned

    return checked_loss


def absent(error: FileNotFoundError) -> Callable:
    """A loss that raises the `error` when it is called: whoever only predicts needs none."""

    def loss(raw, batch, seen):
        raise FileNotFoundError(str(error))

    return loss


def _problem(returned) -> str:
    """What is wrong with that which a loss `returned`, "" if nothing is."""
    if not isinstance(returned, tuple) or len(returned) != 2:
        return f"it returned {type(returned).__name__}"
    scalar, metrics = returned
    if _shape(scalar) != ():
        return f"its first is {type(scalar).__name__} of shape {_shape(scalar)}"
    if not isinstance(metrics, dict) or "loss" not in metrics:
        return "its second has no 'loss'"
    wrong = [key for key, value in metrics.items() if _shape(value) != ()]
    return f"the metric {wrong[0]!r} has shape {_shape(metrics[wrong[0]])}" if wrong else ""


def _shape(value):
    return () if isinstance(value, int | float) else getattr(value, "shape", None)
