"""Atomic writes, safe file names, checked reads of text, search for pictures, texts of messages."""

import errno
import mmap
import os
import re
import shutil
import stat
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

MIN_FREE = 2**20  # bytes; a disk with less free space counts as full
# Of the pictures that are read; a VOC annotation tries them in this order.
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
LINE_END = re.compile(r"\r\n|\r|\n")
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")  # of Windows tools
MAX_TEXT = 1_000_000  # bytes; the largest published .cfg has 30 kB, list of names 250 kB
NAME_BYTES = 255  # of a file name, at most, on the usual file systems
SAFE_BYTES = 200  # of `safe_name`, which leaves room for what is put before and after it
STREAMS = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/self/fd/")
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # by Windows


@contextmanager
def open_atomic(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file for writing bytes that gets its name `path` once it is written completely.

    Missing folders are made. A device or pipe, such as /dev/stdout, is written directly.
    """
    with _naming(path):
        if is_device(path):
            with open(path, "ab") as file:
                yield file
            return
        with atomic_paths(path) as (temporary,), open(temporary, "wb") as file:
            yield file


@contextmanager
def _naming(path: str | Path) -> Iterator[None]:
    """Let an OSError of no file (a full disk) or of the temporary file name `path`."""
    try:
        yield
    except OSError as error:
        if error.errno and error.filename in (None, str(_temporary(Path(path)))):
            error.filename = str(path)
        raise


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
    temporaries = tuple(map(_temporary, targets))
    try:
        yield temporaries
        for temporary, path in zip(temporaries, targets, strict=True):
            temporary.replace(path)
    finally:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    end = f".{os.getpid()}"
    return path.with_name(cut(f".{path.name}", NAME_BYTES - len(end)) + end)


def is_device(path: str | Path) -> bool:
    """Check whether `path` is a device, pipe or socket, which cannot be replaced by a file."""
    other = os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)
    return other or os.path.abspath(path).startswith(STREAMS)  # these may be a file


def check_writable(path: str | Path, *, folder: bool = False) -> None:
    """Check that a file (or a `folder`) can be written at `path`; nothing is made.

    Raises:
        ValueError: it is a folder (or is none), or it or its folder cannot be written or made.
    """
    whole = Path(os.path.abspath(path))
    place = next(place for place in (whole, *whole.parents) if os.path.exists(place))
    in_folder = folder or place != whole
    needed = (place,) if place.is_dir() or is_device(place) else (place, place.parent)
    if any(len(os.fsencode(part)) > NAME_BYTES for part in whole.parts):
        problem = f"a name of more than {NAME_BYTES} bytes"
    elif place.is_dir() != in_folder:
        problem = f"{place} is {'not ' * in_folder}a folder"
    elif not all(os.access(one, os.W_OK) for one in needed):
        problem = f"{place} is write-protected"
    else:
        return
    raise ValueError(f"{path}: cannot be written: {problem}; choose another name.")


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file atomically; missing folders are made."""
    with open_atomic(path) as file:
        file.write(data)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file atomically; missing folders are made.

    Bytes of file names that are not UTF-8 are written as \\udcXX, which is their form in JSON too.
    """
    write_bytes(path, text.encode(errors="backslashreplace"))


def append_line(path: str | Path, line: str) -> None:
    """Append `line` to a UTF-8 text file, after a line break if its last line is unfinished.

    A process that is killed while it writes leaves such a line. Missing folders are made.
    """
    data = line.encode(errors="backslashreplace") + b"\n"
    if is_device(path):
        with _naming(path), open(path, "ab") as file:
            file.write(data)
        return
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with _naming(path), open(path, "a+b") as file:
        unfinished = file.seek(0, 2) and file.seek(-1, 2) + 1 and file.read(1) != b"\n"
        file.write(b"\n" * bool(unfinished) + data)


def safe_name(name: str, taken: set[str] | None = None) -> str:
    """Make `name` a file name that all systems accept and that does not leave its folder.

    Characters other than letters, digits, blanks and _.()+- become _, and so do dots and blanks at
    both ends. An empty name is _, a reserved one (NUL, con.txt) gets _ in front, a long one is cut
    to SAFE_BYTES. If the name without case is in `taken`, it gets _2, _3, ...; the result is added.
    """
    text = re.sub(r"[^\w .()+-]", "_", unicodedata.normalize("NFC", str(name)))
    text = re.sub(r"^[. ]+|[. ]+$", lambda ends: "_" * len(ends[0]), text) or "_"
    text = cut(f"_{text}" if RESERVED.fullmatch(text) else text, SAFE_BYTES)
    if taken is None:
        return text
    unique, number = text, 1
    while unique.casefold() in taken:
        number += 1
        unique = f"{text}_{number}"
    taken.add(unique.casefold())
    return unique


def cut(name: str, length: int) -> str:
    """Cut a file name to `length` bytes at most."""
    while len(os.fsencode(name)) > length:
        name = name[:-1]
    return name


def one_line(text: str) -> str:
    """Escape line breaks, control characters and what is not Unicode, as in names of files."""
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in "Cc Cs" else char
        for char in text
    )


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


def pictures_below(
    folder: str | Path, on_bad: Callable[[ValueError], None] | None = None
) -> list[Path]:
    """List the pictures in `folder` and its subfolders; see `files_below`."""
    return files_below(folder, PICTURE_SUFFIXES, on_bad)


def files_below(
    folder: str | Path,
    suffixes: tuple[str, ...],
    on_bad: Callable[[ValueError], None] | None = None,
) -> list[Path]:
    """List files in `folder` and its subfolders, sorted by path; linked folders as well.

    Each folder is listed once, however many links lead to it, so links may form loops. Hidden files
    and folders (.ipynb_checkpoints, ._a.jpg) and __MACOSX are left out, and so are folders, pipes
    and sockets with such a suffix. A broken link is listed.

    Args:
        suffixes: of the files, in lower case; theirs may be in any case.

    Raises:
        ValueError: a folder cannot be listed and `on_bad` is None; otherwise it gets the error.
    """
    root = os.path.realpath(folder)
    seen = {str(parent) for parent in Path(root).parents}  # a link to one of them is a loop
    files, folders, links = [], [str(Path(folder))], []
    while folders or links:
        place = folders.pop() if folders else links.pop(0)  # links last: own names come first
        real = os.path.realpath(place)
        if real in seen:
            continue
        seen.add(real)
        for entry in _visible_entries(place, on_bad):
            if os.path.isdir(entry) if entry.is_symlink() else entry.is_dir():
                (links if entry.is_symlink() else folders).append(entry.path)
            elif entry.name.lower().endswith(suffixes) and _is_file_or_broken_link(entry):
                files.append(Path(entry.path))
    return sorted(files)


def _visible_entries(folder: str, on_bad) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            visible = [e for e in entries if e.name[0] != "." and e.name != "__MACOSX"]
    except OSError as error:
        problem = ValueError(f"{folder}: cannot be listed ({error.strerror}).")
        if on_bad is None:
            raise problem from error
        on_bad(problem)
        return []
    return sorted(visible, key=lambda entry: entry.name)


def _is_file_or_broken_link(entry: os.DirEntry) -> bool:
    """Check that opening it does not wait for ever, as it may for a pipe."""
    if entry.is_symlink():
        return os.path.isfile(entry) or not os.path.exists(entry)
    return entry.is_file()


def open_regular(path: Path, buffering: int = -1) -> BinaryIO:
    """Open a file for reading bytes; a pipe, which could block, or a device has no end.

    Raises:
        OSError: it is no regular file, or cannot be opened.
        ValueError: the path has a NUL.
    """
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # `open` names a folder itself
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return open(path, "rb", buffering=buffering)


def read_text(path: str | Path, what: str) -> str:
    """Read a small text file; `what` is the expected kind of file, such as "a .cfg".

    Bytes that are not UTF-8 are replaced, as Darknet allows them in comments. UTF-16 is read as by
    `read_utf8`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read, is larger than MAX_TEXT, or is binary.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such file; give {what} file.")
    data = _read_bytes(path, MAX_TEXT + 1)
    check_length(len(data), path)
    if data.startswith(UTF16_MARKS):
        return _decode(data, path)
    if b"\0" in data:
        raise ValueError(f"{path}: must be {what} file, which is text; this is a binary file.")
    return data.decode("utf-8-sig", errors="replace")


def check_length(length: int, file: str | Path, limit: int = MAX_TEXT) -> None:
    """Raise ValueError if a text of `length` bytes is longer than `limit`."""
    if length > limit:
        raise ValueError(f"{file}: longer than {limit:,} bytes; is it the right file?")


def read_utf8(path: str | Path) -> str:
    """Read a text file of any length; UTF-16 is read as well if the file starts with its mark.

    Raises:
        ValueError: the file cannot be read, is in another encoding, or has a NUL character; the
            message has the line.
    """
    return _decode(_read_bytes(path), path)


def _read_bytes(path: str | Path, limit: int = -1) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(limit)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}).") from error
    except ValueError as error:  # of open: the path has a NUL character
        raise ValueError(f"{os.fspath(path)!a}: is not a path.") from error


def _decode(data: bytes, path: str | Path) -> str:
    encoding = "utf-16" if data.startswith(UTF16_MARKS) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}:{line}: must be a text file in UTF-8, byte 0x{data[error.start]:02x} is not; "
            "save the file in this encoding."
        ) from error
    if (at := text.find("\0")) >= 0:
        line = text.count("\n", 0, at) + 1
        raise ValueError(
            f"{path}:{line}: must be a text file in UTF-8, and has a NUL character; save the file "
            "in this encoding."
        )
    return text


def read_lines(path: str | Path) -> list[str]:
    """Read the lines of a text file without surrounding space; raises ValueError as `read_utf8`."""
    lines = LINE_END.split(read_utf8(path))
    return [line.strip() for line in (lines if lines[-1] else lines[:-1])]


def shorten(text: str, length: int = 60) -> str:
    """Shorten `text` to `length` characters, for messages."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


@cache  # each message is printed once
def warn_once(message: str) -> None:
    """Print a message on stderr, the first time that it comes."""
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
