import colorsys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolojax.data.augment import (
    STRIP,
    augment,
    clip_boxes,
    distort,
    pad_truths,
    random_factor,
    random_placement,
)
from yolojax.data.geometry import Affine, boxes_to_input

GOLDEN = Path(__file__).parents[1] / "golden"
PLAIN = {"hue": 0.0, "saturation": 1.0, "exposure": 1.0}


def generator(seed=0):
    return np.random.default_rng(seed)


def xyxy(x, y, w, h):
    return np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=-1)


@pytest.mark.parametrize("name", ["distort_a", "distort_b"])
def test_distort_is_darknets(name):
    golden = np.load(GOLDEN / "image_synth.npz")
    image = np.ascontiguousarray(golden["crop_u8"].transpose(1, 2, 0))
    found = distort(image, *(float(v) for v in golden[f"{name}_args"]))
    error = np.abs(found - golden[name].transpose(1, 2, 0) * 255.0).max(axis=-1)
    # Only the rounding to whole levels is ours. One pixel of distort_a has, after the shift, the
    # hue 1.0 exactly, which Darknet's hsv_to_rgb takes for magenta instead of red.
    assert np.sort(error.ravel())[-2] <= 0.501
    assert (error > 0.501).sum() == (1 if name == "distort_a" else 0)


@pytest.mark.parametrize("hue", [-0.5, -0.1, 0.0, 0.1, 0.99])
def test_distort_agrees_with_colorsys(hue):
    image = generator().integers(0, 256, (7, 9, 3), np.uint8)
    found = distort(image, hue, 1.4, 1.3)
    for pixel, result in zip(image.reshape(-1, 3), found.reshape(-1, 3), strict=True):
        h, s, v = colorsys.rgb_to_hsv(*(pixel / 255))
        expected = np.clip(colorsys.hsv_to_rgb((h + hue) % 1, s * 1.4, v * 1.3), 0, 1)
        np.testing.assert_allclose(result, expected * 255, atol=0.51)


@pytest.mark.parametrize("saturation", [0.7, 1.5])
def test_distort_does_each_pixel_by_itself(saturation):
    image = generator().integers(0, 256, (2 * STRIP + 3, 9, 3), np.uint8)
    whole = distort(image, -0.07, saturation, 1.3)
    rows = [distort(row[None], -0.07, saturation, 1.3) for row in image]
    np.testing.assert_array_equal(whole, np.concatenate(rows))


def test_exposure_brightens_the_grey_bars_too():
    assert (distort(np.full((2, 2, 3), 100, np.uint8), 0.05, 1.5, 1.2) == 120).all()


@pytest.mark.parametrize("case", [0, 1, 2])
def test_boxes_are_those_of_darknets_truth(case):
    golden = np.load(GOLDEN / "truth_fill.npz")
    flip, dx, dy, sx, sy = golden["args"][case].astype(np.float64)
    # Darknet: x * sx - dx in 0..1, then the mirror 1 - x.
    affine = Affine(-sx, sy, 1 + dx, -dy) if flip else Affine(sx, sy, -dx, -dy)
    labels, *truth = golden["labels"].T.astype(np.float64)
    boxes, visible = clip_boxes(boxes_to_input(xyxy(*truth), affine, (1, 1), (1, 1)), 0.001)
    expected = golden[f"detection_{case}"]
    expected = expected[expected[:, 2] > 0]
    order = np.argsort(expected[:, 4])
    ours = np.argsort(labels[visible])
    np.testing.assert_array_equal(labels[visible][ours], expected[order, 4])
    np.testing.assert_allclose(boxes[visible][ours], xyxy(*expected[order, :4].T), atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["letterbox", "crop", "none"]),
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(60, 200), st.integers(60, 200)),
    st.sampled_from([(96, 96), (64, 160), (160, 64)]),
)
def test_box_stays_on_the_rectangle_painted_in_the_picture(geometry, seed, picture, size):
    h, w = picture
    left, top, right, bottom = w // 4, h // 3, w // 4 + w // 3, h // 3 + h // 2
    image = np.zeros((h, w, 3), np.uint8)
    image[top:bottom, left:right] = (250, 0, 0)
    box = np.array([[left / w, top / h, right / w, bottom / h]], np.float32)
    found, boxes, _ = augment(
        image, box, np.zeros(1), generator(seed), size=size, geometry=geometry, **PLAIN
    )
    # Grey bars are (128, 128, 128), so red less green tells the rectangle apart.
    painted = found[..., 0].astype(int) - found[..., 1] > 125
    rows, columns = np.flatnonzero(painted.any(1)), np.flatnonzero(painted.any(0))
    pixels = boxes * [size[1], size[0], size[1], size[0]]
    if not len(boxes) or not painted.any():  # slivers: too small to keep, or to be seen
        assert min(len(rows), len(columns)) <= 2
        assert (pixels[:, 2:] - pixels[:, :2] < 1.5).any(axis=1).all()
        return
    extent = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    np.testing.assert_allclose(pixels[0], extent, atol=1.5)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["letterbox", "crop", "none"]), st.integers(0, 2**32 - 1))
