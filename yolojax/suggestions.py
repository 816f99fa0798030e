"""What to say of a name that is not known."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str], form: str = "{!r}") -> str:
    """ " Did you mean 'x'?" with the nearest of `known` in `form`, or "" where none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {form.format(near[0])}?" if near else ""
