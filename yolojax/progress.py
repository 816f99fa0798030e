"""Progress bars with an estimate of the remaining time."""

import sys

from tqdm import tqdm

_hidden = False


def hide() -> None:
    """Show no more bars in this process, because another process shows them."""
    global _hidden
    _hidden = True


def progress(iterable=None, **settings) -> tqdm:
    """Make a tqdm bar; if stderr is a file, it adds at most one line every half minute."""
    live = sys.stderr.isatty()
    pace = {"mininterval": 0.2} if live else {"mininterval": 30, "maxinterval": 30, "ncols": 110}
    return tqdm(iterable, dynamic_ncols=live, leave=False, disable=_hidden, **pace | settings)
