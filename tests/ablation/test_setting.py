import os

import pytest

from yolojax.ablation.setting import two_sources, with_data
from yolojax.config import Config

SHAPES = ("circle", "square", "triangle", "star")


@pytest.mark.parametrize(
    ("data", "splits", "found"),
    [
        ("voc:bccd", ("train", "test"), ("voc:bccd:train", "voc:bccd:test")),
        ("voc:a/b.c", ("trainval", "test"), ("voc:a/b.c:trainval", "voc:a/b.c:test")),
        ("shapes:", ("train", "val"), ("shapes:train", "shapes:val")),
        ("shapes", ("train", "val"), ("shapes:train", "shapes:val")),
        ("tfds:voc/2007", ("train", "test"), ("tfds:voc/2007:train", "tfds:voc/2007:test")),
        ("folder:cats", ("a", "b"), ("folder:cats:a", "folder:cats:b")),
        ("darknet:a.data", ("train", "valid"), ("darknet:a.data:train", "darknet:a.data:valid")),
    ],
)  # fmt: skip
def test_a_source_with_splits_gives_two(data, splits, found):
    assert two_sources(data, None, splits) == found


def test_two_sources_stand_as_they_are():
    coco = "coco:train.json:train", "coco:val.json:val"
    assert two_sources(*coco) == coco


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("coco:train.json:train", "coco:train.json:train: has no splits; name both"),
        ("voc:a+voc:b", "has no splits"),
        ("voc:bccd:train", "remove :train"),
        ("shapes:val", "remove :val"),
    ],
)
def test_a_source_whose_splits_cannot_be_taken_is_named(data, message):
    with pytest.raises(ValueError, match=message):
        two_sources(data)


def test_splits_are_two():
    with pytest.raises(ValueError, match="must be TRAIN,TEST; got 'train'"):
        two_sources("voc:a", None, ("train",))


def test_the_data_brings_its_classes_and_one_evaluation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = Config()
    config.eval.every_images = 64
    found = with_data(config, "shapes:train", "shapes:val")
    assert (found.data.train, found.data.val) == ("shapes:train", "shapes:val")
    assert found.model.classes == SHAPES
    assert found.data.dir == os.fspath(tmp_path)
    assert found.eval.every_images == 0
    assert config == Config(eval=config.eval)  # what was given stays


def test_the_same_classes_keep_their_order():
    config = Config()
    config.model.classes = SHAPES[::-1]
    assert with_data(config, "shapes:train", "shapes:val").model.classes == SHAPES[::-1]
    config.model.classes = ("cat",)
    assert with_data(config, "shapes:train", "shapes:val").model.classes == SHAPES


def test_a_test_set_that_cannot_be_read_is_found_before_any_run():
    with pytest.raises(ValueError, match="shapes:test: no such split"):
        with_data(Config(), "shapes:train", "shapes:test")
