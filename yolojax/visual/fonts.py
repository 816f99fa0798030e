"""Fonts for any script: DejaVu Sans, or a font of the system where that lacks a letter."""

import functools
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

FOLDERS = (  # of the fonts of Linux, macOS and Windows
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/System/Library/Fonts",
    "/Library/Fonts",
    "~/Library/Fonts",
    "C:/Windows/Fonts",
)
SUFFIXES = (".ttf", ".otf", ".ttc")
COMMON = 0x250  # characters below it, Latin ones, are in DejaVu Sans
NUMBERS = "0123456789."  # of the score behind a class name


@functools.lru_cache(maxsize=256)
def load_font(path: str, size: int) -> ImageFont.FreeTypeFont:
    """Load a font for PIL."""
    return ImageFont.truetype(path, size)


@functools.cache
def default_font() -> str:
    """Return the path of matplotlib's DejaVu Sans, which has Latin, Greek and Cyrillic letters."""
    package = Path(find_spec("matplotlib").origin).parent  # importing it takes 80 ms
    return str(package / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf")


@functools.lru_cache(maxsize=4096)
def font_for(text: str) -> str:
    """Return the path of a font with all letters of `text`: DejaVu Sans if no other has them.

    If no font has them, a message on stderr names it once.
    """
    rare = {ord(char) for char in text if ord(char) >= COMMON and char.isprintable()}
    if not rare or rare <= _letters(default_font()):
        return default_font()
    needed = rare | {ord(char) for char in text + NUMBERS if char.isprintable()}
    for path in _system_fonts():
        if needed <= _letters(path):
            return path
    _say_missing(text)
    return default_font()


@functools.cache
def _system_fonts() -> tuple[str, ...]:
    """List the fonts of the system; upright ones without serifs of a normal weight first."""
    paths = [
        os.path.join(folder, name)
        for root in FOLDERS
        for folder, _, names in os.walk(os.path.expanduser(root))
        for name in names
        if name.lower().endswith(SUFFIXES)
    ]

    def rank(path):
        name = os.path.basename(path).lower()
        unusual = any(word in name for word in ("bold", "italic", "oblique", "serif", "light"))
        return unusual, "mono" in name, "regular" not in name, name

    return tuple(sorted(paths, key=rank))


@functools.cache
def _letters(path: str) -> frozenset[int]:
    """Return the code points that a font has; none if it cannot be read."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError, ValueError):
        return frozenset()


_said: list[str] = []


def _say_missing(text: str) -> None:
    if not _said:
        _said.append(text)
        print(
            f"no font on this system has all letters of {text!r}, so that some are drawn as boxes; "
            "install one that does, such as Noto Sans CJK.",
            file=sys.stderr,
        )
