"""Width, height and orientation of a picture, from the first bytes of its file.

Formats: JPEG (ITU-T T.81, annex B; EXIF in APP1), PNG (chunks IHDR and eXIf), WebP (RIFF chunks
VP8, VP8L, VP8X and EXIF), TIFF 6.0 and BigTIFF (the first directory), BMP, and PNM (P1 to P6).
Other formats are not read, also where OpenCV could: their headers would not be checked.

The parts of a file are found by seeking. Of each only the few bytes that count are read, and at
most MAX_PARTS parts are visited, so that a damaged or hostile file costs neither time nor memory.
"""

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from yolojax.files import open_regular

MAX_PARTS = 10_000  # segments, chunks or directory entries that are visited in a file
PNM_HEADER = re.compile(rb"P[1-6](?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})\s")
PNM_BYTES = 4096  # in which a PNM header must end, comments included
ORIENTATION, WIDTH, HEIGHT = 0x0112, 0x0100, 0x0101  # tags of TIFF and EXIF
VALUES = {1: "B", 3: "H", 4: "I", 16: "Q"}  # types BYTE, SHORT, LONG and LONG8 of a tag's value
OTHER_FORMATS = {  # what the file may be instead: (offset, bytes) -> name
    (0, b"GIF8"): "a GIF",
    (4, b"ftypavif"): "an AVIF picture",
    (4, b"ftyphei"): "a HEIC picture",
    (4, b"ftypmif1"): "a HEIC picture",
    (4, b"jP  \r\n"): "a JPEG 2000 picture",
    (0, b"%PDF"): "a PDF",
    (0, b"<"): "an HTML or XML file",
    (0, b"version https://git-lfs"): "a pointer of Git LFS, not the picture itself",
}

Read = Callable[[int, int], bytes]  # (offset, count) -> bytes, fewer at the end of the file


class Header(NamedTuple):
    """What the header of a picture says."""

    format: str  # "JPEG", "PNG", "WebP", "TIFF", "BMP" or "PNM"
    width: int  # as stored
    height: int
    orientation: int = 1  # EXIF 2.3, tag 274: 1 to 8; 5 to 8 swap width and height
    progressive: bool = False  # a JPEG of several scans

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the upright picture."""
        swapped = self.orientation >= 5
        return (self.height, self.width) if swapped else (self.width, self.height)


def read_header(picture: Path | bytes) -> tuple[Header | None, int]:
    """Read the header of a file or of encoded bytes -> (Header, bytes of the file).

    The header is None if the format is none of those of this module, or if no size is found.

    Raises:
        OSError, ValueError: the file cannot be read, or its name has a NUL.
    """
    if isinstance(picture, bytes):
        return parse(lambda at, count: picture[at : at + count]), len(picture)
    with open_regular(picture, buffering=0) as file:
        length = file.seek(0, 2)

        def read(at: int, count: int) -> bytes:
            if at >= length:  # no file system can seek to 2**63
                return b""
            file.seek(at)
            return file.read(count)

        return parse(read), length


def parse(read: Read) -> Header | None:
    """Parse the header of a picture, whose bytes `read` returns; see `read_header`."""
    start = read(0, 32)
    try:
        for signature, parser in PARSERS.items():
            if start.startswith(signature):
                return parser(read, start)
    except struct.error:  # the file ends within a part
        return None
    return None


def other_format(data: bytes) -> str:
    """Name a format that is not read, by the first bytes of its file; "" if it is unknown."""
    return next((name for (at, s), name in OTHER_FORMATS.items() if data[at:].startswith(s)), "")


def _jpeg(read: Read, start: bytes) -> Header | None:
    """Walk the segments up to the first scan: SOF (FFC0..FFCF but C4, C8, CC) and EXIF's APP1."""
    size, orientation, at, progressive, components = None, 0, 2, False, b""
    for _ in range(MAX_PARTS):
        filler, marker, length = struct.unpack(">BBH", read(at, 4))
        if filler != 0xFF or marker == 0xFF:  # bytes between segments are skipped, as in libjpeg
            at += 1
            continue
        if marker in (0, 1) or 0xD0 <= marker <= 0xD8:  # without a length
            at += 2
            continue
        if marker == 0xDA:  # a scan of some components alone: there are others
            progressive = progressive or read(at + 4, 1) != components
        if marker in (0xD9, 0xDA) or length < 2:
            break
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and not size:
            height, width = struct.unpack(">HH", read(at + 5, 4))
            size = width, height
            progressive, components = marker % 4 == 2, read(at + 9, 1)
        elif marker == 0xE1 and not orientation and read(at + 4, 5) == b"Exif\0":
            orientation = _exif_orientation(read, at + 10, length - 8)
        at += 2 + length
    return Header("JPEG", *size, orientation or 1, progressive) if size else None


