"""Lines on stdout and stderr, which may be closed or unable to show a character."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from yolojax.files import one_line
from yolojax.progress import progress


@contextmanager
def until_closed(name: str) -> Iterator[None]:
    """Drop what is written to sys.`name` once its reader has closed the pipe, as `head` does."""
    try:
        yield
    except BrokenPipeError:
        setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  open until the process ends


def is_closed(name: str) -> bool:
    """Check whether `until_closed` has found sys.`name` closed."""
    return getattr(getattr(sys, name), "name", "") == os.devnull


def print_line(text: str, name: str = "stdout") -> None:
    """Print a line to sys.`name` at once, above a progress bar."""
    from tqdm import tqdm

    stream = getattr(sys, name)
    text = one_line(text).encode(stream.encoding or "utf-8", "backslashreplace")
    text = text.decode(stream.encoding or "utf-8")
    with until_closed(name):
        tqdm.write(text, file=stream)
        stream.flush()


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar on a terminal -> a function that counts a picture.

    A file or pipe gets none, as a bar would be mixed with the lines of the pictures.
    """
    if not sys.stderr.isatty():
        yield lambda: None
        return
    with progress(total=total, unit="picture") as bar:
        yield bar.update


def write_out(text: str) -> None:
    """Write `text` to stdout as UTF-8, whatever the encoding of the terminal."""
    with until_closed("stdout"):
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode(errors="backslashreplace"))
        sys.stdout.flush()
