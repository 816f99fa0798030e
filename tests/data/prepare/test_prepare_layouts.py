"""Every source in every layout, read back."""

import json
import os
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import yaml

from tests.turned_pictures import BOX, HEIGHT, WIDTH, encoded, stored_box, stored_size
from yolojax.data.parsing import RecordList, make_record
from yolojax.data.prepare import TARGETS, prepare_dataset
from yolojax.data.records import BadRecord, load_image, load_record
from yolojax.data.sources.load import load_source

CLASSES = ("cat, black", "yes", "traffic light", "7", "été می‌شود")
FILES = (
    "a b.jpg",
    "x/a b.png",
    "y/a-b.JPG",
    "ünï #1.webp",
    ".hidden.tif",
    "one.jpg.png",
    "100%\t.png",
)


def encode(suffix, image):
    return cv2.imencode(suffix, image)[1].tobytes()


def picture(seed, width=40, height=30):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def boxes_of(seed, count, width=40, height=30):
    """Boxes with edges between pixels, in pixels."""
    generator = np.random.default_rng(seed)
    low = generator.uniform(0, (width - 6, height - 6), (count, 2))
    high = low + generator.uniform(2, 6, (count, 2))
    return np.concatenate([low, high], axis=1)


def odd_source(folder):
    """Files with names that need care, bytes, an array, a turned picture, no and several boxes."""
    records = []
    for number, name in enumerate(FILES):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(path.suffix.lower(), picture(number)))
        labels = [k % len(CLASSES) for k in range(number)]
        flags = {"difficult": [k == 0 for k in range(number)]}
        flags["crowd"] = [k == 2 for k in range(number)]
        boxes = boxes_of(number, number)
        records.append(make_record(f"{number}/{name}", path, (40, 30), boxes, labels, **flags))
    turned = folder / "turned.jpg"
    turned.write_bytes(encoded("JPEG", 6))
    box, size = stored_box(6), stored_size(6)
    records.append(make_record("../up", turned, size, [box], [1], stated=size))
    jpeg = encode(".jpg", picture(8))
    records.append(make_record("../up", jpeg, (40, 30), boxes_of(8, 2), [4, 3]))
    records.append(make_record("", picture(9), (40, 30), boxes_of(9, 1), [2], area=[3.5]))
    return RecordList("odd", CLASSES, records)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The odd source, and what it is in each layout -> {layout: Source}."""
    root = tmp_path_factory.mktemp("first")
    sources = {"memory": odd_source(root / "odd")}
    for to in TARGETS:
        written = prepare_dataset({"train": sources["memory"]}, root / to, to=to)
        sources[to] = load_source(written["train"].source)
    return sources


def assert_holds(read, original, to):
    """Compare what was read from layout `to` with the source that was written."""
    assert read.classes == original.classes
    assert len(read) == len(original)
    pairs = [load_record(read[index]) for index in range(len(read))]
    if to == "yolo":  # sorted by name
        found = {image.tobytes(): (ours, image) for ours, image in pairs}
        pairs = [found[load_image(original[index]).tobytes()] for index in range(len(read))]
    for index, (ours, image) in enumerate(pairs):
        theirs, wanted = load_record(original[index])
        np.testing.assert_array_equal(image, wanted)
        ignored = theirs.difficult | theirs.crowd
        kept = ~ignored if to == "yolo" else np.ones(len(ignored), bool)
        height, width = image.shape[:2]
        size = np.array((width, height, width, height))
        assert ours.labels.tolist() == theirs.labels[kept].tolist()
        assert np.abs((ours.boxes - theirs.boxes[kept]) * size).max(initial=0) <= 0.5001
        difficult = {"voc": ignored, "arrayrecord": theirs.difficult}.get(to, False & ignored)
        crowd = {"coco": ignored, "arrayrecord": theirs.crowd}.get(to, False & ignored)
        np.testing.assert_array_equal(ours.difficult, difficult[kept])
        np.testing.assert_array_equal(ours.crowd, crowd[kept])
        if to in ("coco", "arrayrecord"):
            np.testing.assert_allclose(ours.area, theirs.area, rtol=1e-5)


@pytest.mark.parametrize("to", TARGETS)
def test_odd_names_pictures_and_boxes_are_read_back(first, to):
    assert_holds(first[to], first["memory"], to)


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("scheme", TARGETS)
def test_every_layout_becomes_every_other(first, tmp_path, scheme, to):
    written = prepare_dataset({"train": first[scheme]}, tmp_path / "out", to=to)
    assert_holds(load_source(written["train"].source), first[scheme], to)


def test_boxes_and_size_are_those_of_the_upright_picture(first):
    record = first["voc"][len(FILES)]
    pixels = record.boxes[0] * (WIDTH, HEIGHT, WIDTH, HEIGHT)
    assert record.size == (WIDTH, HEIGHT)
    np.testing.assert_allclose(pixels, BOX, atol=0.5)


def test_names_are_safe_and_unique(first):
    names = [record.image.name for record in first["voc"].records]
    assert names == [
        *("a_b.jpg", "a_b_2.png", "a-b.jpg", "ünï__1.webp", "_hidden.tif"),
        *("one_jpg.png", "100_.png", "turned.jpg", "___up.jpg", "_.png"),
    ]


def test_names_are_unique_in_their_folder(tmp_path):
    source = RecordList("s", ("a",), [make_record("p", picture(0), (40, 30), [], [])])
    splits = {"train": source, "val": source}
    for to, places in (
        ("voc", ("JPEGImages/p.png", "JPEGImages/p_2.png")),
        ("coco", ("train/p.png", "val/p.png")),
        ("yolo", ("images/train/p.png", "images/val/p.png")),
    ):
        prepare_dataset(splits, tmp_path / to, to=to)
        found = sorted(
            str(path.relative_to(tmp_path / to)) for path in tmp_path.glob(f"{to}/**/*.png")
        )
        assert found == [*places]


def test_voc_counts_pixels_from_1_and_the_last_one_belongs_to_the_box(tmp_path):
    boxes = [(0, 0, 40, 30), (10.4, 5.6, 20.4, 15.6), (7.3, 29.8, 7.4, 29.9)]
    source = RecordList("s", ("a",), [make_record("p", picture(0), (40, 30), boxes, [0, 0, 0])])
    prepare_dataset({"val": source}, tmp_path / "out", to="voc")
    root = ElementTree.parse(tmp_path / "out/Annotations/p.xml").getroot()
    edges = [[int(edge.text) for edge in box] for box in root.iter("bndbox")]
    assert edges == [[1, 1, 40, 30], [11, 7, 20, 16], [8, 30, 8, 30]]
    assert [root.findtext(f"size/{side}") for side in ("width", "height")] == ["40", "30"]
    assert root.findtext("filename") == "p.png"
    assert (tmp_path / "out/ImageSets/Main/val.txt").read_text() == "p\n"
    assert (tmp_path / "out/labels.txt").read_text() == "a\n"


def test_yolo_has_the_files_of_other_tools(first, tmp_path):
    splits = {"train": first["memory"], "val": first["memory"]}
    written = prepare_dataset(splits, tmp_path / "out", to="yolo")
    content = yaml.safe_load((tmp_path / "out/data.yaml").read_text())
    assert content == {
        "train": "images/train",
        "val": "images/val",
        "nc": 5,
        "names": dict(enumerate(CLASSES)),
    }
    labels = sorted(path.stem for path in (tmp_path / "out/labels/train").iterdir())
    assert labels == sorted(path.stem for path in (tmp_path / "out/images/train").iterdir())
    assert (tmp_path / "out/labels/train/a_b.txt").read_text() == ""
    assert written["val"].notes == [
        "val: 6 difficult boxes are left out, as YOLO's lines cannot mark them.",
        "val: 4 crowds are left out, as YOLO's lines cannot mark them.",
        "val: 1 areas of masks are not written, as YOLO's lines have none.",
    ]


def test_coco_keeps_the_ids_of_a_coco_file(first, tmp_path):
    (tmp_path / "p").mkdir()
    for name in ("b.png", "c.png"):
        (tmp_path / "p" / name).write_bytes(encode(".png", picture(0)))
    images = [
        {"id": i, "file_name": f, "width": 40, "height": 30}
        for i, f in ((9, "b.png"), (4, "c.png"))
    ]
    boxes = [{"id": 5, "image_id": 4, "category_id": 90, "bbox": [1, 2, 3, 4], "area": 7.0}]
    categories = [{"id": 90, "name": "dog"}, {"id": 3, "name": "cat"}]
    content = {"images": images, "annotations": boxes, "categories": categories}
    (tmp_path / "a.json").write_text(json.dumps(content))
    source = load_source(f"coco:{tmp_path / 'a.json'}:{tmp_path / 'p'}", keep_classes=("dog",))
    written = prepare_dataset({"val2017": source}, tmp_path / "out", to="coco")
    content = json.loads((tmp_path / "out/annotations/instances_val2017.json").read_text())
    assert {image["id"]: image["file_name"] for image in content["images"]} == {
        9: "b.png",
        4: "c.png",
    }
    assert [(c["id"], c["name"]) for c in content["categories"]] == [(90, "dog")]
    (box,) = content["annotations"]
    assert (box["image_id"], box["category_id"], box["bbox"]) == (4, 90, [1, 2, 3, 4])
    assert (box["area"], box["iscrowd"]) == (7.0, 0)
    assert written["val2017"].source == (
        f"coco:{tmp_path}/out/annotations/instances_val2017.json:{tmp_path}/out/val2017"
    )
    plain = json.loads((tmp_path / "out/prepared.json").read_text())
    assert plain["to"] == "coco"


def test_pictures_are_copied_or_linked(first, tmp_path):
    file = first["memory"][0].image
    alias = tmp_path / "alias.jpg"
    alias.symlink_to(os.path.relpath(file, tmp_path))
    source = RecordList("s", ("a",), [make_record("p", alias, (40, 30), [], [])])
    for pictures, same in (("copy", False), ("link", True)):
        out = tmp_path / pictures
        prepare_dataset({"train": source}, out, to="yolo", pictures=pictures)
        target = out / "images/train/alias.jpg"
        assert target.samefile(file) is same
        assert not target.is_symlink()
        assert target.read_bytes() == file.read_bytes()


def test_pictures_on_another_disk_get_symbolic_links(first, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("other disk")

    monkeypatch.setattr(os, "link", refuse)
    out = tmp_path / "out"
    prepare_dataset({"train": first["voc"]}, out, to="voc", pictures="link")
    assert_holds(load_source(f"voc:{out}:train"), first["voc"], "voc")
    assert (out / "JPEGImages/a_b.jpg").readlink() == first["voc"][0].image.resolve()


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("name", ["two\nlines", " blank", "", "tab\t", "\udc80", "a\u2028b"])
def test_a_class_that_a_layout_cannot_hold_is_an_error(tmp_path, to, name):
    source = RecordList("s", ("cat", name), [make_record("p", picture(0), (40, 30), [], [])])
    with pytest.raises(ValueError, match=r"class .* must be one line of text"):
        prepare_dataset({"train": source}, tmp_path / "out", to=to)
    assert not any(tmp_path.iterdir())


def test_a_bad_picture_leaves_nothing_or_is_left_out(first, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    records = [make_record("bad", bad, (40, 30), [], []), first["memory"][1]]
    source = RecordList("s", CLASSES, records)
    with pytest.raises(BadRecord, match=r"bad\.jpg: not a picture"):
        prepare_dataset({"train": source}, tmp_path / "out", to="voc")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.jpg"]
    written = prepare_dataset({"train": source}, tmp_path / "out", to="voc", on_bad_record="skip")
    assert written["train"].images == len(load_source(written["train"].source)) == 1
    assert "not a picture" in written["train"].skipped[0]


@pytest.mark.parametrize("to", TARGETS)
def test_a_split_without_a_usable_picture_is_an_error(tmp_path, to):
    source = RecordList("s", ("a",), [make_record("bad", b"x", (4, 4), [], [])])
    with pytest.raises(ValueError, match="train: none of its pictures can be used: bad: not a"):
        prepare_dataset({"train": source}, tmp_path / "out", to=to, on_bad_record="skip")
    assert not any(tmp_path.iterdir())


def test_only_what_was_prepared_is_overwritten(first, tmp_path):
    source = first["memory"]
    out = tmp_path / "out"
    prepare_dataset({"train": source}, out, to="voc")
    with pytest.raises(FileExistsError, match="--overwrite"):
        prepare_dataset({"train": source}, out, to="yolo")
    prepare_dataset({"train": source}, out, to="yolo", overwrite=True)
    assert (out / "data.yaml").is_file()
    assert not (out / "Annotations").exists()
    (out / "prepared.json").unlink()
    with pytest.raises(FileExistsError, match="was not written by"):
        prepare_dataset({"train": source}, out, to="yolo", overwrite=True)


def test_options_that_do_not_fit_are_refused(first, tmp_path):
    source, out = first["memory"], tmp_path / "out"
    for options, message in (
        ({"to": "vo"}, "got 'vo'. Did you mean 'voc'"),
        ({"pictures": "move"}, 'must be "copy" or "link"'),
        ({"pictures": "link"}, "arrayrecord holds the pictures"),
        ({"to": "voc", "shards": 2}, "voc has none"),
    ):
        with pytest.raises(ValueError, match=message):
            prepare_dataset({"train": source}, out, **options)
    with pytest.raises(ValueError, match="the splits of yolo are train, val, test; got 'trainval'"):
        prepare_dataset({"trainval": source}, out, to="yolo")


def test_the_drawn_shapes_can_be_written(tmp_path):
    source = load_source("shapes:val")
    few = RecordList("few", source.classes, [source[i] for i in range(3)])
    written = prepare_dataset({"val": few}, tmp_path / "out", to="yolo")
    read = load_source(written["val"].source)
    assert_holds(read, few, "yolo")
    assert load_image(read[0]).shape == (128, 128, 3)
