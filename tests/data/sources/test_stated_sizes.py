"""Sizes that VOC and COCO annotations state, against pictures that EXIF turns."""

import json

import numpy as np
import pytest
from turned_pictures import BOX, HEIGHT, WIDTH, encoded, stored_box, stored_size

from yolojax.data.records import WrongSize, header_of, load_record
from yolojax.data.sources.load import load_source

OBJECT = """<object><name>cat</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax>
<ymax>{}</ymax></bndbox></object>"""


def voc(root, data, size, box):
    """A VOC folder with one picture; `size` None leaves <size> out."""
    for folder in ("Annotations", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    (root / "JPEGImages" / "a.jpg").write_bytes(data)
    text = OBJECT.format(box[0] + 1, box[1] + 1, *box[2:])
    if size:
        text += f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    (root / "Annotations" / "a.xml").write_text(f"<annotation>{text}</annotation>")
    return load_source(f"voc:{root}")


def coco(root, data, size, box):
    """A COCO JSON with one picture; `size` None leaves width and height out."""
    (root / "images").mkdir(parents=True)
    (root / "images" / "a.jpg").write_bytes(data)
    image = {"id": 1, "file_name": "a.jpg"}
    if size:
        image |= dict(zip(("width", "height"), size, strict=True))
    x1, y1, x2, y2 = box
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
    content = {"images": [image], "annotations": [box]}
    content["categories"] = [{"id": 1, "name": "cat"}]
    (root / "a.json").write_text(json.dumps(content))
    return load_source(f"coco:{root / 'a.json'}:{root / 'images'}")


def boxes(source):
    record, image = load_record(source[0])
    assert image.shape == (HEIGHT, WIDTH, 3)
    return record.boxes * np.tile((WIDTH, HEIGHT), 2)


@pytest.mark.parametrize("orientation", [1, 5, 6, 7, 8])
@pytest.mark.parametrize("layout", [voc, coco])
def test_boxes_of_the_stored_picture(tmp_path, layout, orientation):
    data, box = encoded("JPEG", orientation), stored_box(orientation)
    source = layout(tmp_path, data, stored_size(orientation), box)
    np.testing.assert_allclose(boxes(source), [BOX], atol=1e-4)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [None, (WIDTH, HEIGHT), (0, 0)])
@pytest.mark.parametrize("layout", [voc, coco])
def test_boxes_of_the_upright_picture(tmp_path, layout, size, orientation):
    source = layout(tmp_path, encoded("PNG", orientation), size, BOX)
    np.testing.assert_allclose(boxes(source), [BOX], atol=1e-4)


@pytest.mark.parametrize("size", [(96, 64), (24, 16), (HEIGHT, WIDTH)])
@pytest.mark.parametrize("layout", [voc, coco])
def test_another_size_is_refused_when_the_picture_is_loaded(tmp_path, layout, size):
    source = layout(tmp_path, encoded("WEBP", 1), size, (2, 2, 16, 14))
    with pytest.raises(WrongSize, match=f"a.jpg: .* 48x32 pixels, .* {size[0]}x{size[1]}"):
        load_record(source[0])


@pytest.mark.parametrize("layout", [voc, coco])
def test_no_picture_is_opened_when_its_size_is_stated(tmp_path, layout):
    source = layout(tmp_path, b"no picture", (WIDTH, HEIGHT), BOX)
    assert source[0].size == (WIDTH, HEIGHT)
    with pytest.raises(ValueError, match="not a picture"):
        header_of(source[0])
