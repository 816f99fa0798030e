from pathlib import Path

import numpy as np
import pytest

from yolojax.data.records import BadRecord
from yolojax.data.sources.label_files import find_label_file, label_file, read_label_line


@pytest.mark.parametrize(
    ("picture", "labels"),
    [
        ("coco/images/train2014/1.jpg", "coco/labels/train2014/1.txt"),
        ("VOC2007/JPEGImages/1.jpg", "VOC2007/labels/1.txt"),
        ("my_images/1.png", "my_images/1.txt"),
        ("images/set/images/1.png", "images/set/labels/1.txt"),
    ],
)
def test_label_file(picture, labels):
    assert label_file(Path(picture)) == Path(labels)


def touch(root, name):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.mark.parametrize(
    ("picture", "labels"),
    [
        ("images/a.jpg", "labels/a.txt"),
        ("images/a.jpg", "images/a.txt"),
        ("images/a.jpg", "Labels/a.txt"),
        ("Images/train/a.jpg", "labels/train/a.txt"),
        ("Images/train/a.jpg", "Labels/train/a.txt"),
        ("IMAGES/a.jpg", "LABELS/a.txt"),
        ("JPEGImages/a.jpg", "labels/a.txt"),
        ("images/set/images/a.jpg", "labels/set/images/a.txt"),
        ("obj_train_data/a.b.JPG", "obj_train_data/a.b.txt"),
    ],
)
def test_label_files_are_found(tmp_path, picture, labels):
    picture, labels = touch(tmp_path, picture), tmp_path / labels
    assert find_label_file(picture) is None
    touch(tmp_path, labels)
    assert find_label_file(picture) == labels


def test_the_labels_folder_comes_before_the_file_next_to(tmp_path):
    picture = touch(tmp_path, "images/a.jpg")
    touch(tmp_path, "images/a.txt")
    labels = touch(tmp_path, "labels/a.txt")
    assert find_label_file(picture) == labels


def test_label_files_of_linked_folders_are_found(tmp_path):
    touch(tmp_path, "disk/images/train/a.jpg")
    labels = touch(tmp_path, "disk/labels/train/a.txt")
    (tmp_path / "set/images").mkdir(parents=True)
    (tmp_path / "set/images/train").symlink_to(tmp_path / "disk/images/train")
    picture = tmp_path / "set/images/train/a.jpg"
    assert find_label_file(picture) == labels.resolve()
    (tmp_path / "set/labels").mkdir()
    (tmp_path / "set/labels/train").symlink_to(tmp_path / "disk/labels/train")
    assert find_label_file(picture) == tmp_path / "set/labels/train/a.txt"


def test_a_broken_link_is_found_so_that_it_can_be_named(tmp_path):
    picture = touch(tmp_path, "a.jpg")
    (tmp_path / "a.txt").symlink_to(tmp_path / "a.txt")
    assert find_label_file(picture) == tmp_path / "a.txt"


def read(line, keypoint_numbers=0):
    return read_label_line(line, (200, 100), 3, keypoint_numbers, "a.txt:1")


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("1 0.25 0.5 0.1 0.6", "box"),
        ("1\t.25  5e-1 0.1 +0.6", "box"),
        ("1.0 0.25 0.5 0.1 0.6", "box"),
        ("1 0.25 0.5 0.1 0.6 0.93", "score"),
        ("1 0.25 0.5 0.1 0.6 1", "score"),
        ("1 0.2 0.3 0.3 0.2 0.25 0.8", "polygon"),
        ("1 0.2 0.2 0.3 0.2 0.3 0.8 0.2 0.8", "polygon"),
        ("1 0.25 0.2 0.3 0.5 0.25 0.8 0.2 0.5 0.22 0.4", "polygon"),
    ],
)
def test_all_forms_of_a_line_give_the_same_box(line, kind):
    label, box, found = read(line)
    assert (label, found) == (1, kind)
    np.testing.assert_allclose(box, (40, 20, 60, 80))


def test_keypoints_follow_the_box_where_the_data_set_has_them():
    label, box, kind = read("1 0.25 0.5 0.1 0.6 0.9 0.9 0.1 0.1", 4)
    assert (label, kind) == (1, "keypoints")
    np.testing.assert_allclose(box, (40, 20, 60, 80))
    assert read("1 0.25 0.5 0.1 0.6", 4)[1:] == read("1 0.25 0.5 0.1 0.6")[1:]
    with pytest.raises(BadRecord, match="or with 4 numbers more, got 7 numbers"):
        read("1 0.25 0.5 0.1 0.6 0.9 0.9", 4)


@pytest.mark.parametrize(
    "line",
    [
        "1",
        "1 .5 .5 .5",
        "1 .5 .5 .5 .5 -1",
        "1 .5 .5 .5 .5 1.5",
        "1 .5 .5 .5 .5 .5 .5 .5",
        "1,.5,.5,.5,.5",
        "1;.5;.5;.5;.5",
        "cat .5 .5 .5 .5",
        "1 ５ .5 .5 .5",
        "1 .5 .5 .5 nan",
        "1 .5 .5 .5 1_0",
        "1 .5 .5 .5 0x1",
        "1 .5 .5 .5 .5.5",
        "1 .5 .5 .5 .5\x0b1",
        "# made by x",
    ],
)
def test_other_lines_are_refused(line):
    with pytest.raises(BadRecord, match=r"a.txt:1: must be `class cx cy w h`"):
        read(line)
