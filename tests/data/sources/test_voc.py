import cv2
import numpy as np
import pytest

from yolojax.data.records import BadRecord, load_image
from yolojax.data.sources.voc import VOC_CLASSES, load_voc


def voc_object(name="cat", box=(1, 1, 20, 10), extra=""):
    edges = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    inner = "".join(f"<{tag}>{value}</{tag}>" for tag, value in edges)
    return f"<object><name>{name}</name>{extra}<bndbox>{inner}</bndbox></object>"


def annotation(*objects, size=(20, 10), filename="a.png"):
    w, h = size
    head = f"<filename>{filename}</filename><size><width>{w}</width><height>{h}</height></size>"
    return f"<annotation>{head}{''.join(objects)}</annotation>"


def write(root, files, splits=None):
    """A VOC folder: {stem: text of the annotation}; each gets a black picture of 20x10 pixels."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for stem, text in files.items():
        (root / "Annotations" / f"{stem}.xml").write_text(text)
        cv2.imwrite(str(root / "JPEGImages" / f"{stem}.png"), np.zeros((10, 20, 3), np.uint8))
    for split, stems in (splits or {}).items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(stems) + "\n")
    return root


def one(tmp_path, *objects, **options):
    return load_voc(write(tmp_path, {"a": annotation(*objects)}), **options)[0]


def test_pixels_are_1_based_and_inclusive(tmp_path):
    record = one(tmp_path, voc_object(box=(11, 1, 20, 5)))
    np.testing.assert_allclose(record.boxes, [[0.5, 0.0, 1.0, 0.5]])  # 10 x 5 pixels
    assert record.area.tolist() == [50.0]
    assert load_image(record).shape == (10, 20, 3)


def test_difficult_is_read_and_parts_are_not_objects(tmp_path):
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    record = one(
        tmp_path,
        voc_object("dog", extra="<difficult>1</difficult>"),
        voc_object("cat", extra="<difficult>0</difficult>" + part),
    )
    assert record.difficult.tolist() == [True, False]
    assert record.labels.tolist() == [VOC_CLASSES.index("dog"), VOC_CLASSES.index("cat")]
    assert not record.crowd.any()


def test_a_picture_without_objects_has_empty_arrays(tmp_path):
    record = one(tmp_path)
    assert record.boxes.shape == (0, 4)
    assert [array.dtype for array in record[2:7]] == [np.float32, np.int32, bool, bool, np.float32]


def test_a_box_one_pixel_out_is_clipped(tmp_path):
    record = one(tmp_path, voc_object(box=(0, 0, 21, 11)))
    np.testing.assert_array_equal(record.boxes, [[0, 0, 1, 1]])


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (voc_object(box=(1, 1, 22.5, 10)), r"a\.xml: object 1 \(cat\).*outside the image of 20x10"),
        (voc_object(box=(9, 1, 8, 10)), "has no area"),
        (voc_object(box=(0.25, 0, 0.75, 1)), "looks like fractions of the picture"),
        (voc_object(box=("nan", 1, 8, 10)), "<xmin> must be a number, got 'nan'"),
        (voc_object(box=("1_0", 1, 18, 10)), "<xmin> must be a number, got '1_0'"),
        (voc_object(box=("9" * 9999, 1, 18, 10)), "<xmin> must be a number, got '999"),
        (voc_object(box=("left", 1, 8, 10)), "<xmin> must be a number, got 'left'"),
        (voc_object("kat"), "class 'kat'.*Did you mean 'cat'"),
        ("<object><name>cat</name><bndbox/></object>", "<xmin> must be a number, got ''"),
        ("<object><name>cat</name></object>", r"object 1 \(cat\) has no <bndbox>\. Fix"),
        (
            "<object><name>cat</name><robndbox><cx>9</cx></robndbox></object>",
            r"a\.xml: object 1 \(cat\) has no <bndbox>, it has <robndbox>\.",
        ),
        (voc_object("c\nat"), r"object 1 \(c at\): class 'c\\nat' is not one of"),
    ],
)
def test_a_bad_object_is_named(tmp_path, broken, message):
    with pytest.raises(BadRecord, match=message):
        one(tmp_path, broken, classes=("cat", "dog"))


BOMB = """<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]>
<annotation><filename>&y;</filename></annotation>"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation>\n<object></annotation>", "line 2"),
        ("", "no element found"),
        (BOMB, "Entit"),
    ],
)
def test_a_bad_file_is_named(tmp_path, text, message):
    with pytest.raises(BadRecord, match=message) as error:
        load_voc(write(tmp_path, {"a": text}))
    assert "a.xml" in str(error.value)


