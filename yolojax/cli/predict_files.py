"""The pictures that `yolojax predict` reads, and the files it writes as the results come."""

import argparse
import glob
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from yolojax.cli.console import write_out
from yolojax.files import (
    NAME_BYTES,
    PICTURE_SUFFIXES,
    append_line,
    check_writable,
    cut,
    is_device,
    is_picture,
    pictures_below,
    write_text,
)
from yolojax.json_files import to_json

RUN_FILES = ("config.json", "metrics.jsonl", "goodput.jsonl", "config_history.jsonl", "env.json")
Write = Callable[[Any], None]  # takes a Result or Classification


def find_pictures(paths: list[str], out: str | None, on_bad: Callable) -> list[str]:
    """Return the files in `paths` (files, folders, globs), each once.

    A file that is named may have any suffix; if it is missing, it is an unreadable picture. What
    is found in the folder `out`, where an earlier run wrote its drawings, is left out, unless that
    folder holds all that is searched. `on_bad` gets the error of a folder that cannot be listed.

    Raises:
        argparse.ArgumentError: there are no pictures, and `on_bad` was not called.
    """
    files: dict[str, str] = {}  # absolute path -> path as given
    failed = []

    def fail(error):
        failed.append(error)
        on_bad(error)

    def add(path: str, searched: str | None = None):
        if os.path.isdir(path):
            found = [str(picture) for picture in pictures_below(path, fail)]
            found = _outside(found, out, searched or path)
        else:
            found = [path] if searched is None else _outside([path], out, searched)
        for one in found:
            files.setdefault(os.path.abspath(one), one)

    for path in paths:
        if os.path.lexists(path) or not glob.has_magic(path):
            add(path)
            continue
        for match in _matches(path, fail):
            if is_picture(match) or os.path.isdir(match):
                add(match, searched=_root_of(path))
    if not files and not failed:
        raise argparse.ArgumentError(
            None, f"no pictures ({', '.join(PICTURE_SUFFIXES)}) in: {' '.join(paths)}"
        )
    return list(files.values())


def _matches(pattern: str, on_bad: Callable) -> list[str]:
    """List what fits a glob; with **, only pictures, and links may form loops."""
    root, parts = _root_of(pattern), Path(pattern).parts
    if "**" not in parts:
        return sorted(glob.glob(pattern))
    below = parts[len(Path(root).parts) :]
    found = pictures_below(root, on_bad) if os.path.isdir(root) else []
    return [str(p) for p in found if _fits(p.relative_to(root).parts, below)]


def _fits(names: tuple[str, ...], patterns: tuple[str, ...]) -> bool:
    if not patterns:
        return not names
    if patterns[0] == "**":
        return any(_fits(names[i:], patterns[1:]) for i in range(len(names) + 1))
    return bool(names) and fnmatch(names[0], patterns[0]) and _fits(names[1:], patterns[1:])


def _root_of(pattern: str) -> str:
    """Return the folder of a glob: its parts before the first with a special character."""
    root = Path(pattern).parent
    while glob.has_magic(str(root)):
        root = root.parent
    return str(root)


def _outside(pictures: list[str], out: str | None, searched: str) -> list[str]:
    """Leave out those of `pictures` that are in the folder `out`, also through links."""
    if not out or _is_in(searched, out):
        return pictures
    folders = {folder: _is_in(folder, out) for folder in map(os.path.dirname, pictures)}
    return [picture for picture in pictures if not folders[os.path.dirname(picture)]]


def _is_in(folder: str, other: str) -> bool:
    inner, outer = (Path(os.path.realpath(path or ".")) for path in (folder, other))
    return inner.is_relative_to(outer)


def plan_outputs(paths: list[str], out: Path, txt: bool) -> dict[str, Path]:
    """Return the path in `out` of each input's drawing: its path below the common folder.

    Where two drawings, or with `txt` their text files, would have one name, later ones get _2, _3.

    Raises:
        argparse.ArgumentError: a drawing would overwrite an input.
    """
    inputs = {path: Path(os.path.abspath(path)) for path in paths}
    common = os.path.commonpath([p.parent for p in inputs.values()]) if inputs else ""
    originals = {os.path.realpath(path) for path in inputs}
    targets: dict[str, Path] = {}
    taken: set[Path] = set()
    for path, place in inputs.items():
        target = _drawing(out / place.relative_to(common))
        number = 1
        while taken & {*_files_of(target, txt)} or os.path.isdir(target):
            number += 1
            target = _drawing(out / place.relative_to(common), f"_{number}")
        taken.update(_files_of(target, txt))
        for file in _files_of(target, txt):
            if os.path.realpath(file) in originals:
                raise argparse.ArgumentError(None, f"--out {out} would overwrite the input {file}.")
        targets[path] = target
    return targets


