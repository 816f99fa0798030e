"""Pictures with the same content, byte by byte, in one source or in two."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from yolojax.data.records import BadRecord, Source, read_bytes


class Picture(NamedTuple):
    """A picture of the first or the second source; its content is read where it is needed."""

    name: str  # the path, or the id of a picture that is not a file
    is_other: bool  # of the second source
    length: int  # in bytes
    content: Path | bytes  # the file, or the digest


def equal_pictures(source: Source, other: Source | None = None) -> tuple[list[str], list[str]]:
    """Find the pictures of `source` that occur again -> (in `source` itself, in `other`).

    Each is a message with both names. Files are read only if others have the same length. Pictures
    that cannot be read are left out.
    """
    pictures = [*_pictures(source, False), *(_pictures(other, True) if other is not None else ())]
    within, across = [], []
    for same_length in _groups(pictures, lambda picture: picture.length):
        for equal in _groups(same_length, _digest):
            own = [picture.name for picture in equal if not picture.is_other]
            others = [picture.name for picture in equal if picture.is_other]
            within += [_message(own[0], name, "is there twice") for name in own[1:]]
            across += [_message(own[0], name, "is in both") for name in others if own]
    return within, across


def _message(one: str, other: str, if_same: str) -> str:
    return f"{one} {if_same}." if one == other else f"{one} and {other} are the same picture."


def _pictures(source: Source, is_other: bool) -> Iterator[Picture]:
    for index in range(len(source)):
        try:
            record = source[index]
            image = record.image
            if isinstance(image, Path):
                yield Picture(str(image), is_other, image.stat().st_size, image)
            else:
                data = image.tobytes() if isinstance(image, np.ndarray) else image
                digest = hashlib.blake2b(data).digest()
                yield Picture(record.image_id, is_other, len(data), digest)
        except (BadRecord, OSError):
            continue  # reported where the picture is checked


def _groups(pictures: list[Picture], key: Callable) -> list[list[Picture]]:
    """Group `pictures` by their key, without groups of one and without the key None."""
    groups = defaultdict(list)
    for picture in pictures:
        groups[key(picture)].append(picture)
    return [group for value, group in groups.items() if value is not None and len(group) > 1]


def _digest(picture: Picture) -> bytes | None:
    if isinstance(picture.content, bytes):
        return picture.content
    try:
        return hashlib.blake2b(read_bytes(picture.content)).digest()
    except BadRecord:
        return None