def test_whatever_is_drawn_the_boxes_are_valid_and_keep_their_labels(geometry, seed):
    corners = np.sort(generator(seed).random((20, 2, 2)), axis=1).astype(np.float32)
    image = np.zeros((50, 70, 3), np.uint8)
    found, boxes, labels = augment(
        image,
        corners.reshape(20, 4),
        np.arange(20),
        generator(seed),
        size=(64, 96),
        geometry=geometry,
    )
    assert found.shape == (64, 96, 3)
    assert found.dtype == np.uint8
    assert boxes.dtype == np.float32
    assert labels.dtype == np.int32
    assert (boxes >= 0).all()
    assert (boxes <= 1).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert len(set(labels)) == len(labels) == len(boxes)


def test_same_generator_same_picture():
    image = generator(1).integers(0, 256, (40, 60, 3), np.uint8)
    box = np.array([[0.1, 0.1, 0.9, 0.9]], np.float32)
    one, two, other = (
        augment(image, box, np.zeros(1), generator(seed), size=(32, 32)) for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])
    assert (one[0] != other[0]).any()


@pytest.mark.parametrize(("flip", "column"), [(0.0, slice(0, 16)), (1.0, slice(16, 32))])
def test_flip_is_a_probability(flip, column):
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, :16] = 200
    left = np.array([[0, 0, 0.5, 1]], np.float32)
    found, boxes, _ = augment(
        image, left, np.zeros(1), generator(), size=(32, 32), geometry="none", flip=flip, **PLAIN
    )
    assert (found[:, column] == 200).all()
    assert found.sum() == image.sum()
    np.testing.assert_allclose(boxes[0, [0, 2]], [column.start / 32, column.stop / 32])


def test_crop_without_jitter_squashes():
    placement = random_placement(generator(), (30, 50), (32, 64), "crop", 0.0)
    assert placement == ((0, 0, 50, 30), (0, 0, 64, 32), False)


def test_crop_moves_each_edge_by_at_most_the_jitter():
    draws = [
        random_placement(generator(k), (100, 200), (32, 32), "crop", 0.2).source for k in range(300)
    ]
    x, y, w, h = np.array(draws).T
    for edge, limit in ((x, 40), (y, 20), (200 - x - w, 40), (100 - y - h, 20)):
        assert np.abs(edge).max() <= limit
        assert edge.min() < -0.8 * limit
        assert edge.max() > 0.8 * limit


def test_letterbox_jitter_changes_the_aspect_within_its_limits():
    draws = [
        random_placement(generator(k), (100, 100), (416, 416), "letterbox", 0.3).target
        for k in range(300)
    ]
    x, y, w, h = np.array(draws).T
    assert (np.maximum(w, h) == 416).all()
    assert (w / h).min() >= 0.7 / 1.3 - 0.01
    assert (w / h).max() <= 1.3 / 0.7 + 0.01
    assert (x >= 0).all()
    assert (y >= 0).all()
    assert (x + w <= 416).all()
    assert (y + h <= 416).all()


def test_factor_is_as_often_above_as_below_one():
    draws = np.array([random_factor(generator(k), 1.5) for k in range(400)])
    assert draws.min() >= 1 / 1.5
    assert draws.max() <= 1.5
    assert 150 < (draws > 1).sum() < 250


def test_a_factor_and_its_inverse_mean_the_same():
    assert random_factor(generator(), 1.0) == 1.0
    draws = np.array([random_factor(generator(k), 0.75) for k in range(100)])
    assert draws.min() >= 0.75
    assert draws.max() <= 1 / 0.75


def test_boxes_out_of_sight_are_dropped():
    boxes = np.array([[-1, 0, 0, 1], [-1, 0, 0.0005, 1], [-1, 0, 0.02, 2]], np.float32)
    clipped, visible = clip_boxes(boxes, 0.001)
    assert visible.tolist() == [False, False, True]
    np.testing.assert_allclose(clipped[2], [0, 0, 0.02, 1])


def test_truths_are_padded_and_cut():
    boxes, labels = np.full((2, 4), 0.5), np.array([3, 4])
    padded, padded_labels, mask = pad_truths(boxes, labels, 3)
    assert mask.tolist() == [True, True, False]
    assert padded_labels.tolist() == [3, 4, 0]
    assert padded.sum() == 4
    assert pad_truths(boxes, labels, 1)[1].tolist() == [3]
    assert not pad_truths(np.zeros((0, 4)), np.zeros(0), 2)[2].any()


@pytest.mark.parametrize(
    ("argument", "value", "said"),
    [
        ("geometry", "mosaic", "'mosaic'"),
        ("jitter", 0.5, "below 0.5"),
        ("jitter", -0.1, "-0.1"),
        ("saturation", 0.0, "augment.saturation"),
        ("exposure", -1.0, "augment.exposure"),
    ],
)
def test_bad_arguments_are_named(argument, value, said):
    arguments = {"geometry": "crop", argument: value}
    with pytest.raises(ValueError, match=said):
        augment(
            np.zeros((8, 8, 3), np.uint8),
            np.zeros((0, 4)),
            np.zeros(0),
            generator(),
            size=(32, 32),
            **arguments,
        )
