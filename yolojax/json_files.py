"""JSON and JSON Lines, in and out: without NaN, and with one line about what is damaged."""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yolojax.files import shorten, warn_once


def parse_json(data: str | bytes, where: Path | str) -> Any:
    """Parse a JSON document, as Python does: with NaN and Infinity, in UTF-8, UTF-16 or UTF-32.

    Raises:
        ValueError: it is not JSON, or nested too deeply; the message starts with `where`.
    """
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError(f"{where}: not valid JSON: nested too deeply.") from error
    except ValueError as error:
        raise ValueError(f"{where}: not valid JSON: {shorten(str(error), 200)}.") from error


def to_json(value: Any, *, indent: int | None = None, ascii_only: bool = True) -> str:
    """Format `value` as JSON; NaN and infinity, which JSON does not have, become null."""
    return json.dumps(_finite(value), indent=indent, ensure_ascii=ascii_only, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json_lines(path: str | Path, numbers: Sequence[str]) -> list[dict]:
    """Read the JSON objects in a file, one a line; [] if there is no such file.

    A line that is no object, or lacks one of `numbers` as a finite number, is left out, and stderr
    says so once in a process. Only of a last line without a line break it does not: a process that
    writes the file may be in the middle of it.
    """
    path, entries = Path(path), []
    lines = path.read_bytes().decode(errors="replace").split("\n") if path.is_file() else []
    for number, line in enumerate(lines, 1):
        entry = _json_object(line, numbers)
        if entry is not None:
            entries.append(entry)
        elif line.strip() and number < len(lines):
            wanted = " and ".join(f'"{name}"' for name in numbers)
            warn_once(
                f"{path}, line {number}: damaged, skipped; it must be an object with {wanted}."
            )
    return entries


def _json_object(line: str, numbers: Sequence[str]) -> dict | None:
    try:
        entry = json.loads(line, parse_int=_integer)
    except (ValueError, RecursionError):
        return None
    valid = isinstance(entry, dict) and all(is_number(entry.get(name)) for name in numbers)
    return entry if valid else None


def _integer(digits: str) -> int | float:
    """Parse an integer; one beyond 64 bits becomes a float, as in other programs."""
    return int(digits) if len(digits) < 19 else float(digits)


def is_number(value: Any) -> bool:
    """Check whether `value`, read from JSON, is a finite number that a float can hold."""
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and abs(value) <= sys.float_info.max  # False for NaN
