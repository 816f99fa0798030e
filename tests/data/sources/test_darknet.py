import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolojax.data.records import BadRecord
from yolojax.data.sources.darknet import load_darknet

YAML = "path: .\ntrain: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n"


def write(root, labels, yaml=YAML):
    """{split/stem: text of the label file, or None}; black pictures of 20x10 pixels."""
    for key, text in labels.items():
        picture = root / "images" / f"{key}.jpg"
        picture.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(picture), np.zeros((10, 20, 3), np.uint8))
        path = root / "labels" / f"{key}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            path.write_text(text)
    (root / "data.yaml").write_text(yaml)
    return root / "data.yaml"


BOTH = {"train/a": "1 0.75 0.25 0.5 0.5\n\n0 .5 .5 1 1\n", "train/b": None, "val/c": ""}


def test_lines_become_corners(tmp_path):
    source = load_darknet(write(tmp_path, BOTH), "train")
    record = source[0]
    assert source.classes == ("cat", "dog")
    assert record.image_id == "a"
    assert record.labels.tolist() == [1, 0]
    np.testing.assert_allclose(record.boxes, [[0.5, 0, 1, 0.5], [0, 0, 1, 1]])
    assert record.area.tolist() == [50.0, 200.0]
    assert not record.difficult.any()
    assert not record.crowd.any()


def test_no_label_file_means_no_boxes(tmp_path):
    source = load_darknet(write(tmp_path, BOTH))
    assert [record.image_id for record in source.records] == ["a", "b", "c"]
    assert [len(record.labels) for record in source.records] == [2, 0, 0]


def test_no_label_file_anywhere_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none of 1 pictures.*labels.train.b\.txt"):
        load_darknet(write(tmp_path, {"train/b": None}), "train")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 .5 .5 .5", "must be `class cx cy w h`"),
        ("0 .5 .5 .5 .5 9", "must be `class cx cy w h`.*got 6 numbers"),
        ("0 .1 .1 .5 .5 .9 .9 .2", "a polygon.*got 8 numbers"),
        ("0,.5,.5,.5,.5", "must be `class cx cy w h`"),
        ("0 .5 .5 .5 1_0", "numbers with blanks between"),
        ("0 .5 .5 .5 5e", "numbers with blanks between"),
        ("0 .5 .5 1e400 .5", "outside the image"),
        ("1e400 .5 .5 .5 .5", "got inf"),
        ("0 .1 .1 .1 .5 .1 .9", "has no area"),
        ("cat .5 .5 .5 .5", "must be `class cx cy w h`"),
        ("2 .5 .5 .5 .5", r"class must be one of 0\.\.1, got 2"),
        ("0.5 .5 .5 .5 .5", r"got 0\.5"),
        ("nan .5 .5 .5 .5", "numbers with blanks between"),
        ("0 .5 .5 0 .5", "has no area"),
        ("0 .5 .5 -.5 .5", "has no area"),
        ("0 .9 .5 .5 .5", "outside the image"),
        ("0 inf .5 .5 .5", "numbers with blanks between"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    path = write(tmp_path, {"train/a": f"0 .5 .5 .5 .5\n{line}\n"})
    with pytest.raises(BadRecord, match=message) as error:
        load_darknet(path, "train")
    assert "a.txt:2" in str(error.value)


def test_bad_records_can_be_skipped(tmp_path):
    path = write(tmp_path, {"train/a": "7 .5 .5 1 1", "train/b": "1 .5 .5 1 1"})
    source = load_darknet(path, "train", on_bad_record="skip")
    assert [record.image_id for record in source.records] == ["b"]
    assert "a.txt:1" in source.skipped[0]


def test_unreadable_files_are_bad_records(tmp_path):
    path = write(tmp_path, {"train/a": "0 .5 .5 1 1"})
    (tmp_path / "labels/train/a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadRecord, match="UTF-8"):
        load_darknet(path, "train")
    (tmp_path / "images/train/a.jpg").write_bytes(b"")
    with pytest.raises(BadRecord, match=r"a\.jpg: not a picture"):
        load_darknet(path, "train")


def test_labels_follow_given_classes(tmp_path):
    path = write(tmp_path, BOTH)
    assert load_darknet(path, "train", classes=("dog", "cat"))[0].labels.tolist() == [0, 1]
    with pytest.raises(BadRecord, match=r"class 'cat' is not one of the classes \(dog\)"):
        load_darknet(path, "train", classes=("dog",))


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("names: [a", "not valid YAML"),
        ("val: images/train\nnames: [a]", "no split 'train'; there are: val"),
        ("names: [a]", "there are: none"),
    ],
)
def test_a_wrong_yaml_is_refused(tmp_path, yaml, message):
    with pytest.raises(ValueError, match=message):
        load_darknet(write(tmp_path, BOTH, yaml), "train")


def test_missing_files_are_named(tmp_path):
    path = write(tmp_path, BOTH, "train: images/none\nnames: [cat, dog]")
    with pytest.raises(FileNotFoundError, match=r"names 'images/none', which does not exist"):
        load_darknet(path, "train")
    with pytest.raises(FileNotFoundError, match=r"write darknet:FILE\.yaml or"):
        load_darknet(tmp_path / "none.yaml")
    with pytest.raises(FileNotFoundError, match=r"write darknet:.*data\.yaml\."):
        load_darknet(tmp_path)
    for name in ("a\0b", "a" * 3000):
        with pytest.raises(FileNotFoundError, match="no such file"):
            load_darknet(tmp_path / name)


