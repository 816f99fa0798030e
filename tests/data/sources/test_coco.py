import json

import cv2
import numpy as np
import pytest

from yolojax.data.records import BadRecord
from yolojax.data.sources.coco import load_coco


def content():
    """Two pictures of 20x10 pixels; category ids with a gap, as in COCO, and not in order."""
    return {
        "images": [
            {"id": 9, "file_name": "a.png", "width": 20, "height": 10},
            {"id": 4, "file_name": "b.png", "width": 20, "height": 10},
        ],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 2, "name": "bicycle"}],
        "annotations": [
            {"id": 1, "image_id": 9, "category_id": 90, "bbox": [10, 0, 10, 5], "area": 42.5},
            {"id": 2, "image_id": 9, "category_id": 2, "bbox": [0, 0, 20, 10], "iscrowd": 1},
        ],
    }


def load(tmp_path, data, **options):
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((10, 20, 3), np.uint8))
    path = tmp_path / "instances.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return load_coco(path, tmp_path, **options)


def test_labels_are_contiguous_and_ids_are_known(tmp_path):
    source = load(tmp_path, content())
    assert source.classes == ("bicycle", "toothbrush")
    assert source.category_ids == (2, 90)
    record = source[0]
    assert record.image_id == "9"
    assert record.labels.tolist() == [1, 0]
    np.testing.assert_allclose(record.boxes, [[0.5, 0, 1, 0.5], [0, 0, 1, 1]])
    assert record.crowd.tolist() == [False, True]
    assert record.area.tolist() == [42.5, 200.0]


def test_a_picture_without_annotations_is_loaded(tmp_path):
    source = load(tmp_path, content())
    assert len(source) == 2
    assert source[1].image_id == "4"
    assert source[1].boxes.shape == (0, 4)


def test_ids_of_the_file_are_kept(tmp_path):
    data = content()
    data["images"][1]["id"] = "b4"
    source = load(tmp_path, data)
    assert source.original_ids == {"9": 9, "b4": "b4"}
    assert source.annotated


def test_a_file_without_annotations_has_pictures_without_ground_truth(tmp_path):
    data = content()
    del data["annotations"]
    source = load(tmp_path, data)
    assert not source.annotated
    assert [len(record.boxes) for record in source.records] == [0, 0]
    (note,) = source.notes
    assert "no ground truth" in note


def test_labels_follow_given_classes(tmp_path):
    source = load(tmp_path, content(), classes=("toothbrush", "apple", "bicycle"))
    assert source[0].labels.tolist() == [0, 2]
    assert source.category_ids == (90, -1, 2)


def test_the_size_comes_from_the_picture_if_the_json_has_none(tmp_path):
    data = content()
    del data["images"][0]["width"]
    assert load(tmp_path, data)[0].boxes[0].tolist() == [0.5, 0, 1, 0.5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [1, 2, 3]}, r"annotation 1: bbox must be \[x, y, width, height\]"),
        ({"bbox": None}, "bbox must be"),
        ({"bbox": [0, 0, 0, 5]}, "has no area"),
        ({"bbox": [15, 0, 10, 5]}, "outside the image of 20x10"),
        ({"category_id": 3}, "class 'category_id 3' is not one of"),
    ],
)
def test_a_bad_annotation_is_named_or_its_picture_skipped(tmp_path, change, message):
    data = content()
    data["annotations"][0].update(change)
    with pytest.raises(BadRecord, match=message):
        load(tmp_path, data)
    source = load(tmp_path, data, on_bad_record="skip")
    assert [record.image_id for record in source.records] == ["4"]
    assert len(source.skipped) == 1


def test_a_missing_picture_is_named(tmp_path):
    data = content()
    data["images"][1]["file_name"] = "gone.png"
    with pytest.raises(BadRecord, match=r"image 4: .*gone\.png is missing"):
        load(tmp_path, data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{", "not valid JSON.*line 1"),
        ("[]", "'images' must be a list"),
        ({"images": []}, "'categories' must be a list"),
        ({**content(), "annotations": {}}, "'annotations' must be a list"),
        ({**content(), "images": [{"id": 1}]}, r"images\[0\] has no 'file_name'"),
        ({**content(), "images": []}, "at least one entry"),
        ({**content(), "images": content()["images"][:1] * 2}, "unique ids"),
        ({**content(), "images": content()["images"][1:]}, "annotation 1 belongs to image_id 9"),
    ],
)
def test_a_malformed_file_is_refused(tmp_path, data, message):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, data)


def test_missing_file_or_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="write coco:FILE"):
        load_coco(tmp_path / "none.json", tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        load_coco(tmp_path / "none.json", tmp_path / "none")
