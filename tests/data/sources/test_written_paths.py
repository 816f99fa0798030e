import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolojax.data.records import BadRecord
from yolojax.data.sources.darknet import load_darknet
from yolojax.data.sources.written_paths import find_pictures, find_place

LINE = "1 0.25 0.5 0.1 0.6\n"
BOX = [[0.2, 0.2, 0.3, 0.8]]
JPEG = cv2.imencode(".jpg", np.zeros((10, 20, 3), np.uint8))[1].tobytes()


def put(root, **files):
    """Write files; {name: text}, a label file for each picture that has one in the same place."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(JPEG if content is None else content.encode())


def pictures(root, *names, labels=None):
    """Draw pictures with one box each; `labels` replaces the folder images."""
    for name in names:
        label = Path(name).with_suffix(".txt")
        if labels:
            label = Path(str(label).replace("images", labels))
        put(root, **{name: None, str(label): LINE})


def load(path, split="train"):
    """Load a split and check its boxes -> (relative paths of its pictures, notes)."""
    source = load_darknet(path, split)
    for record in source:
        np.testing.assert_allclose(record.boxes, BOX, atol=1e-6)
        assert record.labels.tolist() == [1]
    return [os.path.relpath(record.image) for record in source], source.notes


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Make the temporary folder the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


DATA = "classes = 2\ntrain = {}\nnames = {}\nbackup =\n"


@pytest.mark.parametrize("folder", ["set", "data"])
def test_cvat_exports_state_paths_below_data(here, folder):
    pictures(here / folder, "obj_train_data/a.jpg", "obj_train_data/sub/b c.png")
    put(
        here / folder,
        **{
            "obj.data": DATA.format("data/train.txt", "data/obj.names"),
            "obj.names": "cat\ndog\n",
            "train.txt": "data/obj_train_data/a.jpg\ndata/obj_train_data/sub/b c.png\n",
        },
    )
    found, notes = load(Path(folder) / "obj.data")
    assert found == [f"{folder}/obj_train_data/a.jpg", f"{folder}/obj_train_data/sub/b c.png"]
    assert notes == []


NAMES = "names: [cat, dog]\n"


@pytest.mark.parametrize(
    "yaml",
    [
        "train: ../train/images\n",
        "train: train/images\n",
        "train: set/train/images\n",
        "train: ./train/images\n",
        "train: train\\images\n",
        "train: ..\\train\\images\n",
        "train: Train/Images\n",
        "path: D:\\data\\foo\ntrain: train\\images\n",
        "path: /home/me/foo\ntrain: train/images\n",
        "path: ..\\set\ntrain: train/images\n",
        "path: ../set\ntrain: train/images\n",
        "path: set\ntrain: train/images\n",
        "train: [train/images/a.jpg.list]\n",
    ],
)
def test_ways_to_name_a_folder(here, yaml):
    pictures(here / "set", "train/images/a.jpg", labels="labels")
    put(here / "set", **{"data.yaml": yaml + NAMES, "train/images/a.jpg.list": "a.jpg\n"})
    assert load(Path("set/data.yaml")) == (["set/train/images/a.jpg"], [])


def test_path_of_another_machine(here):
    pictures(here / "set", "train/images/a.jpg", labels="labels")
    put(here / "set", **{"data.yaml": "path: /home/me/train\ntrain: images\n" + NAMES})
    found, notes = load(Path("set/data.yaml"))
    assert found == ["set/train/images/a.jpg"]
    assert notes == [
        "set/data.yaml: '/home/me/train' is not on this machine; set/train is read instead."
    ]


def test_path_starts_at_the_yaml_or_at_the_working_directory(here, monkeypatch):
    pictures(here, "datasets/coco8/images/train/a.jpg", labels="labels")
    yaml = "path: ../datasets/coco8\ntrain: images/train\n"
    put(here, **{"repo/data/coco8.yaml": yaml + NAMES})
    monkeypatch.chdir(here / "repo")
    assert load(Path("data/coco8.yaml"))[0] == ["../datasets/coco8/images/train/a.jpg"]
    pictures(here, "repo/datasets/coco8/images/train/b.jpg", labels="labels")
    assert load(Path("data/coco8.yaml"))[0] == ["datasets/coco8/images/train/b.jpg"]


@pytest.mark.parametrize(
    "line",
    [
        "/content/darknet/data/obj/a.jpg",
        "D:\\darknet\\obj\\a.jpg",
        "C:/x/a.jpg",
        "\\\\server\\disk\\obj\\a.jpg",
        "build/darknet/x64/data/obj/a.jpg",
    ],
)
def test_paths_of_another_machine_are_found_by_their_end(here, line):
    pictures(here / "set", "obj/a.jpg")
    text = DATA.format("/content/darknet/train.txt", "D:\\darknet\\my.names")
    put(here / "set", **{"my.data": text, "my.names": "cat\ndog\n", "train.txt": f"{line}\n"})
    found, notes = load(Path("set/my.data"))
    assert found == ["set/obj/a.jpg"]
    assert [n.split(":")[0] for n in notes] == ["set/my.data", "set/my.data", "set/train.txt"]
    assert "1 of 1 pictures are not where the list says" in notes[2]


def test_a_place_that_fits_as_well_is_noted(here):
    pictures(here, "set/train/a.jpg", "data/train/b.jpg")
    put(here, **{"set/data.yaml": "train: data/train\n" + NAMES})
    found, notes = load(Path("set/data.yaml"))
    assert found == ["set/train/a.jpg"]
    assert notes == [
        "set/data.yaml: 'data/train' is taken for set/train; data/train is there as well."
    ]


def test_labels_that_predict_wrote_next_to_its_pictures_are_read(here):
    put(here, **{"out/a.jpg": None, "out/a.txt": "1 0.250000 0.500000 0.100000 0.600000 0.7843\n"})
    put(here, **{"out/data.yaml": "train: .\n" + NAMES})
    assert load(Path("out/data.yaml"))[0] == ["out/a.jpg"]


def test_the_longest_end_counts_and_ties_are_refused(here):
    pictures(here / "set", "images/a/1.jpg", "images/b/1.jpg", "new/images/b/1.jpg")
    pictures(here / "set", "one/2.jpg", "two/2.jpg", "images/one.jpg")
    put(here / "set", **{"data.yaml": "train: lists/all.txt\n" + NAMES, "lists/all.txt": ""})
    lines = Path("set/lists/all.txt")
    lines.write_text("/mnt/x/images/b/1.jpg\n/mnt/a/1.jpg\n/mnt/images/one.jpg\n/mnt/ONE.jpg\n")
    found = ["set/images/b/1.jpg", "set/images/a/1.jpg", *2 * ["set/images/one.jpg"]]
    assert load(Path("set/data.yaml"))[0] == found
    lines.write_text("/mnt/images/one.jpg\n/mnt/x/2.jpg\n")
    message = r"all.txt:2: '/mnt/x/2.jpg': no such picture, and set/one/2.jpg and set/two/2.jpg"
    with pytest.raises(BadRecord, match=message):
        load(Path("set/data.yaml"))


def test_a_relative_path_is_not_replaced_by_a_picture_elsewhere(here):
    pictures(here / "set", "obj/a.jpg", "removed/b.jpg", "b.jpg", "old/obj/b.jpg")
    put(here / "set", **{"data.yaml": "train: all.txt\n" + NAMES})
    put(here / "set", **{"all.txt": "obj/a.jpg\nobj/b.jpg\n"})
    message = r"all.txt:2: 'obj/b.jpg': no such picture; it should be set/obj/b.jpg"
    with pytest.raises(BadRecord, match=message):
        load(Path("set/data.yaml"))
    source = load_darknet(Path("set/data.yaml"), on_bad_record="skip")
    assert [record.image_id for record in source] == ["a"]


def test_letter_case_of_a_listed_picture_is_ignored(here):
    pictures(here / "set", "obj/a.JPG")
    put(here / "set", **{"data.yaml": "train: all.txt\n" + NAMES, "all.txt": "obj\\A.jpg\n"})
    assert load(Path("set/data.yaml"))[0] == ["set/obj/a.JPG"]


def test_linked_folders_are_searched(here):
    pictures(here / "disk", "images/train/a.jpg", labels="labels")
    for part in ("images", "labels"):
        (here / "set" / part).mkdir(parents=True)
        (here / "set" / part / "train").symlink_to(here / "disk" / part / "train")
    (here / "set/images/loop").symlink_to(here / "set/images")
    put(here / "set", **{"data.yaml": "train: images\n" + NAMES, "images/._b.jpg": None})
    assert load(Path("set/data.yaml"))[0] == ["set/images/train/a.jpg"]


def test_lists_in_utf_16_are_read_and_other_encodings_named(here):
    pictures(here / "set", "obj/ü.jpg", "obj/a.jpg")
    put(here / "set", **{"data.yaml": "train: all.txt\n" + NAMES})
    lines = Path("set/all.txt")
    lines.write_bytes("obj\\ü.jpg\r\nobj\\a.jpg\r\n".encode("utf-16"))
    assert load(Path("set/data.yaml"))[0] == ["set/obj/ü.jpg", "set/obj/a.jpg"]
    for data in ("a.jpg\nü.jpg\n".encode("latin-1"), "a.jpg\n汽车.jpg\n".encode("gbk")):
        lines.write_bytes(data)
        with pytest.raises(ValueError, match=r"all.txt:2: must be a text file in UTF-8"):
            load(Path("set/data.yaml"))
    for data in (b"obj/a.jpg\nobj/b\0.jpg\n", "x\nobj/a.jpg\n".encode("utf-16-le")):
        lines.write_bytes(data)
        with pytest.raises(ValueError, match=r"all.txt:[12]: .*NUL character"):
            load(Path("set/data.yaml"))


@pytest.mark.parametrize(
    "entry", ["a" * 300, "x/" * 3000, "/" + "x/" * 3000, "loop", "pipe", "none", "/none/x", "~"]
)
def test_a_place_that_cannot_be_is_named(here, entry):
    (here / "loop").symlink_to(here / "loop")
    os.mkfifo(here / "pipe")
    file, notes = Path("data.yaml"), []
    with pytest.raises(FileNotFoundError, match=r"data.yaml: names '.*', which does not exist"):
        find_place(entry, [Path()], file, notes)
    put(here, **{"all.txt": f"{entry}\n"})
    (listed,) = find_pictures("all.txt", [Path()], file, notes)
    assert listed.problem.startswith("all.txt:1: ")
    assert len(listed.problem) < 700
    assert notes == []


def test_an_end_in_two_folders_is_refused(here):
    for folder in ("a/train", "b/train"):
        (here / folder).mkdir(parents=True)
    message = "names '/mnt/train', which does not exist, and a/train and b/train have the same end"
    with pytest.raises(FileNotFoundError, match=message):
        find_place("/mnt/train", [Path("a"), Path("b")], Path("data.yaml"), [])
