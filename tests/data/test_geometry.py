from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolojax.data.augment import distort
from yolojax.data.geometry import (
    GREY,
    Affine,
    Placement,
    affine_of,
    blank,
    boxes_to_input,
    boxes_to_original,
    fitter,
    letterbox,
    place_letterbox,
    place_squash,
    render,
    squash,
    to_uint8,
)

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "image_synth.npz")
IMAGE = np.ascontiguousarray(GOLDEN["crop_u8"].transpose(1, 2, 0))  # [61, 97, 3]
# cv2.resize rounds its weights to 1/2048 and its result to a whole level.
ROUNDING = 0.76


def golden(name):
    return GOLDEN[name].transpose(1, 2, 0).astype(np.float64) * 255


def half_pixel(n, m):
    """Positions of m output pixels among n input pixels: the grid of this project."""
    return (np.arange(m) + 0.5) * n / m - 0.5


def corner_aligned(n, m):
    """The same for Darknet's resize_image."""
    return np.arange(m) * (n - 1) / (m - 1)


def bilinear(image, ys, xs):
    """Bilinear interpolation spelled out; positions over the edge read the edge."""

    def along(values, at):
        below = np.floor(at).astype(int)
        lower, upper = (np.clip(below + k, 0, len(values) - 1) for k in (0, 1))
        share = (at - below).reshape(-1, 1, 1)
        return values[lower] * (1 - share) + values[upper] * share

    rows = along(image.astype(np.float64), ys)
    return along(rows.swapaxes(0, 1), xs).swapaxes(0, 1)


def shape_of(name):
    width, height = name.split("_")[1].split("x")
    return int(height), int(width)


@pytest.mark.parametrize("name", ["resize_64x48", "resize_120x100", "resize_32x96"])
def test_squash_is_darknets_bilinear_on_another_grid(name):
    (h, w), (height, width) = IMAGE.shape[:2], shape_of(name)
    darknet = bilinear(IMAGE, corner_aligned(h, height), corner_aligned(w, width))
    # Without the last row: resize_32x96 has Darknet's black one, which is a bug.
    np.testing.assert_allclose(darknet[:-1], golden(name)[:-1], atol=1e-3)
    ours = bilinear(IMAGE, half_pixel(h, height), half_pixel(w, width))
    np.testing.assert_allclose(squash(IMAGE, (height, width))[0], ours, atol=ROUNDING)


def test_same_size_is_left_alone():
    np.testing.assert_allclose(squash(IMAGE, (61, 97))[0], golden("resize_97x61"), atol=1e-4)


@pytest.mark.parametrize("name", ["letterbox_96x96", "letterbox_128x64", "letterbox_64x128"])
def test_letterbox_has_darknets_bars_and_content(name):
    size = shape_of(name)
    found, _ = letterbox(IMAGE, size)
    expected = golden(name)
    x, y, new_w, new_h = place_letterbox(IMAGE.shape[:2], size).target
    bars = np.ones(size, bool)
    bars[y : y + new_h, x : x + new_w] = False
    assert (expected[bars] == 127.5).all()
    assert (found[bars] == GREY).all()
    grid = corner_aligned(61, new_h), corner_aligned(97, new_w)
    inside = (slice(y, y + new_h), slice(x, x + new_w))
    np.testing.assert_allclose(bilinear(IMAGE, *grid), expected[inside], atol=1e-3)
    # The grids differ by less than half a pixel; this picture changes by 6 levels a pixel.
    assert np.abs(found - expected)[inside].mean() < 1.0


@pytest.mark.parametrize("name", ["place_a", "place_b"])
def test_render_cuts_off_what_leaves_the_canvas(name):
    new_w, new_h, left, top, width, height = (int(v) for v in GOLDEN[f"{name}_args"])
    whole = place_squash(IMAGE.shape[:2], (1, 1)).source
    found = render(IMAGE, Placement(whole, (left, top, new_w, new_h)), (height, width))
    expected = golden(name)
    np.testing.assert_array_equal((found == GREY).all(-1), (expected == 127.5).all(-1))
    # Darknet samples at x * w / nw, up to half a pixel to the left of, and above, this grid.
    assert np.abs(found - expected).mean() < 1.6


