import hashlib
import subprocess
import sys

import cv2
import numpy as np
import pytest

from yolojax.data.sources import shapes
from yolojax.data.sources.shapes import (
    MAX_COVERED,
    MAX_SHAPES,
    SHAPES,
    SIDE,
    draw_scene,
    load_shapes,
)

SCENES = [("train", 0), ("train", 1), ("val", 0), ("val", 199)]


def test_splits_and_classes():
    assert len(load_shapes("train")) == 2000
    assert len(load_shapes("val")) == 200
    assert len(load_shapes()) == 2200
    assert load_shapes().classes == SHAPES
    with pytest.raises(ValueError, match="there are: train, val"):
        load_shapes("test")


def test_a_record_has_the_documented_arrays():
    record = load_shapes("val")[7]
    assert record.image_id == "val_00007"
    assert record.image.shape == (SIDE, SIDE, 3)
    assert record.image.dtype == np.uint8
    assert record.boxes.min() >= 0
    assert record.boxes.max() <= 1
    assert len(record.labels) == len(record.boxes) == len(record.area)


def test_labels_follow_given_classes():
    order = ("emu", *reversed(SHAPES))
    given, plain = load_shapes("val", classes=order)[3], load_shapes("val")[3]
    assert [order[label] for label in given.labels] == [SHAPES[label] for label in plain.labels]
    with pytest.raises(ValueError, match="star"):
        load_shapes("val", classes=("circle", "square", "triangle"))


def test_every_scene_has_shapes_that_hardly_overlap():
    for number in range(100):
        _, boxes, _ = draw_scene("val", number)
        assert 1 <= len(boxes) <= MAX_SHAPES
        for i, a in enumerate(boxes):
            for b in boxes[:i]:
                shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(
                    0, min(a[3], b[3]) - max(a[1], b[1])
                )
                smaller = min((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
                assert shared <= MAX_COVERED * smaller


@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_boxes_are_tight(shape, monkeypatch):
    """One shape in white on black: its box is that of the white pixels."""
    monkeypatch.setattr(shapes, "_background", lambda g: (np.zeros((SIDE, SIDE, 3)), np.zeros(3)))
    monkeypatch.setattr(shapes, "_contrasting", lambda base, g: np.full(3, 255.0))
    monkeypatch.setattr(shapes, "_add_noise", lambda image, g: image.astype(np.uint8))
    for number in range(200):
        image, boxes, kinds = draw_scene("train", number)
        if kinds == [shape]:
            rows, columns = np.nonzero(image[..., 0])
            edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert boxes == [edges]
            return
    pytest.fail(f"no scene with one {SHAPES[shape]} alone")


def test_a_shape_contrasts_with_its_background():
    """Blurred, the middle of the last shape (no other covers it) is not the colour around it."""
    for number in range(20):
        image, boxes, _ = draw_scene("val", number)
        blurred = cv2.blur(image, (5, 5)).astype(float)
        x1, y1, x2, y2 = boxes[-1]
        middle = blurred[(y1 + y2) // 2, (x1 + x2) // 2]
        corner = np.median(image.reshape(-1, 3), axis=0)
        assert abs(middle - corner).max() > 25


def digest():
    data = b"".join(draw_scene(*scene)[0].tobytes() for scene in SCENES)
    return hashlib.sha256(data).hexdigest()


def test_scenes_differ_from_one_another():
    images = [draw_scene(*scene)[0].tobytes() for scene in SCENES]
    assert len(set(images)) == len(SCENES)


def test_another_process_draws_the_same():
    code = (
        "import hashlib; from yolojax.data.sources.shapes import draw_scene; "
        f"data = b''.join(draw_scene(*s)[0].tobytes() for s in {SCENES}); "
        "print(hashlib.sha256(data).hexdigest())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == digest()
