r"""Paths that a data.yaml, a .data file or a list of pictures states, found on this machine.

A path is read as it is written, with / for \, and without a leading ../ (as Roboflow writes it),
data/ or name of the file's own folder (both for another working directory, such as Darknet's). It
starts at the folder of the file, or else at the working directory. Letter case is ignored where
nothing else is found.

An absolute path may be of another machine (/content/obj/a.jpg, D:\obj\a.jpg). Then the longest
end of it that exists here is taken (obj/a.jpg), if there is only one such file or folder.

A list has a path on each line, without quotes or comments, in UTF-8 or in UTF-16 with its mark;
blank lines are skipped.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from yolojax.files import PICTURE_SUFFIXES, pictures_below, read_lines, shorten

ABSOLUTE = re.compile(r"/|[A-Za-z]:/")  # of any system, after \ became /
UP = re.compile(r"(\.{1,2}/)+")
MAX_PARTS = 30  # of the end of a path that is searched
LONGEST = 200  # characters of a path in a message


class Listed(NamedTuple):
    """A picture of a data set."""

    path: Path
    problem: str = ""  # why it was not found: the list, its line and the rule


def find_place(entry: str, roots: Sequence[Path], file: Path, notes: list[str]) -> Path:
    """Find the file or folder `entry` that `file` names; a note is added if it had to be guessed.

    Args:
        roots: folders where relative paths start, and below which paths of other machines are;
            relative paths may also start at the working directory.

    Raises:
        FileNotFoundError: there is none, or there are several for a path of another machine.
    """
    forms, name = _forms(entry, file.absolute().parent.name), repr(shorten(entry, LONGEST))
    fitting: dict[str, Path] = {}
    for place in _joined(forms, roots):
        if _exists(place):
            fitting.setdefault(os.path.realpath(place), place)
    if fitting:
        first, *others = fitting.values()
        if others and first not in [root / entry.replace("\\", "/") for root in roots]:
            notes.append(f"{file}: {name} is taken for {first}; {others[0]} is there as well.")
        return first
    for root in roots:
        for form in forms:
            if place := _ignoring_case(root, form):
                return place
    found = _by_end(_parts(entry), roots) if _is_absolute(entry) else []
    if len(found) == 1:
        notes.append(f"{file}: {name} is not on this machine; {found[0]} is read instead.")
        return found[0]
    if found:
        both = " and ".join(map(str, found[:2]))
        raise FileNotFoundError(
            f"{file}: names {name}, which does not exist, and {both} have the same end; write "
            "the path of one of them."
        )
    tried = dict.fromkeys(shorten(str(place), LONGEST) for place in _joined(forms[:1], roots))
    raise FileNotFoundError(
        f"{file}: names {name}, which does not exist; tried {', '.join(tried)}."
    )


def find_pictures(entry: str, roots: Sequence[Path], file: Path, notes: list[str]) -> list[Listed]:
    """List all pictures below a folder, or those in a text file; `entry` is named in `file`.

    Raises:
        FileNotFoundError: as `find_place`.
        ValueError: there are no pictures, or the text file cannot be read.
    """
    place = find_place(entry, roots, file, notes)
    if os.path.isdir(place):
        if os.path.realpath(place) == os.path.sep:
            raise ValueError(f"{file}: {entry!r} is the root of the file system; name a folder.")
        pictures = [Listed(picture) for picture in pictures_below(place)]
    else:
        prefix = prefix_of(place, file)
        roots = tuple(dict.fromkeys((place.parent, *roots)))
        try:
            pictures = _listed(place, roots, prefix, notes)
        except ValueError as error:
            raise ValueError(f"{prefix}{error}") from error
    if not pictures:
        raise ValueError(f"{file}: {place} has no pictures ({', '.join(PICTURE_SUFFIXES)}).")
    return pictures


def prefix_of(place: Path, file: Path) -> str:
    """Return the start of an error in `place`, which also names `file` if that is elsewhere."""
    return "" if place.is_relative_to(file.parent) else f"{file}: "


def _forms(entry: str, own: str) -> list[str]:
    """List the ways to read a path, first as it is written; `own` is the folder of its file."""
    slashed = entry.replace("\\", "/")
    below = UP.sub("", slashed, count=1) if UP.match(slashed) else slashed
    forms = (entry, slashed, below, below.removeprefix("data/"), below.removeprefix(f"{own}/"))
    return [form for form in dict.fromkeys(forms) if form]


def _joined(forms: Sequence[str], roots: Sequence[Path]) -> Iterator[Path]:
    for starts in (roots, (Path(),)):
        yield from (root / form for form in forms for root in starts)


def _exists(place: Path) -> bool:
    """Check for a folder or a file; pipes and devices are neither."""
    return os.path.isdir(place) or os.path.isfile(place)


def _is_absolute(entry: str) -> bool:
    return bool(ABSOLUTE.match(entry.replace("\\", "/")))


def _parts(entry: str) -> list[str]:
    """Split the end of a path; of one with .. only what follows it is left."""
    parts = [part for part in entry.replace("\\", "/").split("/") if part not in ("", ".")]
    parts = parts[-MAX_PARTS:]
    return parts[len(parts) - parts[::-1].index("..") :] if ".." in parts else parts


def _ignoring_case(root: Path, form: str) -> Path | None:
    """Find root/form with other letter case, if there is only one such place."""
    place = root
    for part in Path(form).parts:
        if part != ".." and not os.path.exists(place / part):
            try:
                names = [n for n in os.listdir(place) if n.casefold() == part.casefold()]
            except (OSError, ValueError):
                return None
            if len(names) != 1:
                return None
            part = names[0]
        place /= part
    return place if _exists(place) else None


def _by_end(parts: list[str], roots: Sequence[Path]) -> list[Path]:
    """Find the places root/END for the longest END of a path; several of different roots."""
    for i in range(len(parts)):
        places = [root.joinpath(*parts[i:]) for root in roots]
        if found := {os.path.realpath(place): place for place in places if _exists(place)}:
            return [*found.values()]
    return []


def _listed(file: Path, roots: tuple[Path, ...], prefix: str, notes: list[str]) -> list[Listed]:
    """List the pictures that the lines of a text file name; problems start with `prefix`."""
    index = cache(lambda: _index(roots))  # of all pictures; made if one is not where the list says
    pictures, moved, own = [], [], file.absolute().parent.name
    for number, line in enumerate(read_lines(file), 1):
        if not line:
            continue
        forms = _forms(line, own)
        path = next((path for path in _joined(forms, roots) if os.path.isfile(path)), None)
        if path:
            pictures.append(Listed(path))
            continue
        found = _by_index(line, index(), roots)
        if len(found) == 1:
            moved.append((line, found[0]))
            pictures.append(Listed(found[0]))
            continue
        place = roots[0] / line
        problem = f"{prefix}{file}:{number}: {_no_such_picture(line, place, found)}"
        pictures.append(Listed(place, problem))
    if moved:
        line, path = moved[0]
        notes.append(
            f"{file}: {len(moved)} of {len(pictures)} pictures are not where the list says, and "
            f"were found by the end of the path, such as {path} for {shorten(line, LONGEST)}."
        )
    return pictures


def _no_such_picture(line: str, place: Path, found: list[Path]) -> str:
    name = repr(shorten(line, LONGEST))
    if found:
        both = f"{found[0]} and {found[1]}"
        return f"{name}: no such picture, and {both} have the same end; write the path of one."
    return f"{name}: no such picture; it should be {shorten(str(place), LONGEST)}."


def _index(roots: Sequence[Path]) -> dict[str, dict[str, Path]]:
    """Map each end of the path of each picture, in lower case, to {absolute path: path}."""
    index: dict[str, dict[str, Path]] = defaultdict(dict)
    for root in roots:
        for picture in _pictures_below(root):
            parts = picture.relative_to(root).parts
            for i in range(len(parts)):
                end = "/".join(parts[i:]).casefold()
                index[end].setdefault(os.path.abspath(picture), picture)
    return index


def _pictures_below(root: Path) -> list[Path]:
    if os.path.realpath(root) == os.path.sep:  # the whole file system takes too long
        return []
    try:
        return pictures_below(root)
    except ValueError:  # a folder that cannot be listed
        return []


def _by_index(line: str, index: dict[str, dict[str, Path]], roots: Sequence[Path]) -> list[Path]:
    """Find the pictures with the longest end of a path.

    Of several, one that is root/END is preferred, then one of the same letter case. For a relative
    path only root/END counts, and END has a folder, as the picture may also have been removed.
    """
    parts = _parts(line)
    for i in range(len(parts)):
        end = "/".join(parts[i:])
        if not (found := index.get(end.casefold(), {})):
            continue
        starts = {os.path.abspath(root / end).casefold() for root in roots}
        direct = {path: found[path] for path in found if path.casefold() in starts}
        if not _is_absolute(line):
            if not direct or 0 < i == len(parts) - 1:
                continue
            found = direct
        found = direct or found
        same_case = {path: found[path] for path in found if path.endswith(f"/{end}")}
        return [*(same_case or found).values()]
    return []
