"""Checksums of the files of a checkpoint, to detect damage.

Orbax renames a checkpoint into place when it is complete, so a killed process leaves no partial
one. Orbax does not notice later damage: a part of a state may be restored with other values.
"""

import os
import zlib
from pathlib import Path

from yolojax.files import shorten, write_text
from yolojax.json_files import parse_json, to_json

NAME = "checksums.json"
OLD_NAME = "seal.json"  # of older checkpoints
CHUNK = 2**20  # bytes


def write_checksums(folder: Path) -> None:
    """Write size and CRC-32 of each file in `folder` to folder/checksums.json, if not there yet.

    A folder that does not exist is a checkpoint that is not complete yet.
    """
    if folder.is_dir() and not checksums_file(folder).exists():
        checksums = {str(path.relative_to(folder)): _checksum(path) for path in _files(folder)}
        write_text(folder / NAME, to_json(checksums, indent=1) + "\n")


def checksums_file(folder: Path) -> Path:
    """Return the file of the checksums of `folder`, whether it exists or not."""
    old = folder / OLD_NAME
    return old if old.exists() else folder / NAME


def find_damage(folder: Path) -> str | None:
    """Describe the first damaged file in `folder`; None if all are intact or have no checksums."""
    path = checksums_file(folder)
    if not path.exists():
        return None
    try:
        expected = parse_json(path.read_bytes(), path)
    except (OSError, ValueError) as error:
        return f"{path} cannot be read: {error}"
    sound = isinstance(expected, dict) and all(map(_is_checksum, expected.values()))
    if not sound or any("\0" in name for name in expected):
        return f"{path} is not a JSON object of file: [size, CRC-32]"
    return next(filter(None, (_compare(folder / k, v) for k, v in expected.items())), None)


def _is_checksum(value) -> bool:
    return isinstance(value, list) and [type(number) for number in value] == [int, int]


def _compare(path: Path, expected: list[int]) -> str | None:
    if not os.path.isfile(path):  # False too for a name that no file can have
        return f"{shorten(str(path), 200)} is missing"
    actual = _checksum(path)
    if actual[0] != expected[0]:
        return f"{path} has {actual[0]} bytes, but {expected[0]} were saved"
    return None if actual == expected else f"{path} has other bytes than were saved"


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name != NAME)


def _checksum(path: Path) -> list[int]:
    """Return [size, CRC-32] of a file."""
    size = checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            size, checksum = size + len(chunk), zlib.crc32(chunk, checksum)
    return [size, checksum]
