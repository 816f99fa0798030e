import io
import struct

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from turned_pictures import FORMATS, HEIGHT, WIDTH, encoded, stored_size

from yolojax.data.picture_header import MAX_PARTS, Header, parse, read_header


def encode(suffix, width, height):
    return cv2.imencode(suffix, np.zeros((height, width, 3), np.uint8))[1].tobytes()


def save(format, width=40, height=30, mode="RGB", **options):
    file = io.BytesIO()
    Image.new(mode, (width, height)).save(file, format, **options)
    return file.getvalue()


SUFFIXES = [".jpg", ".png", ".webp", ".bmp", ".tif", ".ppm"]


@given(st.sampled_from(SUFFIXES), st.integers(1, 300), st.integers(1, 300))
def test_size_is_that_of_the_encoded_picture(suffix, width, height):
    data = encode(suffix, width, height)
    header, length = read_header(data)
    assert (header.size, length) == ((width, height), len(data))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", FORMATS)
def test_orientation_of_each_format(tmp_path, format, orientation):
    data = encoded(format, orientation)
    (tmp_path / "a").write_bytes(data)
    header, length = read_header(tmp_path / "a")
    assert (header, length) == read_header(data)
    assert (header.width, header.height) == stored_size(orientation)
    assert (header.orientation, header.size) == (orientation, (WIDTH, HEIGHT))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (save("WEBP", lossless=True), "WebP"),
        (save("WEBP", mode="RGBA"), "WebP"),  # VP8X
        (save("TIFF", big_tiff=True), "TIFF"),
        (save("TIFF", mode="1", compression="group4"), "TIFF"),
        (save("BMP", mode="1"), "BMP"),
        (b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 40, 30, 1, 24), "BMP"),  # OS/2
        (b"BM" + bytes(12) + struct.pack("<Iii", 40, 40, -30), "BMP"),  # top down
        (b"P6\n# a comment\n40 # and another\n30\n255\n", "PNM"),
        (save("JPEG", mode="CMYK"), "JPEG"),
    ],
)
def test_kinds_of_each_format(data, name):
    assert read_header(data)[0] == Header(name, 40, 30)


def test_a_jpeg_of_several_scans_is_progressive():
    assert read_header(save("JPEG", progressive=True))[0] == Header("JPEG", 40, 30, 1, True)


def test_big_endian_tags_and_the_wrong_type_long():
    entry = struct.pack(">HHII", 0x0112, 4, 1, 6)
    exif = b"Exif\0\0MM" + struct.pack(">HIH", 42, 8, 1) + entry + bytes(4)
    app1 = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    jpeg = save("JPEG")
    assert read_header(jpeg[:2] + app1 + jpeg[2:])[0].orientation == 6


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_none(orientation):
    for format in FORMATS:
        assert read_header(encoded(format, orientation))[0].orientation == 1


def test_exif_may_follow_the_picture():
    data = encoded("PNG", 6)
    at = data.index(b"eXIf") - 4
    length = 12 + int.from_bytes(data[at : at + 4], "big")
    chunk, rest = data[at : at + length], data[:at] + data[at + length :]
    end = rest.index(b"IEND") - 4
    assert read_header(rest[:end] + chunk + rest[end:])[0].orientation == 6


def test_bytes_between_segments_are_skipped():
    jpeg = encoded("JPEG", 8)
    jfif = 2 + 2 + int.from_bytes(jpeg[4:6], "big")  # the end of the first segment
    data = jpeg[:2] + b"\xff\xff" + jpeg[2:jfif] + b"\0\0" + jpeg[jfif:]
    assert read_header(data)[0].orientation == 8
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[:2] == (
        HEIGHT,
        WIDTH,
    )


def test_little_of_a_large_file_is_read():
    jpeg = encode(".jpg", 40, 30)
    app2 = b"\xff\xe2" + (65535).to_bytes(2, "big") + bytes(65533)
    data, count = jpeg[:2] + 50 * app2 + jpeg[2:] + bytes(10**6), 0

    def read(at, n):
        nonlocal count
        count += n
        return data[at : at + n]

    assert parse(read).size == (40, 30)
    assert count < 1000


@pytest.mark.parametrize("format", FORMATS)
def test_every_cut_of_a_file_gives_a_header_or_none(format):
    data = encoded(format, 6)
    for length in range(min(len(data), 400)):
        header, _ = read_header(data[:length])
        assert header is None or header.size in ((WIDTH, HEIGHT), (HEIGHT, WIDTH))


endless = [
    b"\xff\xd8\xff" + b"\xff" * 10**6,
    b"\xff\xd8" + b"\xff\xe0\0\2" * 10**5,
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\5\0\0\0\6" + bytes(10**6),
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\5\0\0\0\6" + b"\xff" * 100,
    b"RIFF\0\0\0\0WEBPVP8X\n\0\0\0\0\0\0\0\1\0\0\1\0\0" + bytes(10**6),
    b"II*\0\x08\0\0\0\xff\xff" + bytes(10**6),
    b"II*\0\xff\xff\xff\xff",
    b"II+\0\x08\0\0\0" + b"\xff" * 16,
    b"MM\0+\0\x08\0\0\0\0\0\0\0\0\0\x10" + b"\xff" * 8 + bytes(10**6),
    b"P6" + b"\n" * 10**6,
    b"P6" + b"#" * 10**6,
    b"BM" + b"\xff" * 30,
]


@pytest.mark.parametrize("data", endless, ids=range(len(endless)))
def test_hostile_headers_end_soon(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    reads, most = 0, 0

    def read(at, n):
        nonlocal reads, most
        reads, most = reads + 1, max(most, n)
        return data[at : at + n]

    header = parse(read)
    assert reads < 2 * MAX_PARTS + 10
    assert most <= 20 * MAX_PARTS
    assert header == read_header(data)[0] == read_header(tmp_path / "a")[0]


@given(st.binary(max_size=200), st.sampled_from([*map(encoded, FORMATS, 4 * [6])]), st.data())
def test_any_bytes_give_a_header_or_none(noise, data, draw):
    at = draw.draw(st.integers(0, len(data)))
    header, _ = read_header(data[:at] + noise + data[at + len(noise) :])
    assert header is None or 1 <= header.orientation <= 8
