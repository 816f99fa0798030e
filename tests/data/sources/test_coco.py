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


def with_ids(images=(9, 4), categories=(90, 2)):
    """The same with other ids of the images and categories."""
    data = content()
    for key, ids in (("images", images), ("categories", categories)):
        for item, new in zip(data[key], ids, strict=True):
            item["id"] = new
    return data


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
        ({"bbox": [0.25, 0, 0.5, 1]}, r"box \(0.25, 0, 0.5, 1\) looks like fractions"),
        ({"bbox": {"x": 1}}, "bbox must be"),
        ({"bbox": [0, 0, True, 5]}, "bbox must be"),
        ({"bbox": [0, 0, "5px", 5]}, "bbox must be"),
        ({"bbox": [0, 0, float("nan"), 5]}, "bbox must be"),
        ({"bbox": [0, 0, 10**400, 5]}, "bbox must be"),
        ({"category_id": [90]}, r"annotation 1: category_id must be a number, got \[90\]"),
        ({"category_id": True}, "category_id must be a number, got True"),
        ({"category_id": {}}, "category_id must be"),
        ({"iscrowd": 2}, "iscrowd must be 0 or 1, got 2"),
        ({"iscrowd": []}, "iscrowd must be"),
        ({"area": {}}, "area must be a number, got {}"),
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


def test_ids_match_their_text(tmp_path):
    data = with_ids(images=["9", 4], categories=[90, "2"])
    data["annotations"][1]["image_id"] = "9"
    data["annotations"][0].update(category_id="90")
    data["annotations"].append(
        {"id": 3, "image_id": "4", "category_id": "90", "bbox": [0, 0, 2, 5]}
    )
    source = load(tmp_path, data)
    assert source.classes == ("bicycle", "toothbrush")
    assert source.category_ids == ("2", 90)
    assert source.original_ids == {"9": "9", "4": 4}
    assert [record.labels.tolist() for record in source.records] == [[1, 0], [1]]
    np.testing.assert_allclose(source[1].boxes, [[0, 0, 0.1, 0.5]])


def test_numbers_may_be_text_or_missing(tmp_path):
    data = content()
    data["images"][0].update(width="20", height=" 10.0 ")
    data["images"][1].update(width=None, height="")
    data["annotations"] = [
        {"id": 1, "image_id": 9, "category_id": 2, "bbox": ["10", "0", "1e1", " 5.0"], **rest}
        for rest in (
            {"area": "12.5", "iscrowd": "1"},
            {"area": None, "iscrowd": None},
            {"area": "unknown", "iscrowd": "0"},
            {"area": -1, "iscrowd": False},
            {"area": float("nan"), "iscrowd": True},
            {"area": 10**400},
            {},
        )
    ]
    a, b = load(tmp_path, data).records
    np.testing.assert_allclose(a.boxes, [[0.5, 0, 1, 0.5]] * 7)
    assert a.area.tolist() == [12.5, 50, 50, 50, 50, 50, 50]
    assert a.crowd.tolist() == [True, False, False, False, True, False, False]
    assert (a.size, b.size) == ((20, 10), None)


@pytest.mark.parametrize("width", [-20, "wide", [20], True, float("nan"), 20.5, 10**400, 1e9])
def test_a_stated_size_that_is_none_is_refused(tmp_path, width):
    data = content()
    data["images"][1]["width"] = width
    with pytest.raises(BadRecord, match="image 4: width must be a number of pixels, got"):
        load(tmp_path, data)


@pytest.mark.parametrize("policy", ["error", "skip"])
def test_annotations_of_no_picture_or_category_are_left_out_and_counted(tmp_path, policy):
    data = content()
    box = {"bbox": [0, 0, 9, 9]}
    data["annotations"] += [
        {"id": 3, "image_id": 77, "category_id": 2, **box},
        {"id": 4, "category_id": 2, **box},
        {"id": 5, "image_id": [9], "category_id": 2, **box},
        {"id": 6, "image_id": 9, **box},
        {"id": 7, "image_id": 9, "category_id": 3, **box},
    ]
    source = load(tmp_path, data, on_bad_record=policy)
    assert [len(record.boxes) for record in source.records] == [2, 0]
    assert not source.skipped
    assert source.notes == [
        "annotations left out, as their image_id is not in 'images': 3 (annotation 3, "
        "image_id 77).",
        "annotations left out, as their category_id is not in 'categories': 2 (annotation 6, "
        "category_id None).",
    ]


