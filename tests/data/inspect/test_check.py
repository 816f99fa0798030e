import json
import re

import cv2
import numpy as np
import pytest
from turned_pictures import encoded, stored_box

from yolojax.data.inspect.check import check_source
from yolojax.data.parsing import RecordList, make_record
from yolojax.data.records import Record, is_cut_short
from yolojax.data.sources.load import load_source

GOOD = (0.1, 0.1, 0.5, 0.5)
CHECK = {
    "image_size": (416, 416),
    "letterbox": True,
    "max_boxes": 30,
    "side": 7,
    "anchors": [(1, 1), (5, 5)],
    "threads": 2,
}


def record(image_id, boxes, labels=None, image=None, difficult=None, label=-1):
    n = len(boxes)
    return Record(
        image_id,
        np.full((100, 200, 3), ord(image_id), np.uint8) if image is None else image,
        np.array(boxes, np.float32).reshape(n, 4),
        np.array([0] * n if labels is None else labels, np.int32),
        np.array([False] * n if difficult is None else difficult, bool),
        np.zeros(n, bool),
        np.zeros(n, np.float32),
        label,
    )


def report_on(*records, classes=("cat",), skipped=(), **changes):
    source = RecordList("test:source", classes, records, list(skipped))
    report, _ = check_source(source, **CHECK | changes)
    return report


def noise_jpeg():
    noise = np.random.default_rng(0).integers(0, 255, (100, 200, 3), np.uint8)
    return cv2.imencode(".jpg", noise)[1].tobytes()


def test_a_sound_source_has_neither_errors_nor_warnings():
    report = report_on(
        record("a", [GOOD]), record("b", []), record("c", [GOOD], image=noise_jpeg())
    )
    assert report["errors"] == report["warnings"] == {}
    assert (report["pictures"], report["objects"]) == (3, 2)
    assert report["boxes_per_picture"]["without"] == 1


@pytest.mark.parametrize(
    ("box", "kind", "message"),
    [
        ((-0.1, 0, 0.5, 0.5), "boxes outside the picture", r"box 1 \(cat\) at \(-20, 0, 100, 50\)"),
        ((0, 0, 0.5, 1.02), "boxes outside the picture", "of 200x100 exceeds the picture"),
        ((0, 0, float("nan"), 1), "boxes outside the picture", "nan"),
        ((0.5, 0.1, 0.5, 0.5), "boxes without area", "has no area"),
        ((0.6, 0.1, 0.5, 0.5), "boxes without area", "has no area"),
    ],
)
def test_boxes_that_training_cannot_use(box, kind, message):
    errors = report_on(record("a", [box]))["errors"]
    assert len(errors[kind]) == 1
    assert re.search(message, errors[kind][0])


def test_a_box_may_exceed_the_picture_by_a_pixel():
    assert report_on(record("a", [(-0.004, 0, 1.004, 1.009)]))["errors"] == {}


def test_boxes_without_area_are_not_counted():
    report = report_on(record("a", [GOOD, (0.5, 0.5, 0.5, 0.9)]))
    assert report["objects"] == report["limits"]["yolov1"]["objects"] == 1


def test_duplicate_boxes_have_the_same_class():
    near = (0.1, 0.1, 0.5, 0.501)  # IoU .9975
    boxes, labels = [GOOD, near, GOOD], [0, 0, 1]
    warnings = report_on(record("a", boxes, labels), classes=("cat", "dog"))["warnings"]
    assert warnings == {"duplicate boxes": ["a: box 2 (cat) is the same as box 1."]}


def test_tiny_is_measured_in_the_input():
    # 200 x 100 pixels become 416 x 208 of 416 x 416: .015 of the height is .0075 of the input's.
    low = (0.1, 0.1, 0.5, 0.115)
    assert [*report_on(record("a", [low]))["warnings"]] == ["tiny boxes"]
    assert report_on(record("a", [low]), letterbox=False)["warnings"] == {}


def test_more_boxes_than_are_trained_on():
    boxes = [(0.1 * i, 0, 0.1 * i + 0.1, 0.5) for i in range(5)]
    report = report_on(record("a", boxes), record("b", boxes[:3]), max_boxes=3)
    messages = {"more boxes than max_boxes": ["a: has 5 objects, trained on the first 3."]}
    assert report["warnings"] == messages
    assert report["boxes_per_picture"] == {
        "mean": 4.0,
        "most": 5,
        "without": 0,
        "beyond_max_boxes": 2,
    }


def test_pictures_that_cannot_be_decoded_are_errors_and_not_counted(tmp_path):
    missing, empty = tmp_path / "missing.jpg", record("b", [GOOD], image=b"")
    report = report_on(record("a", [GOOD], image=missing), empty, record("c", [GOOD]))
    first, second = report["errors"]["unreadable pictures"]
    assert "missing.jpg: cannot be read" in first
    assert second == "b: not a picture that can be decoded (0 bytes)."
    assert report["pictures"] == report["objects"] == 1


