import json
from argparse import ArgumentParser

import cv2
import numpy as np
import pytest

from yolojax.cli import prepare as command
from yolojax.data.prepare import TARGETS
from yolojax.data.records import BadRecord
from yolojax.data.sources.load import load_source


def run(*argv):
    parser = ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(arg) for arg in argv]))


def write_yaml(root):
    for split, stem in (("train", "a"), ("train", "b"), ("val", "c")):
        (root / "images" / split).mkdir(parents=True, exist_ok=True)
        (root / "labels" / split).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / "images" / split / f"{stem}.jpg"), np.zeros((12, 20, 3), np.uint8))
        (root / "labels" / split / f"{stem}.txt").write_text("1 .5 .5 .5 .5\n")
    names = "train: images/train\nval: images/val\nnames: [cat, dog]\n"
    (root / "data.yaml").write_text(names)


def test_the_command_writes_named_splits(tmp_path, capsys):
    write_yaml(tmp_path)
    (tmp_path / "labels/train/b.txt").write_text("9 .5 .5 .5 .5\n")
    splits = ("train=darknet:data.yaml:train", "val=darknet:data.yaml:val")
    flags = ("--dir", tmp_path, "--out", tmp_path / "out")
    with pytest.raises(BadRecord, match=r"b\.txt:1"):
        run(*splits, *flags)
    assert run(*splits, *flags, "--on-bad-record", "skip") == 0
    out = capsys.readouterr().out
    assert "b.txt:1" in out
    assert f"tfds:{tmp_path / 'out'}:train  1 images, 1 skipped" in out
    assert load_source(f"tfds:{tmp_path / 'out'}:train+val")[1].image_id == "c"


def test_a_source_alone_is_the_split_train(tmp_path):
    write_yaml(tmp_path)
    assert run("darknet:data.yaml", "--dir", tmp_path, "--out", tmp_path / "out") == 0
    assert len(load_source(f"tfds:{tmp_path / 'out'}:train")) == 3
    with pytest.raises(ValueError, match="given twice"):
        run("shapes:val", "train=shapes:val", "--out", tmp_path / "two")


def test_the_command_writes_other_layouts_with_chosen_classes(tmp_path, capsys):
    write_yaml(tmp_path)
    splits = ("train=darknet:data.yaml:train", "val=darknet:data.yaml:val")
    flags = ("--dir", tmp_path, "--out", tmp_path / "out", "--to", "voc", "--pictures", "link")
    chosen = ("--keep-classes", "pet, small", "--rename", "cat=pet, small", "--json")
    assert run(*splits, *flags, *chosen) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["train"]["source"] == f"voc:{tmp_path / 'out'}:train"
    assert report["train"]["images"] == 2
    assert report["train"]["notes"] == ["keep_classes: boxes left out: dog 2."]
    source = load_source(report["val"]["source"])
    assert source.classes == ("pet, small",)
    assert source[0].image.samefile(tmp_path / "images/val/c.jpg")


def test_the_layouts_are_those_of_the_library():
    assert command.TARGETS == TARGETS
