"""Progress bars with an estimate of the time left."""

import sys

from tqdm import tqdm

_hidden = False


def hide() -> None:
    """Show no bar from now on: another process does."""
    global _hidden
    _hidden = True


def progress(iterable=None, **settings) -> tqdm:
    """A tqdm bar; where stderr is a file it adds a line every half minute, no more."""
    live = sys.stderr.isatty()
    pace = {"mininterval": 0.2} if live else {"mininterval": 30, "maxinterval": 30, "ncols": 110}
    return tqdm(iterable, dynamic_ncols=live, leave=False, disable=_hidden, **pace | settings)
