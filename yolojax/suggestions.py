"""Suggestions for misspelt names, for error messages."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str], form: str = "{!r}") -> str:
    """Return " Did you mean 'x'?" with the nearest of `known` in `form`, or "" if none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {form.format(near[0])}?" if near else ""