@pytest.mark.parametrize("target", [(3, 0, 50, 40), (0, 0, 60, 40), (-5, 2, 80, 30)])
def test_recoloured_while_laid_out_is_recoloured_afterwards(target):
    placement = Placement((0, 0, *IMAGE.shape[1::-1]), target, flip=True)
    recolour = partial(distort, hue=0.08, saturation=1.4, exposure=1.2)
    found = render(IMAGE, placement, (40, 60), recolour)
    np.testing.assert_array_equal(found, recolour(render(IMAGE, placement, (40, 60))))


def test_crop_repeats_the_edge():
    left, top, width, height = (int(v) for v in GOLDEN["crop_args"])
    placement = Placement((left, top, width, height), (0, 0, width, height))
    found = render(IMAGE, placement, (height, width))
    np.testing.assert_allclose(found, golden("crop"), atol=1e-4)


@pytest.mark.parametrize("name", ["resize_64x48", "letterbox_128x64"])
def test_fitter_gives_darknets_input_for_darknets_weights(name):
    fit = fitter(letterbox=name.startswith("letterbox"), resize="darknet")
    found, _ = fit(IMAGE, shape_of(name))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found * 255, golden(name), atol=1e-4)


def test_fitter_gives_this_projects_input():
    assert fitter(letterbox=True, resize="opencv") is letterbox
    assert fitter(letterbox=False, resize="opencv") is squash


@pytest.mark.parametrize("make", [fitter, blank])
def test_another_grid_is_refused(make):
    with pytest.raises(ValueError, match=r'data.resize must be "opencv" or "darknet", got "?\W*cv'):
        make(*{fitter: (True, "cv"), blank: ("cv", (1,))}[make])


@pytest.mark.parametrize("resize", ["opencv", "darknet"])
def test_blank_input_is_that_of_a_fitter(resize):
    fitted, _ = fitter(letterbox=True, resize=resize)(IMAGE, (64, 128))
    grey = blank(resize, (64, 128, 3))
    assert (grey.dtype, grey.shape) == (fitted.dtype, fitted.shape)
    np.testing.assert_array_equal(grey[0, 0], fitted[0, 0])  # a corner lies in the margin
    np.testing.assert_array_equal(to_uint8(grey), np.full((64, 128, 3), GREY))


def test_darknet_takes_boxes_back_from_the_exact_middle():
    # 100 x 50 into 40 x 45: 40 x 20, 25 rows of grey: 12 above, but 12.5 are taken off.
    found, affine = fitter(letterbox=True, resize="darknet")(
        np.zeros((50, 100, 3), np.uint8), (45, 40)
    )
    assert affine == Affine(0.4, 0.4, 0, 12.5)
    np.testing.assert_array_equal(np.flatnonzero(found[:, 0, 0] == 0), np.arange(12, 32))


def test_letterbox_of_a_wide_picture():
    # 100 x 50 into 40 x 40: 40 wide, 20 high, 10 rows of grey above and below.
    assert place_letterbox((50, 100), (40, 40)).target == (0, 10, 40, 20)
    _, affine = letterbox(np.zeros((50, 100, 3), np.uint8), (40, 40))
    assert affine == Affine(0.4, 0.4, 0, 10)


def test_letterbox_keeps_a_line_of_a_very_flat_picture():
    assert place_letterbox((1, 1000), (32, 32)).target == (0, 15, 32, 1)


def test_boxes_follow_the_letterbox():
    affine = affine_of(place_letterbox((50, 100), (40, 40)), 40)
    found = boxes_to_input([[0, 0, 0.5, 1]], affine, (50, 100), (40, 40))
    np.testing.assert_allclose(found, [[0, 0.25, 0.5, 0.75]])


