"""A loss from a user's file: config.loss.name = "FILE.py:FUNCTION"."""

import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path

from yolojax.losses.terms import SumOfTerms
from yolojax.suggestions import did_you_mean


def is_in_file(name: str) -> bool:
    """Return whether the name of a loss is FILE.py:FUNCTION."""
    return ".py:" in name


def load_maker(name: str) -> Callable:
    """Load the function FILE.py:FUNCTION, which makes a loss from keyword arguments.

    FILE is relative to the current folder. It may import modules of its own folder.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file has no such function.
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
    """Execute the file and return the names it defines."""
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


def argument_names(make: Callable) -> tuple[str, ...]:
    """Return the names of the keyword arguments of a maker."""
    return tuple(inspect.signature(make).parameters)


def make_loss(make: Callable, name: str, fields: dict, arguments: dict) -> Callable:
    """Make the user's loss, with checks of what it returns.

    Args:
        make: from `load_maker`.
        name: config.loss.name.
        fields: of the config; `make` gets those that it has as arguments.
        arguments: config.loss.arguments.

    Raises:
        ValueError: an argument is unknown or has no value, or `make` returns no function.
    """
    parameters = inspect.signature(make).parameters
    check_arguments(arguments, name, fields, known=tuple(parameters))
    given = {key: value for key, value in (fields | arguments).items() if key in parameters}
    for key, parameter in parameters.items():
        if key not in given and parameter.default is parameter.empty:
            raise ValueError(
                f"the loss {name} needs {key!r}: set it in config.loss.arguments, or give it a "
                "default."
            )
    return checked(make(**given), name)


def check_arguments(arguments: dict, name: str, fields: dict, known: tuple[str, ...]) -> None:
    """Raise ValueError unless config.loss.arguments are `known` and none is a field."""
    for key in arguments:
        if key in fields:
            raise ValueError(
                f"config.loss.arguments has {key!r}, which is a field of config.model or "
                "config.loss; set that."
            )
        if key not in known:
            raise ValueError(
                f"config.loss.arguments has {key!r}, but the loss {name} takes "
                f"{', '.join(known) or 'none'}.{did_you_mean(key, known)}"
            )


def checked(loss: Callable, name: str) -> Callable:
    """Make `loss` raise ValueError if it does not return (scalar, {name: scalar}) with "loss".

    Raises:
        ValueError: `loss` is no function.
    """
    if isinstance(loss, SumOfTerms):
        return loss
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
    """Make a loss that raises `error` when it is called."""

    def loss(raw, batch, seen):
        raise FileNotFoundError(str(error))

    return loss


def _problem(returned) -> str:
    """Describe what is wrong with the value that a loss returned, "" if nothing is."""
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