def picture(path, size=(20, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((size[1], size[0], 3), np.uint8))
    return path


def load_names(root, *names, **options):
    """Load a file whose images have these file names, ids 0, 1, ... and no annotations."""
    images = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    (root / "a.json").write_text(json.dumps({**content(), "images": images, "annotations": []}))
    return load_coco(root / "a.json", root / "images", **options)


def test_file_names_of_other_machines_are_found(tmp_path):
    folder = tmp_path / "images"
    expected = [
        (picture(folder / "sub" / "a.png"), "sub\\a.png"),
        (picture(folder / "b.png"), "/home/me/data/images/b.png"),
        (picture(folder / "sub" / "c.png"), "D:\\set\\images\\sub\\c.png"),
        (picture(folder / "d.png"), "images/d.png"),
        (picture(folder / "sub" / "e.png"), "http://images.org/val/e.png"),
        (picture(folder / "train" / "x.png"), "data/train/x.png"),
        (picture(folder / "val" / "x.png"), "data/val/x.png"),
        (picture(folder / "F.PNG"), "f.png"),
        (picture(folder / "e\u0301.png"), "\u00e9.png"),
        (picture(folder / "plain.png"), "plain.png"),
    ]
    paths, names = zip(*expected, strict=True)
    source = load_names(tmp_path, *names)
    assert [record.image for record in source.records] == list(paths)
    (note,) = source.notes
    assert "by the part at their end: 9 (" in note


def test_a_file_name_that_fits_several_pictures_is_ambiguous(tmp_path):
    for name in ("s1/a.png", "s2/a.png", "b.png", "c.png"):
        picture(tmp_path / "images" / name)
    names = ("a.png", "train/b.png", "val/b.png", "other/c.png", "c.png")
    source = load_names(tmp_path, *names, on_bad_record="skip")
    assert [record.image_id for record in source.records] == ["4"]
    assert ["may be any of" in message for message in source.skipped] == [True, *3 * [False]]
    assert all("so may another" in message for message in source.skipped[1:])


@pytest.mark.parametrize("name", ["", "a" * 5000, "a\0b.png", "\ud800.png", "\udc80", "/" * 99999])
def test_a_file_name_that_no_file_can_have_is_a_bad_record(tmp_path, name):
    picture(tmp_path / "images" / "a.png")
    with pytest.raises(BadRecord, match=r"image 0: file_name '.* is missing") as error:
        load_names(tmp_path, name)
    assert len(str(error.value).encode()) < 600


@pytest.mark.parametrize("name", [None, 5, ["a.png"], {}])
def test_a_file_name_must_be_text(tmp_path, name):
    picture(tmp_path / "images" / "a.png")
    with pytest.raises(BadRecord, match="image 0: file_name must be text, got"):
        load_names(tmp_path, name)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_encodings(tmp_path, encoding):
    data = content()
    data["categories"][0]["name"] = "щетка"
    load(tmp_path, data)
    path = tmp_path / "instances.json"
    path.write_bytes(json.dumps(data, ensure_ascii=False).encode(encoding))
    assert load_coco(path, tmp_path).classes == ("bicycle", "щетка")


def test_another_encoding_is_named(tmp_path):
    load(tmp_path, content())
    (tmp_path / "instances.json").write_bytes('{"a": "猫狗"}'.encode("gbk"))
    with pytest.raises(ValueError, match=r"instances\.json: not valid JSON: 'utf-8' codec"):
        load_coco(tmp_path / "instances.json", tmp_path)


def test_a_missing_picture_is_named(tmp_path):
    data = content()
    data["images"][1]["file_name"] = "gone.png"
    with pytest.raises(BadRecord, match=r"image 4: file_name 'gone\.png' is missing in"):
        load(tmp_path, data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{", "not valid JSON.*line 1"),
        ("[" * 100_000, "nested too deeply"),
        ("\ufffe", "not valid JSON"),
        ("[]", "must be an object with the lists 'images'"),
        ({"images": {}}, "'images' must be a list"),
        ({**content(), "annotations": [None]}, r"annotations\[0\] must be an object, got None"),
        ({"images": []}, "'categories' must be a list"),
        ({**content(), "annotations": {}}, "'annotations' must be a list"),
        ({**content(), "images": [{"id": 1}]}, r"images\[0\] has no 'file_name'"),
        ({**content(), "images": []}, "at least one entry"),
        ({**content(), "images": content()["images"][:1] * 2}, "images: id 9 is there twice"),
        (with_ids(images=["9", 9]), "images: id 9 is there twice"),
        (
            with_ids(images=[1, None]),
            r"images\[1\], 'b.png': id must be a number or text, got None",
        ),
        (with_ids(images=[1, float("nan")]), "id must be a number or text, got nan"),
        (with_ids(images=[1, []]), r"id must be a number or text, got \[\]"),
        (with_ids(images=[1, True]), "id must be a number or text, got True"),
        (
            with_ids(images=[5, 6]),
            "none of the 2 annotations has a known image_id; the first has 9",
        ),
        (with_ids(categories=[1, 3]), "none of the 2 .* a known category_id; the first has 90"),
        (with_ids(categories=[1, 1]), "categories: id 1 is there twice, for 'toothbrush' and for"),
        (with_ids(categories=[1, "1"]), "categories: id '1' is there twice"),
        (with_ids(categories=[1, [2]]), r"categories\[1\], 'bicycle': id must be a whole number"),
        (with_ids(categories=[1, True]), "id must be a whole number from 0, got True"),
        (with_ids(categories=[1, "b"]), "id must be a whole number from 0, got 'b'"),
        (with_ids(categories=[1, -1]), "id must be a whole number from 0, got -1"),
        (with_ids(categories=[1, 10**4000]), "id must be a whole number from 0, got 1000"),
        ({**content(), "categories": [{"id": 1, "name": None}]}, "class name must be .* got None"),
        ({**content(), "categories": [{"id": 1, "name": "a\ud800"}]}, "class name must be a line"),
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