def test_yaml_takes_lists_of_folders_and_text_files(tmp_path):
    yaml = "train: [images/train, val.txt]\nnames: [cat, dog]\nnc: 2\n"
    path = write(tmp_path, BOTH, yaml)
    (tmp_path / "val.txt").write_text("./images/val/c.jpg\n")
    assert [r.image_id for r in load_darknet(path).records] == ["a", "b", "c"]


def test_darknet_data_file(tmp_path):
    write(tmp_path, BOTH)
    (tmp_path / "train.txt").write_text(f"{tmp_path / 'images/train/a.jpg'}\nimages/train/a.jpg\n")
    (tmp_path / "my.names").write_text("cat\ndog\n")
    path = tmp_path / "my.data"
    text = (
        "# comment\nclasses = 2\ntrain=train.txt\nvalid = train.txt\nnames = my.names\nbackup=b\n"
    )
    path.write_text(text)
    # A list may repeat a picture to show it more often.
    assert [r.image_id for r in load_darknet(path, "train").records] == ["a", "a#2"]
    assert len(load_darknet(path, "valid")) == len(load_darknet(path, "val")) == 2
    path.write_text(text.replace("classes = 2", "classes = 20"))
    with pytest.raises(ValueError, match="classes is 20, but there are 2 names"):
        load_darknet(path)
    path.write_text("train\n")
    with pytest.raises(ValueError, match=r"my\.data:1: must be `key = value`"):
        load_darknet(path)


def test_missing_label_files_are_counted_and_empty_ones_are_not(tmp_path):
    texts = {"train/a": "0 .5 .5 1 1", "train/b": "", "train/c": None, "train/d": None}
    source = load_darknet(write(tmp_path, texts), "train")
    assert source.notes == [
        "2 of 4 pictures have no label file and are trained as background; an empty file says that "
        "a picture has no objects."
    ]
    assert [kind for kind, _ in source.warnings] == 2 * ["pictures without a label file"]
    path = tmp_path / "labels/train/c.txt"
    assert source.warnings[0][1].endswith(f"c.jpg: has no label file {path}.")
    path.with_suffix(".TXT").write_text("0 .5 .5 1 1")
    source = load_darknet(tmp_path / "data.yaml", "train")
    assert source.warnings[0][1].endswith("c.TXT this name.")
    assert load_darknet(write(tmp_path, {"val/a": ""}), "val").notes == []


def test_lines_that_are_more_than_a_box_are_counted(tmp_path):
    polygon, score = "1 .2 .3 .3 .2 .25 .8", "0 .5 .5 .5 .5 .9"
    texts = {"train/a": f"{polygon}\n{score}\n{polygon}", "train/b": f"{polygon}\n\n0 .5 .5 1 1"}
    source = load_darknet(write(tmp_path, texts), "train")
    assert source.notes == [
        "3 lines of label files are polygons, read as their boxes.",
        "1 lines of label files have a score after the box, which is not used.",
    ]
    np.testing.assert_allclose(source[0].boxes[0], [0.2, 0.2, 0.3, 0.8], rtol=1e-6)
    yaml = YAML + "kpt_shape: [1, 2]\n"
    source = load_darknet(write(tmp_path / "pose", {"train/a": polygon}, yaml), "train")
    assert source.notes == [
        "1 lines of label files have keypoints after the box, which are not used."
    ]
    np.testing.assert_allclose(source[0].boxes, [[0.05, 0.2, 0.35, 0.4]], rtol=1e-5)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path)])
def test_a_label_file_that_is_no_file_is_a_bad_record(tmp_path, make):
    path = write(tmp_path, {"train/a": "0 .5 .5 1 1", "train/b": None})
    make(tmp_path / "labels/train/b.txt")
    with pytest.raises(BadRecord, match=r"b.txt: is not a file, but a folder, a pipe or a broken"):
        load_darknet(path, "train")


def test_a_file_name_that_is_not_utf_8_is_a_bad_record(tmp_path):
    path = write(tmp_path, {"train/a": "0 .5 .5 1 1"})
    os.rename(tmp_path / "images/train/a.jpg", os.fsencode(tmp_path) + b"/images/train/\xe9.jpg")
    os.rename(tmp_path / "labels/train/a.txt", os.fsencode(tmp_path) + b"/labels/train/\xe9.txt")
    with pytest.raises(BadRecord, match=r"images/train/\\udce9.jpg': the name is not valid UTF-8"):
        load_darknet(path, "train")


def test_pictures_that_are_all_elsewhere_are_named(tmp_path):
    path = write(tmp_path, {}, "train: all.txt\nnames: [a]\n")
    (tmp_path / "all.txt").write_text("\nobj/x.jpg\nobj/y.jpg\n")
    with pytest.raises(FileNotFoundError, match=r"none of 2 pictures is there.*all.txt:2: 'obj/x"):
        load_darknet(path, "train")
