"""The three stages of docs/reproduce.md in small: classifier, larger pictures, detector."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from yolojax import train as script
from yolojax.config import read_config
from yolojax.distributed.sharding import make_mesh
from yolojax.loading import load_model

CONFIGS = Path(__file__).parents[1] / "configs"
BACKBONE = "stage3_conv1"


def stage(name, workdir, init_from="", **data):
    config = read_config(f"{CONFIGS / name}.py:smoke")
    config.init_from, config.seed = str(init_from), len(workdir.name)  # else all would start alike
    config.optimizer.images, config.log_every = 16, 1  # the last rate of a poly policy is 0
    config.data.val = config.data.val if "darknet19" in name else "shapes:val"
    config.data.image_size, config.data.multiscale = (64, 64), ()
    script.train(config, workdir, make_mesh(jax.devices()[:1]))
    return load_model(workdir)


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """What each of the three runs left, and their folders."""
    root = tmp_path_factory.mktemp("recipe")
    folders = [root / name for name in ("at224", "larger", "detector")]
    first = stage("darknet19_imagenet", folders[0])
    second = stage("darknet19_448", folders[1], folders[0])
    third = stage("yolov2_voc", folders[2], folders[1])
    return folders, (first, second, third)


def kernel(model, layer=BACKBONE):
    return np.asarray(model.variables["params"][layer]["kernel"])


def test_each_stage_starts_with_the_weights_of_the_previous_stage(stages):
    """After one small update a kernel is near the one it started from; two random ones are not."""
    _, (first, second, third) = stages
    size = np.abs(kernel(first)).max()
    assert 0 < np.abs(kernel(second) - kernel(first)).max() < 0.1 * size
    assert 0 < np.abs(kernel(third) - kernel(second)).max() < 0.1 * size


def test_the_classifier_is_evaluated_as_one(stages):
    result = json.loads((stages[0][0] / "eval" / "val.json").read_text())
    assert result["images"] == 200
    assert 0 <= result["top1"] <= result["top5"] == 1  # of four classes
    lines = [json.loads(x) for x in (stages[0][0] / "metrics.jsonl").read_text().splitlines()]
    assert "eval/top1" in lines[-1]
    assert {"train/loss", "train/top1", "train/lr"} <= lines[0].keys()


def test_a_resumed_run_does_not_load_pretrained_weights_again(stages, capsys):
    folders, _ = stages
    stage("yolov2_voc", folders[2], folders[0])
    assert "layers from" not in capsys.readouterr().out
