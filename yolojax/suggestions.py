"""Error messages for names that are unknown."""

import difflib
from collections.abc import Iterable, Mapping


def choose(field: str, name: str, known: Iterable[str]):
    """Return `known[name]` if `known` is a dict, else `name`.

    Args:
        field: dotted name of the config field that holds `name`, such as "model.location".
        name: the value of the field.
        known: the values that are allowed, or a dict from each of them to its meaning.

    Raises:
        ValueError: `name` is not in `known`.
    """
    if name not in known:
        hint = did_you_mean(name, known)
        raise ValueError(f"config.{field} is {name!r}; known: {', '.join(known)}.{hint}")
    return known[name] if isinstance(known, Mapping) else name


def did_you_mean(name: str, known: Iterable[str], form: str = "{!r}") -> str:
    """Return " Did you mean 'x'?" with the nearest of `known` in `form`, or "" if none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {form.format(near[0])}?" if near else ""
