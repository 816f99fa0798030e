import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolojax.visual.draw import _colour, _fitting_text, _free_place, draw_batch, draw_boxes
from yolojax.visual.draw import save_image as save
from yolojax.visual.fonts import default_font, load_font

CLASSES = ("dog", "a class with a very long name", "Käfer")


def test_outline_has_the_colour_of_the_class():
    image = np.zeros((200, 300, 3), np.uint8)
    drawn = draw_boxes(image, [[50, 60, 150, 160]], [2], [0.9], CLASSES)
    colour = _colour(2)
    # Right and bottom edges are excluded: the last drawn pixels are 149 and 159.
    for x, y in ((50, 100), (149, 100), (100, 159)):
        assert tuple(drawn[y, x]) == colour
    for x, y in ((49, 100), (150, 100), (100, 160), (100, 100)):
        assert tuple(drawn[y, x]) == (0, 0, 0)
    assert not image.any()


def test_label_is_above_its_box():
    drawn = draw_boxes(np.zeros((200, 300, 3), np.uint8), [[50, 60, 150, 160]], [0], [0.9], CLASSES)
    rows = np.flatnonzero(drawn.any(axis=(1, 2)))
    assert 40 < rows[0] < 55


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 120),
    st.integers(1, 120),
    st.lists(st.tuples(*[st.floats(-50, 200)] * 4), max_size=5),
)
def test_drawing_has_the_shape_of_the_image(height, width, corners):
    boxes = np.sort(np.array(corners).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    labels = np.arange(len(boxes)) % 3
    drawn = draw_boxes(np.full((height, width, 3), 7, np.uint8), boxes, labels, classes=CLASSES)
    assert drawn.shape == (height, width, 3)
    assert drawn.dtype == np.uint8


@given(st.integers(60, 400), st.integers(40, 400), *[st.integers(-100, 500)] * 2)
def test_labels_stay_inside(width, height, x, y):
    font, size = load_font(default_font(), 12), (width, height)
    text = _fitting_text(CLASSES[1], 0.5, font, width)
    x1, y1, x2, y2 = _free_place(np.array([x, y, x + 30, y + 30]), font, text, size, [])
    assert 0 <= x1 < x2 <= width
    assert 0 <= y1 < y2 <= height


def test_labels_do_not_overlap():
    box, font = np.array([50.0, 60, 150, 160]), load_font(default_font(), 12)
    first = _free_place(box, font, "dog", (300, 300), [])
    second = _free_place(box, font, "dog", (300, 300), [first])
    assert first[3] <= second[1] or first[2] <= second[0]


def test_text_is_shortened_until_it_fits():
    font = load_font(default_font(), 12)
    texts = [_fitting_text(CLASSES[1], 0.5, font, width) for width in (1000, 200, 60, 1)]
    assert texts[0] == "a class with a very long name 0.50"
    assert texts[1] == "a class with a very long name"
    assert texts[2].endswith("…")
    assert texts[3] == ""


def test_eighty_classes_have_different_colours():
    colours = np.array([_colour(i) for i in range(80)], float)
    distance = np.abs(colours[:, None] - colours[None]).sum(-1) + 1e9 * np.eye(80)
    assert distance[:20, :20].min() > 80  # of 765: VOC at a glance
    assert distance.min() > 10


def batch(count, side=32):
    image = np.zeros((count, side, side, 3), np.uint8)
    boxes = np.tile(np.array([[0.25, 0.25, 0.75, 0.75], [0.0, 0, 1, 1]], np.float32), (count, 1, 1))
    mask = np.tile([True, False], (count, 1))
    return {"image": image, "boxes": boxes, "labels": np.zeros((count, 2), int), "mask": mask}


def test_mosaic_has_only_unpadded_boxes():
    mosaic = draw_batch(batch(4), CLASSES)
    assert mosaic.shape == (2 * 418, 2 * 418, 3)
    assert tuple(mosaic[200, 104]) == _colour(0)  # left edge of the box in 416 pixels
    assert not mosaic[:, 0][:416].any()  # the padded box would lie on the edge of the picture


@pytest.mark.parametrize(("count", "tiles"), [(1, (1, 1)), (3, (2, 2)), (20, (4, 4))])
def test_mosaic_is_nearly_square(count, tiles):
    assert draw_batch(batch(count), CLASSES).shape[:2] == tuple(418 * n for n in tiles)


def test_save_writes_rgb(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    save(tmp_path / "new" / "a.png", image)
    read = cv2.cvtColor(cv2.imread(str(tmp_path / "new" / "a.png")), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(read, image)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.png"]


@pytest.mark.parametrize("name", ["a.doc", "a"])
def test_unknown_suffix_raises(tmp_path, name):
    with pytest.raises(ValueError, match=r"use \.jpg or \.png"):
        save(tmp_path / name, np.zeros((5, 7, 3), np.uint8))
