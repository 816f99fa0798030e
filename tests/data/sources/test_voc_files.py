"""The layouts of folders of VOC data sets, and the picture of an annotation."""

import cv2
import numpy as np
import pytest

from yolojax.data.records import BadRecord
from yolojax.data.sources.load import load_source
from yolojax.data.sources.voc import load_voc


def annotation(root, name, width=20, filename="x.jpg"):
    """Write an annotation of a picture of width x 10 pixels, with one box over the left half."""
    path = root / f"{name}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    box = f"<xmin>1</xmin><ymin>1</ymin><xmax>{width // 2}</xmax><ymax>10</ymax>"
    path.write_text(
        f"<annotation><filename>{filename}</filename>"
        f"<size><width>{width}</width><height>10</height></size>"
        f"<object><name>cat</name><bndbox>{box}</bndbox></object></annotation>"
    )


def picture(root, name, width=20):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((10, width, 3), np.uint8))
    return path


def split(root, name, *lines):
    path = root / "ImageSets" / "Main" / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def standard(root, *names):
    for name in names:
        annotation(root / "Annotations", name)
        picture(root / "JPEGImages", f"{name}.png")
    return root


def read(source):
    """{id: picture}, after a check of the boxes."""
    for record in source.records:
        np.testing.assert_allclose(record.boxes, [[0, 0, 0.5, 1]])
        assert record.size is not None
    return {record.image_id: record.image for record in source.records}


@pytest.mark.parametrize("folders", [("annotations", "images"), ("Annotation", "Images")])
def test_annotations_and_images_in_any_letter_case(tmp_path, folders):
    for name in ("a", "train/b"):
        annotation(tmp_path / folders[0], name)
        picture(tmp_path / folders[1], f"{name}.PNG")
    images = tmp_path / folders[1]
    assert read(load_voc(tmp_path)) == {"a": images / "a.PNG", "train/b": images / "train/b.PNG"}
    assert read(load_voc(tmp_path, "train")) == {"b": images / "train/b.PNG"}


@pytest.mark.parametrize("folders", [("labels", "images"), ("images", "images"), ("xml", "imgs")])
def test_other_names_of_folders(tmp_path, folders):
    annotation(tmp_path / folders[0], "a")
    path = picture(tmp_path / folders[1], "a.png")
    (tmp_path / "annotations").mkdir()
    split(tmp_path, "train", "images/a.jpg")
    assert read(load_voc(tmp_path)) == {"a": path}
    assert read(load_voc(tmp_path, "train")) == {"a": path}


def test_xml_beside_the_pictures_of_each_split(tmp_path):
    for name in ("train/a_jpg.rf.01", "train/b_jpg.rf.02", "valid/a_jpg.rf.01"):
        annotation(tmp_path, name)
        picture(tmp_path, f"{name}.jpg")
    a, b = tmp_path / "train/a_jpg.rf.01.jpg", tmp_path / "train/b_jpg.rf.02.jpg"
    expected = {"a_jpg.rf.01": a, "b_jpg.rf.02": b}
    assert read(load_source(f"voc:{tmp_path}:train")) == expected
    assert read(load_source(f"voc:{tmp_path}/train")) == expected
    assert read(load_source(f"voc:{tmp_path}:valid")) == {
        "a_jpg.rf.01": tmp_path / "valid/a_jpg.rf.01.jpg"
    }
    assert len(load_source(f"voc:{tmp_path}")) == 3
    with pytest.raises(FileNotFoundError, match="test: no such split; there are: train, valid"):
        load_source(f"voc:{tmp_path}:test")


def test_a_split_with_its_own_folders(tmp_path):
    annotation(tmp_path / "train" / "annotations", "a")
    picture(tmp_path / "train" / "images", "a.png")
    annotation(tmp_path / "val" / "annotations", "a")
    picture(tmp_path / "val" / "images", "a.png")
    assert read(load_voc(tmp_path, "val")) == {"a": tmp_path / "val/images/a.png"}
    assert [*read(load_voc(tmp_path))] == ["train/a", "val/a"]


def test_subfolders_of_a_cvat_export(tmp_path):
    standard(tmp_path, "s1/a", "s2/a")
    split(tmp_path, "default", "s2/a", "s1/a")
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbg:a:b:0,0,0::\ncat:1,2,3::\n"
    )
    source = load_voc(tmp_path, "default")
    assert source.classes == ("bg:a:b", "cat")
    assert list(read(source).items()) == [
        ("s2/a", tmp_path / "JPEGImages/s2/a.png"),
        ("s1/a", tmp_path / "JPEGImages/s1/a.png"),
    ]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("my photo 2", "my photo 2"),
        ("my photo 1", "my photo 1"),
        ("my photo 1 -1", "my photo 1"),
        ("my photo 2\t 1", "my photo 2"),
        ('"my photo 1"', "my photo 1"),
        ('"my photo 2" 1', "my photo 2"),
        ("a.jpg", "a"),
        ("a.PNG  0", "a"),
        ("a.xml", "a"),
        ("sub\\b", "sub/b"),
        ("./sub/b.png", "sub/b"),
        ("D:\\set\\JPEGImages\\sub\\b.png", "sub/b"),
        ("/data/VOC2007/JPEGImages/a.jpg", "a"),
        ("A", "a"),
        ("v1.2", "v1.2"),
    ],
)
def test_a_line_of_a_list_names_a_picture(tmp_path, line, name):
    standard(tmp_path, "my photo 1", "my photo 2", "a", "sub/b", "v1.2")
    split(tmp_path, "train", line)
    assert read(load_voc(tmp_path, "train")) == {name: tmp_path / "JPEGImages" / f"{name}.png"}