def test_bad_records_can_be_skipped_with_a_message(tmp_path):
    files = {"a": annotation(voc_object()), "b": "<annotation>", "c": annotation()}
    source = load_voc(write(tmp_path, files), on_bad_record="skip")
    assert [record.image_id for record in source.records] == ["a", "c"]
    assert len(source.skipped) == 1
    assert "b.xml" in source.skipped[0]


def test_a_split_keeps_the_order_of_its_list(tmp_path):
    files = {stem: annotation() for stem in "abc"}
    write(tmp_path, files, {"train": ["c", "a"], "cat_train": ["b -1", "a  1"]})
    assert [r.image_id for r in load_voc(tmp_path, "train").records] == ["c", "a"]
    assert [r.image_id for r in load_voc(tmp_path, "cat_train").records] == ["b", "a"]
    assert [r.image_id for r in load_voc(tmp_path).records] == ["a", "b", "c"]


def test_a_repeated_picture_has_its_own_id(tmp_path):
    write(tmp_path, {"a": annotation()}, {"train": ["a", "a"]})
    assert [r.image_id for r in load_voc(tmp_path, "train").records] == ["a", "a#2"]


def test_missing_folders_and_splits_are_named(tmp_path):
    write(tmp_path / "VOC2007", {"a": annotation()}, {"train": ["a", "gone"], "empty": []})
    with pytest.raises(FileNotFoundError, match="there are: empty, train"):
        load_voc(tmp_path / "VOC2007", "trian")
    with pytest.raises(FileNotFoundError, match=r"Did you mean .*VOC2007"):
        load_voc(tmp_path)
    with pytest.raises(BadRecord, match=r"train\.txt:2: there is no annotation 'gone\.xml'"):
        load_voc(tmp_path / "VOC2007", "train")
    with pytest.raises(ValueError, match="lists no pictures"):
        load_voc(tmp_path / "VOC2007", "empty")


def test_the_picture_may_have_another_stem_or_be_missing(tmp_path):
    write(tmp_path, {"a": annotation(), "other": annotation(filename="C:\\somewhere\\A.PNG")})
    (tmp_path / "JPEGImages" / "other.png").unlink()
    with pytest.raises(BadRecord, match=r"other\.xml: .* is the picture of another annotation"):
        load_voc(tmp_path)
    (tmp_path / "Annotations" / "a.xml").unlink()
    assert load_voc(tmp_path)[0].image.name == "a.png"
    (tmp_path / "JPEGImages" / "a.png").unlink()
    with pytest.raises(BadRecord, match=r"neither other\.jpg nor <filename> '.*A\.PNG' is in"):
        load_voc(tmp_path)


def test_the_size_comes_from_the_picture_if_the_annotation_has_none(tmp_path):
    text = annotation(voc_object(box=(1, 1, 10, 10)), size=(0, 0))
    record = load_voc(write(tmp_path, {"a": text}))[0]
    np.testing.assert_allclose(record.boxes, [[0, 0, 0.5, 1]])
    (tmp_path / "JPEGImages" / "a.png").write_bytes(b"no picture")
    with pytest.raises(BadRecord, match="not a picture"):
        load_voc(tmp_path)


@pytest.mark.parametrize(
    ("size", "stated"),
    [((20, 10), (20, 10)), ((" 20 ", "10.0"), (20, 10)), ((0, 10), None), (("", ""), None)],
)
def test_a_stated_size_is_kept(tmp_path, size, stated):
    text = annotation(voc_object(box=(1, 1, 10, 10)), size=size)
    record = load_voc(write(tmp_path, {"a": text}))[0]
    assert record.size == stated
    np.testing.assert_allclose(record.boxes, [[0, 0, 0.5, 1]])


