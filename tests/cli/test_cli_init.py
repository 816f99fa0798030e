import cv2
import jax
import numpy as np
import pytest

from yolojax.cli.init import DataSet, image_size, other_split
from yolojax.cli.main import main
from yolojax.config import read_config
from yolojax.distributed.sharding import make_mesh
from yolojax.train import train


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (640, 480, (320, 416)),
        (480, 640, (416, 320)),
        (1920, 1080, (224, 416)),
        (120, 99, (96, 128)),
    ],
)
def test_the_image_size_has_the_aspect_of_the_pictures(width, height, size):
    data = DataSet(10, ("a",), width / height, max(width, height), 3)
    assert image_size(data) == size


def test_the_other_split_is_evaluated():
    assert other_split("shapes:train", "")[0] == "shapes:val"
    source, reason = other_split("shapes:val", "")
    assert source == "shapes:val"
    assert "no other split" in reason


def test_the_written_config_trains(tmp_path, capsys):
    path = tmp_path / "my.py"
    assert main(["init", "shapes:val", "--out", str(path)]) == 0
    config = read_config(path)
    assert config.model.classes == ("circle", "square", "triangle", "star")
    assert len(config.model.anchors) == 5
    assert config.optimizer.images == 160 * 200
    assert config.data.image_size == (128, 128)
    smoke = read_config(f"{path}:smoke")
    smoke.optimizer.images, smoke.eval.bootstrap = 8, 0
    train(smoke, tmp_path / "w", make_mesh(jax.devices()[:1]))
    assert (tmp_path / "w" / "eval" / "val.json").exists()
    assert main(["init", "shapes:val", "--out", str(path)]) == 1
    assert "exists already" in capsys.readouterr().err


def test_max_boxes_holds_the_fullest_picture(tmp_path, capsys):
    source = write_boxes(tmp_path, [3, 57])
    for keep, most in ((), 60), (["--keep-classes", "dog", "--rename", "cat=pet"], 30):
        path = tmp_path / f"config{most}.py"
        assert main(["init", source, "--out", str(path), *keep]) == 0
        config = read_config(path)
        assert config.data.max_boxes == most
    assert config.model.classes == config.data.keep_classes == ("dog",)
    assert config.data.rename == (("cat", "pet"),)
    assert f"{source}: keep_classes: boxes left out: cat 60." in capsys.readouterr().err


def write_boxes(root, counts):
    """A SOURCE of pictures with so many cats, and one dog each."""
    for folder in ("images", "labels"):
        (root / folder).mkdir()
    for number, count in enumerate(counts):
        cv2.imwrite(str(root / "images" / f"{number}.png"), np.zeros((64, 64, 3), np.uint8))
        lines = [f"0 .5 .5 .{k + 1:02} .5\n" for k in range(count)] + ["1 .5 .5 .1 .3\n"]
        (root / "labels" / f"{number}.txt").write_text("".join(lines))
    (root / "data.yaml").write_text("train: images\nnames: [cat, dog]\n")
    return f"darknet:{root / 'data.yaml'}:train"
