"""The header of a Darknet .weights file (parser.c, load_weights_upto and save_weights_upto)."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

VERSION = (0, 2, 0)  # what Darknet writes since 2017: `seen` has 64 bits
MAX_VERSION = 100_000  # larger numbers are the start of text or of another format


class Header(NamedTuple):
    """The start of a .weights file."""

    version: tuple[int, int, int]  # major, minor, revision
    seen: int  # images trained on

    @property
    def has_long_seen(self) -> bool:
        """Whether `seen` has 64 bits instead of 32."""
        major, minor, _ = self.version
        return major * 10 + minor >= 2 and major < 1000 and minor < 1000

    @property
    def size(self) -> int:
        """The number of bytes."""
        return 20 if self.has_long_seen else 16

    @property
    def transposed(self) -> bool:
        """Whether connected kernels are [in, out] in this file."""
        return max(self.version[:2]) > 1000

    @property
    def is_sound(self) -> bool:
        """Whether Darknet can have written these values."""
        bits = 63 if self.has_long_seen else 31
        return all(0 <= n <= MAX_VERSION for n in self.version) and 0 <= self.seen < 2**bits


def read_header(path: str | Path) -> Header:
    """Read the header of a .weights file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a .weights file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: not found; give a Darknet .weights file.")
    if not path.is_file():
        raise ValueError(f"{path}: not a file; give a Darknet .weights file.")
    with open(path, "rb") as file:
        data = file.read(20)
    if len(data) < 20:
        raise ValueError(f"{path}: not a Darknet .weights file, it has only {len(data)} bytes.")
    version = tuple(map(int, np.frombuffer(data, "<i4", 3)))
    kind = "<u8" if Header(version, 0).has_long_seen else "<i4"
    header = Header(version, int(np.frombuffer(data, kind, 1, offset=12)[0]))
    if not header.is_sound:
        raise ValueError(
            f"{path}: not a Darknet .weights file: its header would be version "
            f"{'.'.join(map(str, version))}, {header.seen} images seen."
        )
    return header


def header_bytes(version: tuple[int, int, int], seen: int) -> bytes:
    """Encode a header.

    Raises:
        ValueError: `version` is not one, or `seen` does not fit.
    """
    header = Header(version, seen)
    if len(version) != 3 or not header.is_sound:
        raise ValueError(
            f"a header of version {version} cannot hold seen = {seen}: the version must be three "
            f"numbers from 0 to {MAX_VERSION}, seen from 0 and below 2**63 in {VERSION} and later, "
            "below 2**31 before."
        )
    kind = "<u8" if header.has_long_seen else "<i4"
    return np.array(version, "<i4").tobytes() + np.array(seen, kind).tobytes()