@pytest.mark.parametrize("width", ["wide", "-20", "20.5", "1e9", "9" * 9999, "²"])
def test_a_stated_size_that_is_none_is_refused(tmp_path, width):
    text = annotation(size=(width, 10))
    with pytest.raises(BadRecord, match=r"a\.xml: <size>: width must be a number of pixels, got"):
        load_voc(write(tmp_path, {"a": text}))


def test_numbers_may_have_blanks_and_exponents(tmp_path):
    text = voc_object(box=(" 11 ", "1.0", "\n2e1", "+5."), extra="<difficult> 1\n</difficult>")
    record = one(tmp_path, text, voc_object(extra="<difficult>True</difficult>"), voc_object())
    np.testing.assert_allclose(record.boxes[0], [0.5, 0.0, 1.0, 0.5])
    assert record.difficult.tolist() == [True, True, False]


def encoded(declared, encoding, name="猫狗", folder="x"):
    """The bytes of an annotation with one object, of 10 x 5 pixels."""
    head = f'<?xml version="1.0" encoding="{declared}"?>\n' if declared else ""
    body = annotation(voc_object(name, box=(11, 1, 20, 5)))
    body = body.replace("<annotation>", f"<annotation><folder>{folder}</folder>")
    return (head + body).encode(encoding)


@pytest.mark.parametrize(
    ("declared", "encoding", "name"),
    [
        ("gb2312", "gb2312", "猫狗"),
        ("GB2312", "gbk", "貓狗"),  # not in GB 2312 itself
        ("gbk", "gbk", "猫狗"),
        ("GB18030", "gb18030", "猫狗"),
        ("big5", "big5", "貓狗"),
        ("Shift_JIS", "shift_jis", "猫"),
        ("utf8", "utf-8", "猫狗"),
        ("UTF_8", "utf-8", "猫狗"),
        ("", "utf-8", "猫狗"),
        ("utf-8", "utf-8-sig", "猫狗"),
        ("gb2312", "utf-8-sig", "猫狗"),  # the mark is right
        ("utf-16", "utf-16", "猫狗"),
        ("utf-16", "utf-16-le", "猫狗"),
        ("utf-8", "utf-16-be", "猫狗"),
        ("utf-16", "utf-8", "猫狗"),  # what .NET writes for a text
        ("unicode", "utf-8", "猫狗"),
        ("gb2312", "utf-8", "猫狗"),
        ("Shift_JIS", "utf-8", "猫"),
        ("iso-8859-1", "utf-8", "café"),
        ("us-ascii", "utf-8", "猫狗"),
        ("gbk", "gbk", "猫"),  # the bytes of è in UTF-8
        ("windows-1251", "cp1251", "кошка"),
        ("koi8-r", "koi8-r", "кошка"),
        ("ANSI", "utf-8", "猫狗"),
        ("ISO-8859-1", "latin-1", "café"),
        ("windows-1252", "cp1252", "café €"),
        ("us-ascii", "ascii", "cat"),
    ],
)
def test_encodings(tmp_path, declared, encoding, name):
    write(tmp_path, {"a": ""})
    (tmp_path / "Annotations" / "a.xml").write_bytes(encoded(declared, encoding, name))
    source = load_voc(tmp_path)
    assert name in source.classes
    assert source[0].labels.tolist() == [source.classes.index(name)]
    np.testing.assert_allclose(source[0].boxes, [[0.5, 0.0, 1.0, 0.5]])


def test_only_the_used_text_of_an_ansi_file_must_be_decoded(tmp_path):
    write(tmp_path, {"a": ""})
    path = tmp_path / "Annotations" / "a.xml"
    path.write_bytes(encoded("ANSI", "gbk", name="cat", folder="图片"))
    assert load_voc(tmp_path)[0].labels.tolist() == [VOC_CLASSES.index("cat")]
    path.write_bytes(encoded("ansi", "gbk"))
    with pytest.raises(BadRecord, match=r"a\.xml: object 1 .* the name is not in UTF-8"):
        load_voc(tmp_path, classes=("cat",))


