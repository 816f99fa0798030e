"""Darknet's .names files (one class name per line) and .data files (`key = value` lines).

Both are UTF-8, or UTF-16 with its mark, of at most a million bytes, without NUL characters. Lines
end with LF, CR LF or CR; blanks around names, keys and values do not count.

    .names   NAME on each line, in the order of the labels; only the last lines may be blank
    .data    KEY = VALUE on each line, a comment after # or ; at its start, or a blank line

A key of a .data file without a value counts as missing. A key may come again with the same value.
"""

import re
from pathlib import Path

from yolojax.files import LINE_END, read_text

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# Of the .weights that a training of X.cfg writes: X_final and X_1000, each 100 batches at most
# (detector.c); X_last and X_best (AlexeyAB/darknet). darknet19_448.weights is none of them.
SAVED = re.compile(r"_(final|last|best|[0-9]+00)$", re.ASCII)


def file_next_to(weights: Path, suffix: str) -> Path | None:
    """Return the X.cfg, or X.names, next to X.weights or X_final.weights; None if there is none."""
    stems = dict.fromkeys((weights.stem, SAVED.sub("", weights.stem)))
    files = (weights.with_name(stem + suffix) for stem in stems if stem)
    return next((file for file in files if file.is_file()), None)


def read_names(path: str | Path) -> tuple[str, ...]:
    """Read class names in the order of the labels; two may be the same.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not UTF-8 text, too long, empty, or has an empty line between names or a
            control character.
    """
    names = [line.strip() for line in LINE_END.split(_utf8(path, "a .names").rstrip())]
    for number, name in enumerate(names, 1):
        if not name and len(names) > 1:
            raise ValueError(
                f"{path}:{number}: an empty line; each line names one class, in order."
            )
    if not names[0]:
        raise ValueError(f"{path}: no names; a .names file has one name per line.")
    return tuple(names)


def read_data(path: str | Path) -> dict[str, str]:
    """Read the values of a .data file: classes, train, valid, names, labels, map, ...

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is not `key = value`, or a key has two values.
    """
    values: dict[str, str] = {}
    for number, line in enumerate(LINE_END.split(_utf8(path, "a .data")), 1):
        key, equals, text = (part.strip() for part in line.partition("="))
        if not (key or equals) or line.strip().startswith(("#", ";")):
            continue
        if not (key and equals):
            raise ValueError(f"{path}:{number}: must be `key = value`, got {line.strip()[:60]!r}.")
        if text and values.setdefault(key, text) != text:
            raise ValueError(
                f"{path}:{number}: {key[:60]} has another value already (Darknet takes the first); "
                "remove one of them."
            )
    if not values:
        raise ValueError(f"{path}: no values; a .data file has lines such as names = FILE.names.")
    return values


def _utf8(path: str | Path, what: str) -> str:
    text = read_text(path, what)
    if "\ufffd" in text:
        line = len(LINE_END.split(text[: text.index("\ufffd")]))
        raise ValueError(f"{path}:{line}: must be {what} file in UTF-8; save it in this encoding.")
    if found := CONTROL.search(text):
        line = len(LINE_END.split(text[: found.start()]))
        raise ValueError(
            f"{path}:{line}: has the control character {found[0]!a}; {what} file is text."
        )
    return text
