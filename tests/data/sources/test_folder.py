import cv2
import numpy as np
import pytest

from yolojax.data.records import BadRecord, load_image
from yolojax.data.sources.load import load_source


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, np.full((4, 6, 3), 9, np.uint8))[1].tobytes())


def test_the_folder_of_a_picture_is_its_class(tmp_path):
    for name in ("train/dog/b.png", "train/cat/a.png", "train/cat/more/a.png", "val/cat/c.png"):
        picture(tmp_path / name)
    source = load_source(f"folder:{tmp_path}:train")
    assert source.classes == ("cat", "dog")
    assert [(r.image_id, r.label) for r in source] == [
        ("cat/a", 0),
        ("cat/more/a", 0),
        ("dog/b", 1),
    ]
    assert load_image(source[0]).shape == (4, 6, 3)
    assert source[0].boxes.shape == (0, 4)


def test_the_start_of_a_file_name_is_its_class(tmp_path):
    for name in ("n02_tabby_cat.JPG", "n01_dog.tiff"):
        picture(tmp_path / name)
    (tmp_path / "readme.txt").write_text("no picture")
    source = load_source(f"folder:{tmp_path}")
    assert [(source.classes[r.label], r.image_id) for r in source] == [
        ("n01", "n01_dog"),
        ("n02", "n02_tabby_cat"),
    ]


def test_given_classes_select_the_pictures(tmp_path):
    for name in ("a_1.png", "b_1.png", "c_1.png"):
        picture(tmp_path / name)
    with pytest.raises(BadRecord, match=r"a_1\.png: class 'a' is not one of the classes \(c, b\)"):
        load_source(f"folder:{tmp_path}", classes=("c", "b"))
    source = load_source(f"folder:{tmp_path}", classes=("c", "b"), on_bad_record="skip")
    assert [r.label for r in source] == [1, 0]
    assert len(source.skipped) == 1


def test_a_stray_picture_is_skipped_with_a_message(tmp_path):
    for name in ("crane/a.png", "dog/b.png", "over.png"):
        picture(tmp_path / name)
    with pytest.raises(BadRecord, match=r"over\.png: is next to .* on_bad_record='skip'"):
        load_source(f"folder:{tmp_path}")
    source = load_source(f"folder:{tmp_path}", on_bad_record="skip")
    assert source.classes == ("crane", "dog")
    assert [r.image_id for r in source] == ["crane/a", "dog/b"]
    (message,) = source.skipped
    assert "over.png: is next to" in message


def test_a_repeated_class_is_refused(tmp_path):
    picture(tmp_path / "a_1.png")
    with pytest.raises(ValueError, match=r"repeated: \['a'\]"):
        load_source(f"folder:{tmp_path}", classes=("a", "b", "a"))


def test_linked_classes_and_hidden_files(tmp_path):
    picture(tmp_path / "disk" / "a.png")
    picture(tmp_path / "set" / "dog" / "b.png")
    for hidden in ("._b.png", ".ipynb_checkpoints/b-checkpoint.png"):
        picture(tmp_path / "set" / "dog" / hidden)
    (tmp_path / "set" / "cat").symlink_to(tmp_path / "disk")
    (tmp_path / "set" / "dog" / "loop").symlink_to(tmp_path / "set")
    source = load_source(f"folder:{tmp_path / 'set'}")
    assert source.classes == ("cat", "dog")
    assert [(r.image_id, r.label) for r in source] == [("cat/a", 0), ("dog/b", 1)]


def test_ids_are_unique_text(tmp_path):
    for name in ("cat/a.png", "cat/a.jpg", "cat/\udcb0.png"):
        picture(tmp_path / name)
    ids = [r.image_id for r in load_source(f"folder:{tmp_path}")]
    assert ids == ["cat/a", "cat/a#2", "cat/\\udcb0"]


def test_a_class_that_is_no_line_of_text_is_a_bad_record(tmp_path):
    for name in ("cat/a.png", "\udcb0/b.png", "a\nb/c.png"):
        picture(tmp_path / name)
    source = load_source(f"folder:{tmp_path}", on_bad_record="skip")
    assert source.classes == ("cat",)
    assert all("is not one line of text" in message.encode().decode() for message in source.skipped)
    assert len(source.skipped) == 2


@pytest.mark.parametrize(
    ("files", "split", "message"),
    [
        ((), "", "no pictures"),
        (("a.png",), "val", "val: not a folder"),
        (("plain.png",), "", "no class"),
        (("dog/a.png", "b.png"), "", "next to the class folders"),
    ],
)
def test_pictures_without_a_class_are_named(tmp_path, files, split, message):
    for name in files:
        picture(tmp_path / name)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_source(f"folder:{tmp_path}:{split}" if split else f"folder:{tmp_path}")