def _files_of(target: Path, txt: bool) -> tuple[Path, ...]:
    return (target, target.with_suffix(".txt")) if txt else (target,)


def _drawing(place: Path, number: str = "") -> Path:
    """Return `place` with `number` and the suffix of a picture, as long as a name may be."""
    stem, suffix = (place.stem, place.suffix) if is_picture(place) else (place.name, ".png")
    end = f"{number}{suffix}"
    return place.with_name(cut(stem, NAME_BYTES - len(end)) + end)


def check_targets(args, paths: list[str], targets: dict[str, Path]) -> None:
    """Check that all files can be written, before the work.

    Raises:
        ValueError: one cannot be written.
        argparse.ArgumentError: two options write one file, or one would overwrite a picture or
            a file that describes the model.
    """
    files = [file for file in (args.json, args.jsonl, args.csv) if file and file != "-"]
    for file in files:
        check_writable(file)
    for folder in {args.out, *(target.parent for target in targets.values())} - {None}:
        check_writable(folder, folder=True)
    places = [os.path.realpath(file) for file in files if not is_device(file)]
    if len(set(places)) < len(places):
        raise argparse.ArgumentError(None, f"two options write the same file: {' '.join(files)}.")
    drawn = {file for target in targets.values() for file in _files_of(target, args.txt)}
    pictures = {os.path.realpath(path) for path in (*paths, *drawn)}
    model = {os.path.realpath(p) for p in (args.weights, args.cfg, args.names, args.config) if p}
    model |= {os.path.realpath(Path(args.workdir, name)) for name in RUN_FILES if args.workdir}
    for file, place in zip(files, map(os.path.realpath, files), strict=True):
        if place in pictures:
            raise argparse.ArgumentError(None, f"{file} would overwrite a picture; choose another.")
        if place in model:
            raise argparse.ArgumentError(None, f"{file} belongs to the model; choose another.")


@contextmanager
def drawings(targets: dict[str, Path], txt: bool) -> Iterator[Write]:
    """Write the drawing of each result and, with `txt`, the text file next to it."""
    from yolojax.cli.result_text import as_darknet
    from yolojax.visual.draw import save_image

    def write(result):
        target = targets[result.file]
        save_image(target, result.draw())
        if txt:
            write_text(target.with_suffix(".txt"), as_darknet(result))

    yield write


@contextmanager
def json_lines(file: str) -> Iterator[Write]:
    """Append a JSON object and a line break to `file` for each result."""

    def write(result):
        line = to_json(result.to_dict(), ascii_only=False)
        if file == "-":
            write_out(f"{line}\n")
        else:
            append_line(file, line)

    yield write


@contextmanager
def json_list(file: str) -> Iterator[Write]:
    """Write a JSON list at the end; what is done if the work is interrupted or fails."""
    rows, whole = [], False
    try:
        yield lambda result: rows.append(result.to_dict())
        whole = True
    finally:
        if rows or whole:
            text = to_json(rows, indent=1, ascii_only=False) + "\n"
            _ = write_out(text) if file == "-" else write_text(file, text)


@contextmanager
def csv_table(file: str) -> Iterator[Write]:
    """Write a line for each detection or class as the results come, after the heading."""
    from yolojax.cli.result_text import csv_heading, csv_lines

    started = False

    def put(text):
        nonlocal started
        if file == "-":
            write_out(text)
        elif started:
            with open(file, "ab") as handle:
                handle.write(text.encode(errors="backslashreplace"))
        else:
            write_text(file, text)
        started = True

    def write(result):
        put(csv_lines(result) if started else csv_heading(result) + csv_lines(result))

    yield write
    if not started:
        put(csv_heading(None))
