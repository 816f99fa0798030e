import cv2
import numpy as np
import pytest

from yolojax.data.parsing import RecordList, make_record
from yolojax.data.prepare import prepare_dataset
from yolojax.data.records import BadRecord, load_image
from yolojax.data.sources.load import load_source

CLASSES = ("cat", "dog")


def picture(path, seed):
    image = np.random.default_rng(seed).integers(0, 255, (12, 20, 3), dtype=np.uint8)
    cv2.imwrite(str(path), image)
    return path


def folder_source(tmp_path, stems="abc"):
    """A JPEG each, with no, one, two, ... boxes, all flags in use."""
    records = []
    for n, stem in enumerate(stems):
        boxes = np.random.default_rng(n).uniform((0, 0, 6, 6), (5, 5, 11, 11), (n, 4))
        flags = {"difficult": [k == 0 for k in range(n)], "crowd": [k == 1 for k in range(n)]}
        path = picture(tmp_path / f"{stem}.jpg", n)
        labels = [k % 2 for k in range(n)]
        records.append(make_record(stem, path, (20, 12), boxes, labels, area=[7.5] * n, **flags))
    return RecordList("test", CLASSES, records)


def assert_same(read, written):
    assert read.image_id == written.image_id
    np.testing.assert_allclose(read.boxes, written.boxes, atol=1e-6)
    for name in ("labels", "difficult", "crowd", "area"):
        a, b = getattr(read, name), getattr(written, name)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_a_written_set_is_read_back(tmp_path):
    source = folder_source(tmp_path)
    out = tmp_path / "sets" / "My-Set"
    written = prepare_dataset({"train": source, "val": source}, out, shards=2)
    assert written == {split: (f"tfds:{out}:{split}", 3, [], []) for split in ("train", "val")}
    read = load_source("tfds:My-Set:train", dir=str(tmp_path / "sets"))
    assert read.classes == CLASSES
    assert len(list(out.glob("1.0.0/*-train.array_record-*"))) == 2
    for index in range(3):
        assert_same(read[index], source[index])
        assert read[index].image == source[index].image.read_bytes()
    again = load_source(f"tfds:{out}")
    assert len(again) == 6
    assert [path.name for path in out.parent.iterdir()] == ["My-Set"]  # nothing temporary is left


def test_arrays_go_in_as_png_without_loss(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (8, 6, 3), dtype=np.uint8)
    source = RecordList("test", CLASSES, [make_record("x", image, (6, 8), [(0, 0, 3, 8)], [1])])
    prepare_dataset({"train": source}, tmp_path / "out")
    record = load_source(f"tfds:{tmp_path / 'out'}:train")[0]
    np.testing.assert_array_equal(load_image(record), image)
    assert_same(record, source[0])


def test_a_prepared_set_can_be_prepared_again(tmp_path):
    source = folder_source(tmp_path)
    prepare_dataset({"train": source}, tmp_path / "one")
    first = load_source(f"tfds:{tmp_path / 'one'}")
    prepare_dataset({"train": first}, tmp_path / "two")
    second = load_source(f"tfds:{tmp_path / 'two'}")
    for index in range(3):
        assert_same(second[index], source[index])
        assert second[index].image == first[index].image


def test_an_existing_folder_is_replaced_only_on_request(tmp_path):
    out = tmp_path / "out"
    prepare_dataset({"train": folder_source(tmp_path, "abc")}, out)
    two = folder_source(tmp_path, "de")
    with pytest.raises(FileExistsError, match="--overwrite"):
        prepare_dataset({"train": two}, out)
    prepare_dataset({"train": two}, out, overwrite=True)
    assert len(load_source(f"tfds:{out}")) == 2
    (out / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not overwritten"):
        prepare_dataset({"train": two}, out, overwrite=True)
    assert (out / "notes.txt").read_text() == "mine"


def test_a_corrupt_picture_stops_it_and_leaves_nothing(tmp_path):
    source = folder_source(tmp_path)
    source[1].image.write_bytes(b"no picture")
    with pytest.raises(BadRecord, match=r"b\.jpg: not a picture"):
        prepare_dataset({"train": source}, tmp_path / "sets" / "out")
    assert not list((tmp_path / "sets").iterdir())


def test_misuse_is_refused(tmp_path):
    source, other = folder_source(tmp_path), RecordList("other", ("emu",), [])
    with pytest.raises(ValueError, match="same classes"):
        prepare_dataset({"train": source, "val": other}, tmp_path / "out")
    with pytest.raises(ValueError, match="shards must be 1 or more, got 0"):
        prepare_dataset({"train": source}, tmp_path / "out", shards=0)
    with pytest.raises(ValueError, match="lower-case name"):
        prepare_dataset({"Train set": source}, tmp_path / "out")
    with pytest.raises(ValueError, match="at least one record"):
        prepare_dataset({"train": other}, tmp_path / "out")


def test_a_corrupt_picture_stops_it_or_is_skipped(tmp_path):
    source = folder_source(tmp_path, "abc")
    source[1].image.write_bytes(b"no picture")
    with pytest.raises(BadRecord, match="not a picture"):
        prepare_dataset({"train": source}, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    written = prepare_dataset({"train": source}, tmp_path / "out", on_bad_record="skip")
    assert written["train"].images == len(load_source(f"tfds:{tmp_path / 'out'}:train")) == 2
    assert "not a picture" in written["train"].skipped[0]


def test_pictures_with_a_label_alone_are_refused(tmp_path):
    picture(tmp_path / "cat_1.png", 0)
    source = load_source(f"folder:{tmp_path}")
    with pytest.raises(ValueError, match="a class for each picture and no boxes"):
        prepare_dataset({"train": source}, tmp_path / "out")
    assert not (tmp_path / "out").exists()
