"""keep_classes and rename, the same for every reader."""

import json

import cv2
import numpy as np
import pytest

from yolojax.cli.main import run_command
from yolojax.config import Config, DataConfig, ModelConfig
from yolojax.data.from_config import open_source
from yolojax.data.parsing import RecordList, make_record
from yolojax.data.prepare import prepare_dataset
from yolojax.data.records import BadRecord
from yolojax.data.sources.load import load_source

CLASSES = ("car", "dog", "bus", "person")
# Of three pictures of 100 x 50 pixels: class and box.
OBJECTS = (
    [("dog", (10, 10, 20, 20)), ("person", (30, 10, 60, 40))],
    [("car", (0, 0, 50, 25)), ("bus", (50, 25, 100, 50)), ("dog", (5, 5, 9, 9))],
    [("dog", (1, 1, 99, 49))],
)


def voc_object(name, box):
    x1, y1, x2, y2 = box
    edges = f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
    return f"<object><name>{name}</name><bndbox>{edges}</bndbox></object>"


def write_all(root, objects=OBJECTS):
    """Write one data set in every layout -> {scheme: SOURCE}."""
    for folder in ("Annotations", "JPEGImages", "images", "labels"):
        (root / folder).mkdir(parents=True)
    (root / "labels.txt").write_text("\n".join(CLASSES))
    images, annotations, records = [], [], []
    for number, boxes in enumerate(objects):
        picture = root / "images" / f"{number}.png"
        cv2.imwrite(str(picture), np.zeros((50, 100, 3), np.uint8))
        (root / "JPEGImages" / f"{number}.png").write_bytes(picture.read_bytes())
        size = "<size><width>100</width><height>50</height></size>"
        xml = "".join(voc_object(*item) for item in boxes)
        (root / f"Annotations/{number}.xml").write_text(f"<annotation>{size}{xml}</annotation>")
        lines = []
        for name, (x1, y1, x2, y2) in boxes:
            label = CLASSES.index(name)
            cx, cy, w, h = (x1 + x2) / 200, (y1 + y2) / 100, (x2 - x1) / 100, (y2 - y1) / 50
            lines.append(f"{label} {cx} {cy} {w} {h}\n")
            box = [x1, y1, x2 - x1, y2 - y1]
            annotations.append(
                {"id": 1 + len(annotations), "image_id": 7 + number, "bbox": box}
                | {"category_id": 10 + label, "area": 5.0 + label}
            )
        (root / "labels" / f"{number}.txt").write_text("".join(lines))
        images.append({"id": 7 + number, "file_name": picture.name, "width": 100, "height": 50})
        labels = [CLASSES.index(name) for name, _ in boxes]
        records.append(make_record(str(number), picture, (100, 50), [b for _, b in boxes], labels))
    categories = [{"id": 10 + i, "name": name} for i, name in enumerate(CLASSES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "a.json").write_text(json.dumps(content))
    (root / "data.yaml").write_text(f"train: images\nnames: {list(CLASSES)}\n")
    prepare_dataset({"train": RecordList("all", CLASSES, records)}, root / "prepared")
    return {
        "voc": f"voc:{root}",
        "coco": f"coco:{root / 'a.json'}:{root / 'images'}",
        "darknet": f"darknet:{root / 'data.yaml'}",
        "tfds": f"tfds:{root / 'prepared'}",
    }


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("all"))


def named(record, classes):
    """The boxes of a record, in pixels, with the names of their classes."""
    boxes = np.rint(record.boxes * (100, 50, 100, 50)).astype(int)
    return [(classes[i], tuple(box)) for i, box in zip(record.labels, boxes.tolist(), strict=True)]


@pytest.mark.parametrize("scheme", ["voc", "coco", "darknet", "tfds"])
def test_boxes_of_other_classes_are_left_out_and_pictures_stay(sources, scheme):
    source = load_source(sources[scheme], keep_classes=("person", "car"))
    assert source.classes == ("person", "car")
    assert [named(record, source.classes) for record in source] == [
        [("person", (30, 10, 60, 40))],
        [("car", (0, 0, 50, 25))],
        [],
    ]
    left_out = "dog, bus" if scheme == "tfds" else "dog 3, bus 1"  # of records in memory
    assert source.notes == [f"keep_classes: boxes left out: {left_out}."]
    assert not source.skipped


@pytest.mark.parametrize("scheme", ["voc", "coco", "darknet", "tfds"])
def test_several_classes_get_one_name_before_some_are_kept(sources, scheme):
    rename = (("car", "vehicle"), ("bus", "vehicle"))
    source = load_source(sources[scheme], keep_classes=("vehicle",), rename=rename)
    assert [named(record, source.classes) for record in source] == [
        [],
        [("vehicle", (0, 0, 50, 25)), ("vehicle", (50, 25, 100, 50))],
        [],
    ]
    everything = load_source(sources[scheme], rename=rename)
    assert everything.classes == ("vehicle", "dog", "person")
    assert [len(record.labels) for record in everything] == [2, 3, 1]
    assert everything[1].labels.tolist() == [0, 0, 1]


def test_the_classes_of_a_model_give_the_order_of_the_labels(sources):
    classes = ("person", "dog", "car")
    source = load_source(sources["coco"], classes=classes, keep_classes=("dog", "person"))
    assert source.classes == classes
    assert [record.labels.tolist() for record in source] == [[1, 0], [1], [1]]
    assert source.category_ids == (13, 11, -1)
    assert source.original_ids == {"7": 7, "8": 8, "9": 9}
    assert source[0].area.tolist() == [6.0, 8.0]
    with pytest.raises(ValueError, match=r"keep_classes: 'bus' is not one of the classes of the m"):
        load_source(sources["coco"], classes=classes, keep_classes=("dog", "bus"))