def test_boxes_follow_a_mirror():
    affine = affine_of(place_squash((50, 100), (40, 40))._replace(flip=True), 40)
    found = boxes_to_input([[0.1, 0.2, 0.3, 0.6]], affine, (50, 100), (40, 40))
    np.testing.assert_allclose(found, [[0.7, 0.2, 0.9, 0.6]], atol=1e-6)


@pytest.mark.parametrize("flip", [False, True])
def test_a_box_inside_out_stays_so(flip):
    affine = affine_of(place_squash((50, 100), (40, 40))._replace(flip=flip), 40)
    box = [[0.3, 0.6, 0.1, 0.2]]
    there = boxes_to_input(box, affine, (50, 100), (40, 40))
    expected = [[0.9, 0.6, 0.7, 0.2]] if flip else box
    np.testing.assert_allclose(there, expected, atol=1e-6)
    back = boxes_to_original(there, affine, (40, 40), (50, 100))
    np.testing.assert_allclose(back, [[30, 30, 10, 10]], atol=1e-4)


def test_maps_of_a_batch_mirror_or_not_each_for_itself():
    affine = np.array([[1, 1, 0, 0], [-1, 1, 32, 0]], np.float32)
    boxes = np.tile(np.array([0.25, 0, 0.5, 1], np.float32), (2, 1, 1))
    found = boxes_to_original(boxes, affine, (32, 32), np.array([[32, 32], [32, 32]]))
    np.testing.assert_allclose(found, [[[8, 0, 16, 32]], [[16, 0, 24, 32]]])


def test_predictions_are_clipped_to_the_picture():
    affine = affine_of(place_letterbox((50, 100), (40, 40)), 40)
    found = boxes_to_original([[0.25, 0, 2, 0.5]], affine, (40, 40), (50, 100))
    np.testing.assert_allclose(found, [[25, 0, 100, 25]])


def test_predictions_of_a_batch_take_one_map_each():
    affine = np.array([[1, 1, 0, 0], [0.5, 0.5, 0, 8]], np.float32)
    boxes = np.tile(np.array([0, 0.5, 0.5, 1], np.float32), (2, 1, 1))
    found = boxes_to_original(boxes, affine, (32, 32), np.array([[32, 32], [32, 64]]))
    np.testing.assert_allclose(found, [[[0, 16, 16, 32]], [[0, 16, 32, 32]]])


sides = st.integers(1, 700)
pairs = st.tuples(sides, sides)
starts = st.integers(-50, 50)


@given(pairs, pairs, st.tuples(starts, starts, sides, sides), pairs, st.booleans())
def test_back_and_forth_is_the_same_box(picture, size, source, target, flip):
    affine = affine_of(Placement(source, (7, -3, *target), flip), size[1])
    boxes = np.array([[0, 0, 1, 1], [0.1, 0.2, 0.3, 0.9]])
    there = boxes_to_input(boxes, affine, picture, size)
    pixels = boxes * [picture[1], picture[0], picture[1], picture[0]]
    back = boxes_to_original(there, affine, size, picture)
    # Boxes are float32: 1e-6 of the input, seen at the scale of the picture.
    reach = np.abs(there).max() * max(size) / min(abs(affine.scale_x), affine.scale_y)
    np.testing.assert_allclose(back, pixels, atol=1e-6 * reach + 1e-4)


@given(pairs, pairs)
def test_letterbox_touches_two_opposite_edges_and_keeps_the_aspect(picture, size):
    x, y, new_w, new_h = place_letterbox(picture, size).target
    assert 0 <= x <= x + new_w <= size[1]
    assert 0 <= y <= y + new_h <= size[0]
    assert new_w == size[1] or new_h == size[0]
    scale = min(size[1] / picture[1], size[0] / picture[0])
    assert abs(new_w - picture[1] * scale) <= 1
    assert abs(new_h - picture[0] * scale) <= 1
