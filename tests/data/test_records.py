import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from turned_pictures import (
    BOX,
    FORMATS,
    HEIGHT,
    WIDTH,
    encoded,
    stored,
    stored_box,
    stored_size,
    upright,
)

from yolojax.data.parsing import make_record
from yolojax.data.pipeline import eval_sample, train_sample
from yolojax.data.records import (
    MAX_PIXELS,
    SPARSE_PIXELS,
    BadRecord,
    WrongSize,
    decode_image,
    load_image,
    load_record,
)

ORIENTATIONS = range(1, 9)


def record(data, box=BOX, size=(WIDTH, HEIGHT), stated=None, name="a"):
    return make_record(name, data, size, [box], [0], stated=stated)


def save(*pictures, format, **options):
    file, (first, *rest) = io.BytesIO(), pictures
    more = {"save_all": True, "append_images": rest} if rest else {}
    first.save(file, format, **more, **options)
    return file.getvalue()


def png(width, height, rows=b""):
    """A PNG of 8-bit RGB whose header states a size, with these rows, if any."""

    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def scans(more):
    """A progressive JPEG whose last scan is repeated `more` times."""
    data = save(Image.new("RGB", (64, 64), "red"), format="JPEG", progressive=True)
    return data[:-2] + more * data[data.rindex(b"\xff\xda") : -2] + data[-2:]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_turned_upright(format, orientation):
    image = decode_image(encoded(format, orientation), "a").astype(int)
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(image - upright()).mean() < 4  # two of the formats are lossy


@pytest.mark.parametrize("name", [b"http://ns.adobe.com/xap/1.0/\0", b"MPF\0", b"Exif"])
def test_other_segments_may_come_before_exif(name):
    # Editors write XMP in a segment of the same kind; OpenCV looks at the first such segment alone.
    data = encoded("JPEG", 6)
    segment = b"\xff\xe1" + (len(name) + 2).to_bytes(2, "big") + name
    image = decode_image(data[:2] + segment + data[2:], "a")
    assert np.abs(image.astype(int) - upright()).mean() < 4