def test_sizes_that_annotations_state_are_compared_with_the_pictures():
    def turned(orientation, stated):
        box = stored_box(orientation)
        return make_record("t", encoded("WEBP", orientation), stated, [box], [0], stated=stated)

    report = report_on(record("a", [GOOD]), turned(6, (32, 48)), turned(1, (96, 64)))
    (message,) = report["errors"]["sizes that do not match"]
    assert message.startswith("t: the picture has 48x32 pixels, but its annotation states 96x64")
    assert [*report["errors"]] == ["sizes that do not match"]
    text = "t: EXIF orientation 6; its boxes are of the stored picture and are turned."
    assert report["warnings"] == {"boxes turned by EXIF": [text]}
    assert report["objects"] == 2
    width, height = (report["box_pixels"][side]["smallest"] for side in ("width", "height"))
    np.testing.assert_allclose((width, height), (16 / 48 * 416, 8 / 48 * 416), atol=0.2)


@pytest.mark.parametrize(("orientation", "stated"), [(6, None), (3, (48, 32)), (3, None)])
def test_boxes_of_pictures_whose_size_does_not_tell(orientation, stated):
    box, size = (1, 1, 20, 20), (48, 32)
    known = make_record("k", encoded("JPEG", 6), size, [box], [0], stated=size)
    empty = make_record("e", encoded("JPEG", orientation), size, [], [])
    unknown = make_record("u", encoded("JPEG", orientation), size, [box], [0], stated=stated)
    warnings = report_on(known, empty, unknown)["warnings"]
    (message,) = warnings["boxes of pictures that EXIF turns"]
    assert message.startswith(f"u: EXIF orientation {orientation}, and no size shows")


def test_a_jpeg_that_is_cut_short():
    data = noise_jpeg()
    assert not is_cut_short(data)
    assert not is_cut_short(data + b"appended")
    assert is_cut_short(data[: len(data) * 3 // 4])
    png = cv2.imencode(".png", np.zeros((9, 9, 3), np.uint8))[1].tobytes()
    assert not is_cut_short(png)
    warnings = report_on(record("a", [GOOD], image=data[: len(data) * 3 // 4]))["warnings"]
    assert [*warnings] == ["pictures cut short"]


def test_difficult_boxes_are_counted_apart():
    difficult = record("a", [GOOD, GOOD], [0, 1], difficult=[False, True])
    report = report_on(difficult, classes=("cat", "dog"))
    assert (report["objects"], report["ignored"]) == (1, 1)
    assert report["warnings"] == {"classes that never occur": ["dog"]}


def test_classes_are_counted_by_objects_and_by_pictures():
    records = record("a", [GOOD, (0, 0, 1, 1)], [1, 1]), record("b", [GOOD], [1])
    report = report_on(*records, classes=("cat", "dog"))
    assert report["classes"]["dog"] == {"objects": 3, "pictures": 2}
    whole = report_on(record("a", [], label=1), record("b", [], label=0), classes=("cat", "dog"))
    assert whole["classes"]["dog"] == {"objects": 0, "pictures": 1}
    assert whole["warnings"] == {}


def test_sizes_of_boxes_are_in_pixels_of_the_input():
    pixels = report_on(record("a", [(0, 0, 1, 1), (0, 0, 0.5, 0.5)]))["box_pixels"]
    assert (pixels["width"]["smallest"], pixels["width"]["largest"]) == (208, 416)
    assert (pixels["height"]["smallest"], pixels["height"]["largest"]) == (104, 208)


def test_two_boxes_in_a_cell_that_differ_in_shape_are_lost_to_yolov1_alone():
    small, large = (0.48, 0.46, 0.52, 0.54), (0.2, 0.1, 0.8, 0.9)
    limits = report_on(record("a", [small, large]))["limits"]
    assert limits["yolov1"]["recall"] == 0.5
    assert limits["yolov2"] == {
        "grid": [13, 13],
        "anchors": 2,
        "objects": 2,
        "assigned": 2,
        "recall": 1.0,
        "pictures": 0,
    }


def test_an_empty_report_is_still_json():
    report = report_on(record("a", []))
    assert json.loads(json.dumps(report, allow_nan=False)) == report


OBJECT = """<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>1</ymin><xmax>{}</xmax>
<ymax>50</ymax></bndbox></object>"""


def write_voc(root, **objects):
    """A VOC folder; {stem: [(class, xmin, xmax), ...]}."""
    for folder in ("Annotations", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    size = "<size><width>200</width><height>100</height></size>"
    for stem, items in objects.items():
        text = "".join(OBJECT.format(*item) for item in items)
        xml = f"<annotation>{size}{text}</annotation>"
        (root / "Annotations" / f"{stem}.xml").write_text(xml)
        (root / "JPEGImages" / f"{stem}.jpg").write_bytes(noise_jpeg())


def test_skipped_records_are_errors(tmp_path):
    strange = {"b": [("dgo", 1, 20)], "c": [("dgo", 1, 20)], "d": [("cat", 1, 300)]}
    write_voc(tmp_path, a=[("cat", 1, 20)], **strange)
    source = load_source(f"voc:{tmp_path}", classes=("cat", "dog"), on_bad_record="skip")
    errors = check_source(source, **CHECK)[0]["errors"]
    assert [*errors] == ["unusable annotations", "unknown classes"]
    assert "d.xml: object 1 (cat): box (0, 0, 300, 50)" in errors["unusable annotations"][0]
    (unknown,) = errors["unknown classes"]
    assert unknown.startswith("dgo: 2 records skipped; ")
    assert "b.xml" in unknown
