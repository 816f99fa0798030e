from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolojax.darknet.image import centre_crop, place, resize
from yolojax.data.transforms import place_letterbox

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "image_synth.npz")
IMAGE = np.ascontiguousarray(GOLDEN["crop_u8"].transpose(1, 2, 0))  # [61, 97, 3]


def golden(name):
    return GOLDEN[name].transpose(1, 2, 0)


def column(*values):
    """A picture one pixel wide."""
    return np.repeat(np.uint8(values)[:, None, None], 3, axis=2)


@pytest.mark.parametrize("name", ["resize_64x48", "resize_120x100", "resize_97x61"])
def test_resize_is_darknets(name):
    output = resize(IMAGE, golden(name).shape[:2])
    assert output.dtype == np.float32
    np.testing.assert_allclose(output, golden(name), rtol=0, atol=1e-6)


def test_the_last_row_is_not_black_as_darknets():
    output, expected = resize(IMAGE, (96, 32)), golden("resize_32x96")
    np.testing.assert_allclose(output[:-1], expected[:-1], rtol=0, atol=1e-6)
    assert expected[-1].max() < 1e-4 < IMAGE[-1].min()
    np.testing.assert_array_equal(output[-1], resize(IMAGE[-1:], (1, 32))[0])


@pytest.mark.parametrize("name", ["letterbox_96x96", "letterbox_128x64", "letterbox_64x128"])
def test_a_placed_picture_is_darknets_letterbox(name):
    size = golden(name).shape[:2]
    output = place(IMAGE, place_letterbox(IMAGE.shape[:2], size).target, size)
    assert output.dtype == np.float32
    np.testing.assert_allclose(output, golden(name), rtol=0, atol=1e-6)


def test_corner_pixels_are_on_corner_pixels():
    output = resize(column(0, 100, 200), (5, 1))
    np.testing.assert_allclose(output[:, 0, 0] * 255, [0, 50, 100, 150, 200], atol=1e-4)


def test_two_rows_of_many_are_the_first_and_the_last():
    np.testing.assert_allclose(resize(column(10, 90, 30), (2, 1))[:, 0, 0] * 255, [10, 30])


sides = st.integers(1, 200)


@given(st.tuples(sides, sides), st.tuples(sides, sides), st.integers(0, 255))
def test_a_uniform_picture_stays_uniform(picture, size, level):
    image = np.full((*picture, 3), level, np.uint8)
    output = resize(image, size)
    assert output.shape == (*size, 3)
    np.testing.assert_allclose(output, level / 255, atol=1e-6)


@given(st.tuples(sides, sides), st.tuples(sides, sides))
def test_the_corners_stay(picture, size):
    image = np.random.default_rng(0).integers(0, 256, (*picture, 3), np.uint8)
    first = [0 if side > 1 else n - 1 for n, side in zip(picture, size, strict=True)]
    output = resize(image, size)
    np.testing.assert_allclose(output[0, 0], image[*first] / 255, atol=1e-6)
    np.testing.assert_allclose(output[-1, -1], image[-1, -1] / 255, atol=1e-6)


def test_the_middle_of_a_wide_picture_is_cropped():
    # 4 x 8 -> 2 x 4: its columns are 0, 7/3, 14/3 and 7, of which the middle two remain.
    image = np.broadcast_to(np.arange(8, dtype=np.uint8)[None, :, None] * 30, (4, 8, 3))
    output = centre_crop(image, (2, 2))
    np.testing.assert_allclose(output[:, :, 0] * 255, [[70, 140]] * 2, atol=1e-4)


def test_the_shorter_side_is_truncated_as_darknet_does():
    # 10 x 7 (height, width) -> width 5, height 10 * 5 // 7 = 7; then the rows 1 to 5.
    image = np.random.default_rng(0).integers(0, 256, (10, 7, 3), np.uint8)
    np.testing.assert_array_equal(centre_crop(image, (5, 5)), resize(image, (7, 5))[1:6])


@given(st.tuples(sides, sides), st.tuples(sides, sides))
def test_a_crop_has_the_given_size(picture, size):
    assert centre_crop(np.zeros((*picture, 3), np.uint8), size).shape == (*size, 3)