def test_a_name_that_the_data_lack_is_an_error_with_a_suggestion(sources):
    spec = sources["darknet"]
    with pytest.raises(ValueError, match=r"keep_classes: 'persn' .*\(car, dog.* Did you mean 'per"):
        load_source(spec, keep_classes=("dog", "persn"))
    with pytest.raises(ValueError, match=r"rename: 'cra' is not a class .* Did you mean 'car'"):
        load_source(spec, rename=[("cra", "bus")])
    with pytest.raises(ValueError, match=r"keep_classes: 'car' .* It is renamed to 'bus'"):
        load_source(spec, keep_classes=("car",), rename=[("car", "bus")])
    with pytest.raises(ValueError, match=r"rename: 'car' needs one new name, got \['a', 'b'\]"):
        load_source(spec, rename=[("car", "a"), ("car", "b")])
    with pytest.raises(ValueError, match=r"repeated: .'dog'"):
        load_source(spec, keep_classes=("dog", "dog"))


def test_another_split_may_lack_a_class_but_not_all_of_them(sources):
    source = load_source(sources["voc"], keep_classes=("dog", "emu"), strict=False)
    assert "keep_classes: 'emu' is not a class" in source.notes[-1]
    with pytest.raises(ValueError, match="keep_classes: 'emu'"):
        load_source(sources["voc"], keep_classes=("emu",), strict=False)


@pytest.mark.parametrize("scheme", ["voc", "tfds"])
def test_without_keep_classes_another_class_is_an_error(sources, scheme):
    options = {"classes": ("auto", "bus", "dog"), "rename": [("car", "auto")]}
    with pytest.raises(BadRecord, match=r": class 'person' is not one of .*keep_classes leaves"):
        load_source(sources[scheme], **options)
    source = load_source(sources[scheme], **options, on_bad_record="skip")
    assert [record.labels.tolist() for record in source] == [[0, 1, 2], [2]]
    assert len(source.skipped) == 1


def test_a_list_of_names_may_lack_classes_that_are_left_out_or_renamed(tmp_path):
    spec = write_all(tmp_path / "d")["voc"]
    (tmp_path / "d" / "labels.txt").write_text("person\n")
    with pytest.raises(BadRecord, match=r"class 'dog' is not one of the classes \(person\)"):
        load_source(spec)
    source = load_source(spec, keep_classes=("person",))
    assert [record.labels.tolist() for record in source] == [[0], [], []]
    rename = [(name, "person") for name in ("car", "bus", "dog")]
    source = load_source(spec, rename=rename, classes=("person",))
    assert [len(record.labels) for record in source] == [2, 3, 1]


def test_joined_sources_are_selected_one_by_one(sources, tmp_path):
    other = tmp_path / "other.yaml"
    images = sources["darknet"].removeprefix("darknet:").replace("data.yaml", "images")
    other.write_text(f"train: {images}\nnames: [emu, Dog, elk, person]\n")
    spec = f"{sources['coco']}+darknet:{other}"
    source = load_source(spec, keep_classes=("person", "dog"), rename=[("Dog", "dog")])
    assert [record.labels.tolist() for record in source] == [[1, 0], [1], [1]] * 2
    assert source[3].image_id == "1/0"


def test_pictures_of_one_class_each_go_with_their_class(tmp_path):
    for name in ("cat", "dog", "emu"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "a.png"), np.zeros((4, 4, 3), np.uint8))
    source = load_source(f"folder:{tmp_path}", keep_classes=("emu", "cat"))
    assert [(record.image_id, record.label) for record in source] == [("cat/a", 1), ("emu/a", 0)]
    source = load_source(f"folder:{tmp_path}", rename=[("cat", "pet"), ("dog", "pet")])
    assert [record.label for record in source] == [0, 0, 1]
    circles = load_source("shapes:single-val", keep_classes=("circle",))
    assert 0 < len(circles) < 200
    assert {circles[i].label for i in range(len(circles))} == {0}


def test_classes_that_differ_in_case_or_spacing_alone_get_a_note(tmp_path):
    write_all(tmp_path / "d")
    yaml = tmp_path / "d" / "data.yaml"
    yaml.write_text("train: images\nnames: [hat, Hat, 'hard_hat', 'Hard hat']\n")
    notes = load_source(f"darknet:{yaml}").notes
    assert [note.partition(" differ")[0] for note in notes] == [
        "the classes 'hat', 'Hat'",
        "the classes 'hard_hat', 'Hard hat'",
    ]


def test_a_config_selects_for_training_and_evaluation(sources, capsys):
    data = DataConfig(train=sources["voc"], val=sources["tfds"], keep_classes=("person",))
    config = Config(model=ModelConfig(classes=("person",)), data=data)
    for spec in (data.train, data.val):
        assert [record.labels.tolist() for record in open_source(spec, config)] == [[0], [], []]
    assert "keep_classes: boxes left out: car 1, dog 3, bus 1." in capsys.readouterr().out


def test_check_data_takes_overrides(sources, capsys):
    words = ["--config.data.keep_classes=('vehicle',)", "--config.data.rename.car=vehicle"]
    assert run_command("check_data", [sources["voc"], *words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["classes"] == {"vehicle": {"objects": 1, "pictures": 1}}
    assert report["pictures"] == 3
