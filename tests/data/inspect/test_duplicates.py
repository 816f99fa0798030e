import numpy as np

from yolojax.data.inspect.duplicates import equal_pictures
from yolojax.data.parsing import RecordList, make_record


def source(**images):
    records = [make_record(name, image, (1, 1), [], []) for name, image in images.items()]
    return RecordList("test", ("cat",), records)


def test_files_bytes_and_arrays_are_compared_by_their_content(tmp_path):
    paths = [tmp_path / name for name in ("a.jpg", "b.jpg", "c.jpg")]
    for path, data in zip(paths, (b"same", b"diff", b"same"), strict=True):
        path.write_bytes(data)
    gone = tmp_path / "gone.jpg"
    one, two = np.zeros((2, 2, 3), np.uint8), np.ones((2, 2, 3), np.uint8)
    own = source(a=paths[0], b=paths[1], x=one, gone=gone)
    other = source(c=paths[2], d=b"diff", y=one.copy(), z=two)
    within, across = equal_pictures(own, other)
    assert within == []
    assert across == [
        f"{paths[0]} and {paths[2]} are the same picture.",
        f"{paths[1]} and d are the same picture.",
        "x and y are the same picture.",
    ]
    assert equal_pictures(source(a=two, b=b"x", c=two, d=two)) == (
        ["a and c are the same picture.", "a and d are the same picture."],
        [],
    )


def test_a_file_that_is_listed_twice_has_one_name(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"a")
    within, across = equal_pictures(source(a=path, b=path), source(c=path))
    assert within == [f"{path} is there twice."]
    assert across == [f"{path} is in both."]


def test_only_files_of_equal_length_are_read(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(
        "yolojax.data.inspect.duplicates.read_bytes", lambda path: read.append(path.name) or b""
    )
    for name in ("a", "bb", "cc"):
        (tmp_path / name).write_text(name)
    equal_pictures(source(**{name: tmp_path / name for name in ("a", "bb", "cc")}))
    assert read == ["bb", "cc"]
