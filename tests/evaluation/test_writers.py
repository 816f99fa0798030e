import json

import pytest
from evaluation_cases import detections

from yolojax.evaluation.writers import write_coco_results, write_result, write_voc_results

FOUND = [
    detections("COCO_val2014_000000000042", [(10, 20, 30, 60)], [0.5], [1]),
    detections("cat_7b", [(0, 0, 1, 1)], [0.25], [0]),
]


def test_result_replaces_the_old_file(tmp_path):
    path = tmp_path / "eval" / "voc10.json"
    write_result(path, {"voc10": 0.5})
    write_result(path, {"voc10": None})
    assert json.loads(path.read_text()) == {"voc10": None}
    assert [p.name for p in path.parent.iterdir()] == ["voc10.json"]


def test_nan_is_null(tmp_path):
    write_result(tmp_path / "a.json", {"voc10": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"voc10": None}


def test_coco_results(tmp_path):
    write_coco_results(tmp_path / "coco.json", FOUND[:1], category_ids=[17, 90])
    assert json.loads((tmp_path / "coco.json").read_text()) == [
        {"image_id": 42, "category_id": 90, "bbox": [10, 20, 20, 40], "score": 0.5},
    ]


@pytest.mark.parametrize("ids", [("a_42", "cat_7b"), ("2008_000001", "2009_000001")])
def test_ids_without_unique_numbers_are_written_unchanged(tmp_path, ids):
    found = [d._replace(image_id=i) for d, i in zip(FOUND, ids, strict=False)]
    write_coco_results(tmp_path / "coco.json", found)
    rows = json.loads((tmp_path / "coco.json").read_text())
    assert {row["image_id"] for row in rows} == set(ids)


def test_voc_results_count_pixels_from_one_and_include_the_last(tmp_path):
    # the first pixel of the image alone: 1 1 1 1
    paths = write_voc_results(tmp_path / "voc", FOUND, ["cat", "dog", "bird"])
    assert [p.name for p in paths] == [f"comp4_det_test_{c}.txt" for c in ("cat", "dog", "bird")]
    assert paths[0].read_text() == "cat_7b 0.250000 1.000 1.000 1.000 1.000\n"
    assert paths[1].read_text().split()[2:] == ["11.000", "21.000", "30.000", "60.000"]
    assert paths[2].read_text() == ""


def test_ids_are_those_of_the_annotation_file(tmp_path):
    original = {"COCO_val2014_000000000042": "0042", "cat_7b": 7.0, "42": 42}
    write_coco_results(tmp_path / "coco.json", FOUND, original_ids=original)
    rows = json.loads((tmp_path / "coco.json").read_text())
    assert [row["image_id"] for row in rows] == ["0042", 7.0]


def test_files_of_classes_stay_in_their_folder(tmp_path):
    classes = [
        "road/sign",
        "road_sign",
        "x/../../ESCAPED",
        "Cat",
        "cat",
        "c" * 300,
        "",
        "NUL",
        "a\0",
    ]
    paths = write_voc_results(tmp_path / "run" / "voc", [], classes)
    assert [path.name[15:-4] for path in paths] == [
        "road_sign", "road_sign_2", "x_.._.._ESCAPED", "Cat", "cat_2", "c" * 200, "_", "_NUL", "a_",
    ]  # fmt: skip
    assert {p for p in tmp_path.rglob("*") if p.is_file()} == set(paths)


def test_pycocotools_loads_the_results(tmp_path, capfd):
    coco = pytest.importorskip("pycocotools.coco")
    images = [{"id": "img_0"}, {"id": 7}]
    content = {"images": images, "annotations": [], "categories": [{"id": 3, "name": "cat"}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    original = {"COCO_val2014_000000000042": "img_0", "cat_7b": 7}
    write_coco_results(tmp_path / "r.json", FOUND, [3, 4], original)
    loaded = coco.COCO(str(tmp_path / "a.json")).loadRes(str(tmp_path / "r.json"))
    assert [one["image_id"] for one in loaded.anns.values()] == ["img_0", 7]