def object_in(image, box):
    """IoU of a box, xyxy in 0..1, and the bright object of a picture."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = np.rint(box * (width, height, width, height)).astype(int)
    inside = np.zeros((height, width), bool)
    inside[y1:y2, x1:x2] = True
    bright = image[..., 0] > 128
    return (inside & bright).sum() / (inside | bright).sum()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("format", FORMATS)
def test_boxes_of_the_stored_picture_are_turned_with_it(format, orientation):
    size = stored_size(orientation)
    if orientation in (2, 3, 4):  # a size cannot tell: boxes are of the upright picture
        given = record(encoded(format, orientation), stated=size)
    else:
        given = record(encoded(format, orientation), stored_box(orientation), size, stated=size)
    loaded, image = load_record(given)
    assert object_in(image, loaded.boxes[0]) > 0.9
    assert loaded.size == (WIDTH, HEIGHT)
    assert loaded.area == given.area


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("stated", [None, (WIDTH, HEIGHT)])
def test_boxes_of_the_upright_picture_stay(orientation, stated):
    loaded, image = load_record(record(encoded("JPEG", orientation), stated=stated))
    assert object_in(image, loaded.boxes[0]) > 0.9


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_square_picture_has_boxes_of_the_upright_one(orientation):
    image = np.zeros((40, 40, 3), np.uint8)
    image[4:12, 6:22] = 255
    data = encoded("PNG", orientation, image)
    loaded, image = load_record(record(data, size=(40, 40), stated=(40, 40)))
    assert object_in(image, loaded.boxes[0]) == 1


def test_a_row_of_training_and_of_evaluation_has_turned_boxes():
    from yolojax.config import AugmentConfig
    from yolojax.data.transforms import fitter

    class Source(list):
        name, classes = "test:source", ("a",)

    source = Source([record(encoded("WEBP", 6), stored_box(6), stored_size(6), stored_size(6))])
    still = AugmentConfig(flip=0, jitter=0, hue=0, saturation=1, exposure=1)
    options = {"seed": 0, "size": (HEIGHT, WIDTH), "augment": still}
    row = train_sample(source, 0, **options)
    np.testing.assert_allclose(row["boxes"][0] * np.tile((WIDTH, HEIGHT), 2), BOX, atol=1e-4)
    assert object_in(row["image"], row["boxes"][0]) > 0.9
    row = eval_sample(source, 0, size=(HEIGHT, WIDTH), fit=fitter(True, "opencv"))
    assert row["size"].tolist() == [HEIGHT, WIDTH]


@pytest.mark.parametrize(
    ("orientation", "stated", "message"),
    [
        (1, (24, 16), r"a: the picture has 48x32 pixels, .* states 24x16: probably it was scaled"),
        (1, (WIDTH + 1, HEIGHT), "states 49x32: probably it was scaled"),
        (1, (HEIGHT, WIDTH), "states 32x48: probably it was turned"),
        (3, (HEIGHT, WIDTH), "states 32x48: probably it was turned"),
        (8, (64, 96), r"48x32 \(32x48 before EXIF turns it\) pixels, .* states 64x96"),
    ],
)
def test_another_size_is_refused(orientation, stated, message):
    with pytest.raises(WrongSize, match=message):
        load_record(record(encoded("JPEG", orientation), stated=stated))
    with pytest.raises(BadRecord, match=message):
        load_image(record(encoded("PNG", orientation), stated=stated))


def test_the_size_of_an_array_is_compared_too():
    assert load_record(record(upright(), stated=(WIDTH, HEIGHT)))[1].shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(WrongSize, match="has 48x32 pixels, but its annotation states 5x5"):
        load_record(record(upright(), stated=(5, 5)))


RED, BLUE = (Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in ("red", "blue"))


@pytest.mark.parametrize(
    "data",
    [
        save(RED, BLUE, format="TIFF"),  # two pages: the first
        save(RED, BLUE, format="PNG"),  # animated: the first
        save(RED.convert("CMYK"), format="JPEG", quality=100),
        save(RED.convert("CMYK"), format="TIFF"),
        save(RED.convert("P"), format="PNG"),
        save(RED.convert("RGBA"), format="WEBP", lossless=True),
        save(RED, format="JPEG", progressive=True, quality=100),
        save(RED, format="BMP"),
        save(RED, format="PPM"),
        cv2.imencode(".png", np.full((HEIGHT, WIDTH, 3), (0, 0, 65535), np.uint16))[1].tobytes(),
        cv2.imencode(".tif", np.full((HEIGHT, WIDTH, 3), (0, 0, 65535), np.uint16))[1].tobytes(),
    ],
    ids=range(11),
)
def test_kinds_of_pictures_become_rgb_of_8_bits(data):
    image = decode_image(data, "a")
    assert (image.shape, image.dtype) == ((HEIGHT, WIDTH, 3), np.uint8)
    assert np.abs(image.astype(int) - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"a: not a picture that can be decoded \(0 bytes\)"),
        (b"some text", r"not a picture that can be decoded \(9 bytes\)"),
        (b"<!DOCTYPE html><html>", "21 bytes, an HTML or XML file"),
        (save(RED, format="GIF"), "bytes, a GIF"),
        (save(RED, format="JPEG2000"), "bytes, a JPEG 2000 picture"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (save(RED, BLUE, format="WEBP"), "bytes, a damaged or animated WebP"),
        (save(RED.convert("F"), format="TIFF"), "a damaged or 32-bit TIFF"),
        (png(0, 5), r"its header states 0x5 pixels, which is no picture"),
        (png(5, 5), "a damaged PNG"),
        (png(5, 5, bytes(16 * 3)), "a damaged PNG"),
        (png(40000, 40000), "its header states 40000x40000 pixels; at most 134,217,728 are read"),
        (png(2**31 - 1, 2**31 - 1), "its header states 2147483647x2147483647 pixels; at most"),
        (
            png(10000, 10000, bytes(30001)),
            "states 10000x10000 pixels, but the file has only",
        ),
        (b"P6 30000 30000 255\n", "its header states 30000x30000 pixels"),
        (scans(60), "a JPEG of 70 scans; at most 50 are read"),
        (encoded("JPEG", 1)[:300], "a: not a picture that can be decoded"),
    ],
    ids=range(17),
)
def test_what_cannot_be_decoded_is_a_bad_record(data, message):
    with pytest.raises(BadRecord, match=f"^a: .*{message.removeprefix('a: ')}"):
        decode_image(data, "a")


def test_limits_of_pixels_are_those_of_the_header():
    assert SPARSE_PIXELS < MAX_PIXELS
    blank = save(Image.new("1", (8000, 5000)), format="TIFF", compression="group4")
    assert len(blank) < 40_000  # 40 million pixels, not more than SPARSE_PIXELS
    image = decode_image(blank, "a")
    assert image.shape == (5000, 8000, 3)


@pytest.mark.parametrize("name", ["missing.jpg", "folder.jpg", "nul\0.jpg", "loop", "half\ud800"])
def test_files_that_cannot_be_opened(tmp_path, name):
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(BadRecord, match="cannot be read"):
        load_image(record(tmp_path / name))


@pytest.mark.parametrize("kind", ["pipe", "/dev/zero"])
def test_pipes_and_devices_are_not_read(tmp_path, kind):
    path = Path(kind)
    if kind == "pipe":
        path = tmp_path / "a.jpg"
        os.mkfifo(path)
    with pytest.raises(BadRecord, match="not a regular file"):
        load_image(record(path))


def test_a_jpeg_that_is_cut_short_is_read_and_named(capsys):
    data = encoded("JPEG", 1)
    whole = load_image(record(data, name="whole"))
    assert not capsys.readouterr().err
    cut = load_image(record(data[: len(data) * 3 // 4], name="cut"))
    assert cut.shape == whole.shape
    assert capsys.readouterr().err == "cut: the JPEG has no end; the missing part is grey.\n"


def test_a_message_is_one_line_whatever_the_name(tmp_path):
    (tmp_path / "two\nlines.jpg").write_bytes(b"text")
    with pytest.raises(BadRecord, match=r"two\\nlines\.jpg: not a picture"):
        load_image(record(tmp_path / "two\nlines.jpg"))


@given(st.sampled_from([*FORMATS]), st.binary(min_size=1, max_size=20), st.data())
def test_damaged_bytes_give_a_picture_or_a_bad_record(format, noise, draw):
    data = encoded(format, 6)
    at = draw.draw(st.integers(0, len(data)))
    try:
        image = decode_image(data[:at] + noise + data[at + len(noise) :], "a")
    except BadRecord:
        return
    assert (image.dtype, image.shape[2:]) == (np.uint8, (3,))


def test_the_helpers_of_these_tests_draw_what_exif_turns():
    # By hand: the first row and column of the stored picture (EXIF 2.3, tag 274).
    picture = np.arange(6, dtype=np.uint8).reshape(2, 3, 1).repeat(3, 2)
    rows = {1: [0, 1, 2], 3: [5, 4, 3], 6: [2, 5], 8: [3, 0]}
    for orientation, first in rows.items():
        assert stored(orientation, picture)[0, :, 0].tolist() == first
