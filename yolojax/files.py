"""Atomic writes, checked reads of text files, suffixes of pictures, and memory of mapped files."""

import errno
import json
import math
import mmap
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

MIN_FREE = 2**20  # bytes; a disk with less free space counts as full
# Of the pictures that are read; a VOC annotation tries them in this order.
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
MAX_TEXT = 1_000_000  # bytes; the largest published .cfg has 30 kB, list of names 250 kB


@contextmanager
def open_atomic(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file for writing bytes that gets its name `path` once it is written completely.

    Missing folders are made.
    """
    with atomic_paths(path) as (temporary,), open(temporary, "wb") as file:
        yield file


@contextmanager
def atomic_paths(*paths: str | Path) -> Iterator[tuple[Path, ...]]:
    """Yield temporary names next to `paths`; all are renamed at the end, or removed on an error.

    Missing folders are made.

    Raises:
        IsADirectoryError: one of `paths` is a folder.
    """
    targets = tuple(map(Path, paths))
    for path in targets:
        if path.is_dir():
            raise IsADirectoryError(f"{path}: is a folder, not a file; choose another name.")
        path.parent.mkdir(parents=True, exist_ok=True)
    temporaries = tuple(path.with_name(f".{path.name}.{os.getpid()}") for path in targets)
    try:
        yield temporaries
        for temporary, path in zip(temporaries, targets, strict=True):
            temporary.replace(path)
    finally:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file atomically; missing folders are made."""
    with open_atomic(path) as file:
        file.write(data)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file atomically; missing folders are made."""
    write_bytes(path, text.encode())


def disk_has_space(folder: Path) -> bool:
    """Check that the disk of `folder` is not full; warn on stderr each time it becomes full."""
    global _full
    disk = shutil.disk_usage(folder)
    was_full, _full = _full, disk.total > 0 and disk.free < MIN_FREE  # total is 0 if unknown
    if _full and not was_full:
        print(
            f"{folder}: the disk is full; records are skipped until it has space.", file=sys.stderr
        )
    return not _full


_full = False


@contextmanager
def ignore_full_disk() -> Iterator[None]:
    """Turn the error of a full disk into a message on stderr, for files that a run can miss."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(f"{error}: the file is skipped, the run continues.", file=sys.stderr)


def check_absent(*paths: Path, force: bool = False) -> None:
    """Raise ValueError if one of `paths` exists, unless `force`."""
    for path in paths:
        if path.exists() and not force:
            raise ValueError(f"{path}: exists already; choose another name, or give --force.")


def is_picture(path: str | Path) -> bool:
    """Check whether the suffix of `path` is one of PICTURE_SUFFIXES."""
    return Path(path).suffix.lower() in PICTURE_SUFFIXES


def read_text(path: str | Path, what: str) -> str:
    """Read a small text file; `what` is the expected kind of file, such as "a .cfg".

    Bytes that are not UTF-8 are replaced, as Darknet allows them in comments.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is larger than MAX_TEXT, or is binary.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give {what} file.")
    with path.open("rb") as file:
        data = file.read(MAX_TEXT + 1)
    check_length(len(data), path)
    if b"\0" in data:
        raise ValueError(f"{path}: must be {what} file, which is text; this is a binary file.")
    return data.decode("utf-8-sig", errors="replace")


def check_length(length: int, file: str | Path) -> None:
    """Raise ValueError if a text of `length` bytes is longer than MAX_TEXT."""
    if length > MAX_TEXT:
        raise ValueError(f"{file}: longer than {MAX_TEXT:,} bytes; is it the right file?")


def read_utf8(path: str | Path) -> str:
    """Read a text file of any length.

    Raises:
        ValueError: the file cannot be read, or is not UTF-8.
    """
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: must be a text file in UTF-8: {error}.") from error


def read_lines(path: str | Path) -> list[str]:
    """Read the lines of a text file without surrounding space; raises ValueError as `read_utf8`."""
    return [line.strip() for line in read_utf8(path).splitlines()]


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
            _warn(f"{path}, line {number}: damaged, skipped; it must be an object with {wanted}.")
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
    """Check whether `value`, read from JSON, is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@cache  # each message is printed once
def _warn(message: str) -> None:
    print(message, file=sys.stderr)


def release_mapped(array: Any) -> None:
    """Let the system reclaim the memory of the mapped file that the numpy `array` is a view of.

    Later reads load the file again. Does nothing for other arrays, nor for a writable map, whose
    changes are not in the file.
    """
    while hasattr(array, "base"):
        array = array.base
    read_only = isinstance(array, mmap.mmap) and memoryview(array).readonly
    if read_only and hasattr(mmap, "MADV_DONTNEED"):
        array.madvise(mmap.MADV_DONTNEED)