def _png(read: Read, start: bytes) -> Header | None:
    """Read IHDR, which is the first chunk, and look for eXIf between the others."""
    kind, width, height = struct.unpack(">4sII", start[12:24])
    if kind != b"IHDR":
        return None
    at = 8
    for _ in range(MAX_PARTS):
        chunk = read(at, 8)
        if len(chunk) < 8 or chunk[4:] == b"IEND":
            break
        length = int.from_bytes(chunk[:4], "big")
        if chunk[4:] == b"eXIf":
            return Header("PNG", width, height, _exif_orientation(read, at + 8, length) or 1)
        at += 12 + length
    return Header("PNG", width, height)


def _webp(read: Read, start: bytes) -> Header | None:
    """Read the first chunk: VP8X (canvas), VP8L (lossless) or VP8 (lossy, RFC 6386, 9.1)."""
    kind = start[8:16]
    if kind == b"WEBPVP8X":
        low, high, *rest = struct.unpack("<HBHB", start[24:30])  # 24 bits each
        width, height = (low | high << 16) + 1, (rest[0] | rest[1] << 16) + 1
        return Header("WebP", width, height, _webp_orientation(read))
    if kind == b"WEBPVP8L" and start[20:21] == b"\x2f":
        (bits,) = struct.unpack("<I", start[21:25])
        return Header("WebP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"WEBPVP8 " and start[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", start[26:30])
        return Header("WebP", width & 0x3FFF, height & 0x3FFF)
    return None


def _webp_orientation(read: Read) -> int:
    at = 12
    for _ in range(MAX_PARTS):
        chunk = read(at, 8)
        if len(chunk) < 8:
            break
        length = int.from_bytes(chunk[4:], "little")
        if chunk[:4] == b"EXIF":
            prefix = 6 if read(at + 8, 6) == b"Exif\0\0" else 0  # not by the standard, but written
            return _exif_orientation(read, at + 8 + prefix, length - prefix) or 1
        at += 8 + length + length % 2
    return 1


def _tiff(read: Read, start: bytes) -> Header | None:
    tags = _tags(read, start)
    if not (WIDTH in tags and HEIGHT in tags):
        return None
    return Header("TIFF", tags[WIDTH], tags[HEIGHT], _valid(tags.get(ORIENTATION, 1)) or 1)


def _bmp(read: Read, start: bytes) -> Header | None:
    """Read the 12 bytes of a BITMAPCOREHEADER, or a later header; a height below 0: top down."""
    (length,) = struct.unpack("<I", start[14:18])
    if length == 12:
        return Header("BMP", *struct.unpack("<HH", start[18:22]))
    width, height = struct.unpack("<ii", start[18:26])
    return Header("BMP", width, abs(height))


def _pnm(read: Read, start: bytes) -> Header | None:
    match = PNM_HEADER.match(read(0, PNM_BYTES))
    return Header("PNM", int(match[1]), int(match[2])) if match else None


def _exif_orientation(read: Read, base: int, length: int) -> int:
    """Read the orientation in a TIFF structure of `length` bytes at `base`; 0: it has none."""

    def within(at: int, count: int) -> bytes:
        return read(base + at, max(0, min(count, length - at)))

    try:
        return _valid(_tags(within, within(0, 16)).get(ORIENTATION, 0))
    except struct.error:
        return 0


def _valid(orientation: int) -> int:
    return orientation if 1 <= orientation <= 8 else 0


def _tags(read: Read, start: bytes) -> dict[int, int]:
    """Read the tags of the first directory that hold one whole number -> {tag: value}.

    TIFF 6.0, section 2; BigTIFF has 64-bit offsets and counts. Of a repeated tag the first counts.
    """
    order = {b"II": "<", b"MM": ">"}.get(start[:2])
    if not order:
        return {}
    (magic,) = struct.unpack(f"{order}H", start[2:4])
    if magic == 42:
        (at,) = struct.unpack(f"{order}I", start[4:8])
        count_format, entry_format = f"{order}H", f"{order}HHI4s"
    elif magic == 43:
        (at,) = struct.unpack(f"{order}Q", start[8:16])
        count_format, entry_format = f"{order}Q", f"{order}HHQ8s"
    else:
        return {}
    head = struct.calcsize(count_format)
    (count,) = struct.unpack(count_format, read(at, head))
    size = struct.calcsize(entry_format)
    table = read(at + head, min(count, MAX_PARTS) * size)
    tags: dict[int, int] = {}
    for entry in range(len(table) // size):
        tag, kind, values, value = struct.unpack_from(entry_format, table, entry * size)
        if tag in (ORIENTATION, WIDTH, HEIGHT) and values == 1 and kind in VALUES:
            form = f"{order}{VALUES[kind]}"
            if struct.calcsize(form) <= len(value):
                tags.setdefault(tag, struct.unpack_from(form, value)[0])
    return tags


PARSERS = {
    b"\xff\xd8\xff": _jpeg,
    b"\x89PNG\r\n\x1a\n": _png,
    b"RIFF": _webp,
    b"II": _tiff,
    b"MM": _tiff,
    b"BM": _bmp,
    b"P": _pnm,
}
