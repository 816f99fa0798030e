"""Whether the files of a checkpoint are still those that were written: a list of their checksums.

Orbax renames a checkpoint into place once it is whole, so a killed process leaves none in halves.
What happens to the files afterwards it does not notice: a part of a state may come back changed.
"""

import json
import zlib
from pathlib import Path

from yolojax.files import write_text

NAME = "seal.json"
CHUNK = 2**20  # bytes


def seal(folder: Path) -> None:
    """Write folder/seal.json: size and CRC-32 of each file in `folder`, unless it is there.

    A folder that is not there is not whole yet.
    """
    if folder.is_dir() and not (folder / NAME).exists():
        found = {str(path.relative_to(folder)): _describe(path) for path in _files(folder)}
        write_text(folder / NAME, json.dumps(found, indent=1) + "\n")


def damage(folder: Path) -> str | None:
    """What is wrong with the files in `folder`; None where they are as sealed, or never were."""
    path = folder / NAME
    if not path.exists():
        return None
    try:
        wanted = json.loads(path.read_text())
        return next(filter(None, (_damage(folder / k, v) for k, v in wanted.items())), None)
    except (OSError, ValueError, AttributeError) as error:
        return f"{path} cannot be read: {error}"


def _damage(path: Path, wanted: list[int]) -> str | None:
    if not path.is_file():
        return f"{path} is missing"
    found = _describe(path)
    if found[0] != wanted[0]:
        return f"{path} has {found[0]} bytes, but {wanted[0]} were saved"
    return None if found == wanted else f"{path} holds other bytes than were saved"


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name != NAME)


def _describe(path: Path) -> list[int]:
    """[size, CRC-32] of a file."""
    size = checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            size, checksum = size + len(chunk), zlib.crc32(chunk, checksum)
    return [size, checksum]