@pytest.mark.parametrize("line", ["other/a", "my", "a" * 5000, "\N{SNOWMAN}"])
def test_a_line_without_an_annotation_is_named(tmp_path, line):
    standard(tmp_path, "a", "my photo")
    split(tmp_path, "train", "a", line)
    source = load_voc(tmp_path, "train", on_bad_record="skip")
    assert [*read(source)] == ["a"]
    (message,) = source.skipped
    assert "train.txt:2: there is no annotation '" in message
    assert len(message) < 400


@pytest.mark.parametrize("suffix", [".bmp", ".webp", ".tif", ".TIFF", ".jpeg"])
def test_a_picture_of_any_suffix_is_found(tmp_path, suffix):
    annotation(tmp_path / "Annotations", "a", filename="a")
    path = picture(tmp_path / "JPEGImages", f"a{suffix}")
    assert read(load_voc(tmp_path)) == {"a": path}


def test_the_filename_chooses_among_pictures_of_one_name(tmp_path):
    annotation(tmp_path / "Annotations", "a", filename="C:\\x\\A.png")
    annotation(tmp_path / "Annotations", "b", filename="renamed.png")
    images = tmp_path / "JPEGImages"
    for name in ("a.jpg", "a.png", "b.jpg", "b.png"):
        picture(images, name)
    assert read(load_voc(tmp_path)) == {"a": images / "a.png", "b": images / "b.jpg"}


def test_pictures_that_differ_in_letter_case(tmp_path):
    images = tmp_path / "JPEGImages"
    for name in ("a", "A", "bB"):
        annotation(tmp_path / "Annotations", name)
    for name in ("a.png", "A.png", "BB.png", "bb.png"):
        picture(images, name)
    source = load_voc(tmp_path, on_bad_record="skip")
    assert read(source) == {"a": images / "a.png", "A": images / "A.png"}
    assert "bB.xml: its picture may be " in source.skipped[0]


def test_a_picture_in_another_folder_is_found_if_no_other_annotation_may_mean_it(tmp_path):
    for name in ("s1/a", "s1/b", "s2/b", "s1/c"):
        annotation(tmp_path / "Annotations", name, filename="")
    for name in ("a.png", "b.png", "x/c.png", "y/c.png"):
        picture(tmp_path / "JPEGImages", name)
    source = load_voc(tmp_path, on_bad_record="skip")
    assert read(source) == {"s1/a": tmp_path / "JPEGImages/a.png"}
    assert [message.split("Annotations/")[1][:8] for message in source.skipped] == [
        "s1/b.xml",
        "s1/c.xml",
        "s2/b.xml",
    ]


def test_names_with_accents_of_another_system(tmp_path):
    annotation(tmp_path / "Annotations", "caf\u00e9")
    path = picture(tmp_path / "JPEGImages", "cafe\u0301.png")
    assert read(load_voc(tmp_path)) == {"caf\u00e9": path}


def test_linked_folders_and_hidden_files(tmp_path):
    standard(tmp_path / "disk", "a", "sub/b")
    root = tmp_path / "set"
    root.mkdir()
    for name in ("Annotations", "JPEGImages"):
        (root / name).symlink_to(tmp_path / "disk" / name)
    (root / "JPEGImages" / "loop").symlink_to(root)
    (root / "Annotations" / "._a.xml").write_bytes(b"\0\5\x16\7")
    (root / "JPEGImages" / "._a.png").write_bytes(b"\0\5\x16\7")
    assert [*read(load_voc(root))] == ["a", "sub/b"]


def test_pictures_without_an_annotation_are_noted(tmp_path):
    for name in ("train/a", "train/b", "val/c"):
        annotation(tmp_path, name, filename="other.jpg" if name == "train/b" else "")
    for name in ("train/a", "train/other", "train/d", "train/e", "val/c", "val/f"):
        picture(tmp_path, f"{name}.jpg")
    (note,) = load_voc(tmp_path, "train").notes
    assert note == f"pictures left out, as they have no XML file: 2 ({tmp_path}/train/d.jpg)."
    assert "no XML file: 3 (" in load_voc(tmp_path).notes[0]
    split(tmp_path, "list", "train/a")
    assert load_voc(tmp_path, "list").notes == []


def test_missing_parts_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone: no such folder"):
        load_voc(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match=r"no XML files in it, nor in .* XML next to JPG"):
        load_voc(tmp_path)
    (tmp_path / "annotations").mkdir()
    with pytest.raises(FileNotFoundError, match="no XML files in it, nor in"):
        load_voc(tmp_path)
    annotation(tmp_path / "annotations", "a")
    with pytest.raises(BadRecord, match=r"a\.xml: neither a\.jpg nor <filename> 'x\.jpg' is in"):
        load_voc(tmp_path)


@pytest.mark.parametrize(("there", "wanted"), [("valid", "val"), ("val", "valid")])
def test_val_and_valid_are_one_split(tmp_path, there, wanted):
    annotation(tmp_path / there, "a")
    picture(tmp_path / there, "a.png")
    standard(tmp_path / "lists", "b")
    split(tmp_path / "lists", there, "b")
    assert read(load_voc(tmp_path, wanted)) == {"a": tmp_path / there / "a.png"}
    assert list(read(load_voc(tmp_path / "lists", wanted))) == ["b"]
