import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from turned_pictures import HEIGHT, WIDTH, encoded

from yolojax.data.parsing import clip_box, collect, image_size, make_record, unique_ids
from yolojax.data.records import BadRecord


def test_the_size_is_that_of_the_upright_picture(tmp_path):
    (tmp_path / "a.webp").write_bytes(encoded("WEBP", 6))
    for picture in (tmp_path / "a.webp", encoded("TIFF", 6), encoded("PNG", 1)):
        assert image_size(picture, "a") == (WIDTH, HEIGHT)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"text"])
def test_no_picture_has_no_size(data):
    with pytest.raises(BadRecord, match="where: not a picture"):
        image_size(data, "where")


edge = st.floats(-3, 14) | st.just(float("nan"))


@given(st.tuples(edge, edge, edge, edge))
def test_a_clipped_box_is_inside_with_an_area_or_is_refused(box):
    try:
        x1, y1, x2, y2 = clip_box(box, 10, 10, "place")
    except BadRecord:
        inside = all(0 <= value <= 10 for value in box)
        assert not (inside and box[0] < box[2] and box[1] < box[3])
    else:
        assert 0 <= x1 < x2 <= 10
        assert 0 <= y1 < y2 <= 10
        np.testing.assert_allclose((x1, y1, x2, y2), box, atol=1)


def test_a_record_is_normalised_by_width_and_height():
    record = make_record("a", b"", (20, 10), [(5, 5, 10, 10)], [3])
    assert record.boxes.tolist() == [[0.25, 0.5, 0.5, 1.0]]
    assert record.area.tolist() == [25.0]


def test_collect_stops_or_skips():
    def read(item):
        if item == 2:
            raise BadRecord("two is bad.")
        return item

    assert collect(read, [1, 2, 3], "skip") == ([1, 3], ["two is bad."])
    with pytest.raises(BadRecord, match=r"two is bad\. Fix it, or skip"):
        collect(read, [1, 2, 3], "error")


def test_ids_are_made_unique_in_order():
    assert unique_ids(["a", "b", "a", "a"]) == ["a", "b", "a#2", "a#3"]