@pytest.mark.parametrize(
    ("declared", "encoding", "message"),
    [
        ("utf-8", "gbk", r"a\.xml: is not in its encoding: 'utf-8' codec.*; save it in UTF-8"),
        ("", "gbk", "is not in its encoding: 'utf-8'"),
        ("ascii", "gbk", "is not in its encoding: 'ascii'"),
        ("klingon", "utf-8", r"a\.xml: encoding='klingon' is no known encoding"),
        ("punycode", "ascii", "encoding='punycode' is no known encoding"),
        ("hex", "ascii", "encoding='hex' is no known encoding"),
        ("../x", "ascii", "not a usable XML file"),
    ],
)
def test_a_wrong_encoding_is_named(tmp_path, declared, encoding, message):
    write(tmp_path, {"a": ""})
    data = encoded(declared, encoding, "cat" if encoding == "ascii" else "猫狗")
    (tmp_path / "Annotations" / "a.xml").write_bytes(data)
    with pytest.raises(BadRecord, match=message):
        load_voc(tmp_path)


def test_an_xml_of_another_kind_is_named(tmp_path):
    cvat = '<annotations><version>1.1</version><image id="0" name="a.jpg"/></annotations>'
    write(tmp_path, {"a": cvat, "b": "<html/>"})
    skipped = load_voc(write(tmp_path, {"c": annotation()}), on_bad_record="skip").skipped
    assert 'a.xml: is a "CVAT for images" XML' in skipped[0]
    assert "b.xml: the outer element must be <annotation>, not <html>" in skipped[1]


def test_deep_and_damaged_files_end_with_a_message(tmp_path):
    write(tmp_path, {"a": "<annotation>" * 20_000, "b": annotation(voc_object()) + "\0"})
    write(tmp_path, {"c": annotation() + "<x>" * 9})
    files = sorted((tmp_path / "Annotations").iterdir())
    (tmp_path / "Annotations" / "d.xml").symlink_to(tmp_path / "Annotations" / "d.xml")
    write(tmp_path, {"e": annotation()})
    source = load_voc(tmp_path, on_bad_record="skip")
    assert len(source) == 1
    assert len(source.skipped) == len(files) + 1


def test_a_corrupt_picture_is_reported_when_it_is_loaded(tmp_path):
    record = one(tmp_path, voc_object())
    record.image.write_bytes(record.image.read_bytes()[:30])
    with pytest.raises(BadRecord, match=r"a\.png: not a picture"):
        load_image(record)


def test_classes_come_from_a_list_then_voc_then_the_names_found(tmp_path):
    write(tmp_path, {"a": annotation(voc_object("dog"))}, {"train": ["a"]})
    assert load_voc(tmp_path).classes == VOC_CLASSES
    write(tmp_path, {"b": annotation(voc_object("axolotl"))})
    # Names of the whole folder: its splits agree about the labels.
    assert load_voc(tmp_path, "train").classes == ("axolotl", "dog")
    (tmp_path / "classes.txt").write_text("dog\naxolotl\n\n")
    assert load_voc(tmp_path).classes == ("dog", "axolotl")
    assert load_voc(tmp_path, classes=("emu", "axolotl", "dog"))[0].labels.tolist() == [2]
    (tmp_path / "classes.txt").unlink()
    labelmap = (
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\naxolotl:1,2,3::\ndog:4,5,6::a,b\n"
    )
    (tmp_path / "labelmap.txt").write_text(labelmap)
    (tmp_path / "._x.names").write_bytes(b"\0\1")
    assert load_voc(tmp_path).classes == ("axolotl", "dog")
    (tmp_path / "classes.txt").write_text("dog\ndog\n")
    with pytest.raises(ValueError, match=r"repeated: \['dog'\]"):
        load_voc(tmp_path)


def test_the_20_names_are_alphabetical():
    assert len(VOC_CLASSES) == 20
    assert sorted(VOC_CLASSES) == list(VOC_CLASSES)
