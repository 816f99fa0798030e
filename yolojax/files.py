"""Files that appear whole or not at all, and small ones that are read with suspicion."""

import errno
import mmap
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

MIN_FREE = 2**20  # bytes of a disk, below which it counts as full
MAX_TEXT = 1_000_000  # bytes; the largest published .cfg has 30 kB, list of names 250 kB


@contextmanager
def open_whole(path: str | Path) -> Iterator[BinaryIO]:
    """A file to write bytes to, that takes the name `path` once all of them are written.

    Until then it has a temporary name beside it; folders are made where they are missing.
    """
    with all_or_none(path) as (temporary,), open(temporary, "wb") as file:
        yield file


@contextmanager
def all_or_none(*paths: str | Path) -> Iterator[tuple[Path, ...]]:
    """Temporary names for `paths`, which get their own once all of them are written.

    They lie beside them; folders are made where they are missing.

    Raises:
        IsADirectoryError: a folder has one of the names.
    """
    targets = tuple(map(Path, paths))
    for path in targets:
        if path.is_dir():
            raise IsADirectoryError(
                f"{path}: a folder is there, where a file is to be; choose another name."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
    temporaries = tuple(path.with_name(f".{path.name}.{os.getpid()}") for path in targets)
    try:
        yield temporaries
        for temporary, path in zip(temporaries, targets, strict=True):
            temporary.replace(path)
    finally:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)


def has_room(folder: Path) -> bool:
    """Whether the disk of `folder` is not full; each time that it gets full, stderr is told."""
    global _full
    disk = shutil.disk_usage(folder)
    was, _full = _full, disk.total > 0 and disk.free < MIN_FREE  # a total of 0: it does not tell
    if _full and not was:
        print(f"{folder}: the disk is full; nothing is recorded until it is not.", file=sys.stderr)
    return not _full


_full = False


@contextmanager
def as_records() -> Iterator[None]:
    """Files that a run is worth more than: where the disk is full, stderr is told, and no more."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(f"{error}: left out, the run goes on.", file=sys.stderr)


def check_absent(*paths: Path, force: bool = False) -> None:
    """Raises ValueError where one of `paths` is there already, unless `force`."""
    for path in paths:
        if path.exists() and not force:
            raise ValueError(f"{path}: exists already; choose another name, or give --force.")


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write `data` under a temporary name, then rename; folders are made where they are missing."""
    with open_whole(path) as file:
        file.write(data)


def write_text(path: str | Path, text: str) -> None:
    """As `write_bytes`, in UTF-8."""
    write_bytes(path, text.encode())


def read_text(path: str | Path, what: str) -> str:
    """The text in `path`; `what` says what should be in it ("a .cfg").

    Bytes that are not UTF-8 are replaced: they are found in comments, where Darknet allows them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is larger than MAX_TEXT, or holds zero bytes.
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
    """Raises ValueError if a text of `length` is too long to be what it should be."""
    if length > MAX_TEXT:
        raise ValueError(f"{file}: longer than {MAX_TEXT:,} bytes; is it the right file?")


def let_go(array: Any) -> None:
    """Lets the system take back the memory of the mapped file that the numpy `array` is a view of.

    What is asked for later is read again. Of any other array nothing happens, nor of a map that
    can be written to: what was changed in it is not in the file.
    """
    while hasattr(array, "base"):
        array = array.base
    read_only = isinstance(array, mmap.mmap) and memoryview(array).readonly
    if read_only and hasattr(mmap, "MADV_DONTNEED"):
        array.madvise(mmap.MADV_DONTNEED)
