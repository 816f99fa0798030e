"""train.py, eval.py and every file in configs/, as a person runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from yolojax.config import read_config
from yolojax.distributed.sharding import make_mesh
from yolojax.tasks import build
from yolojax.training.compilation import abstract_batch, train_sizes
from yolojax.training.optimizer import learning_rate, make_optimizer
from yolojax.training.state import create_state
from yolojax.training.step import make_train_step

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(p.name for p in (ROOT / "configs").glob("*.py"))


def run(script, *arguments):
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, script, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_train_then_evaluate_a_smoke_run(tmp_path):
    quick = ("--config.data.image_size=64,64", "--config.eval.bootstrap=10")
    trained = run(
        "train.py", "--config=configs/quickstart.py:smoke", f"--workdir={tmp_path}", *quick
    )
    assert trained.returncode == 0, trained.stderr
    assert "voc10" in trained.stdout
    evaluated = run(
        "eval.py", f"--workdir={tmp_path}", "--data=shapes:val", "--config.eval.iou_threshold=.6"
    )
    assert evaluated.returncode == 0, evaluated.stderr
    result = json.loads((tmp_path / "eval" / "shapes_val.json").read_text())
    numbers = ("voc07_11pt", "voc10", "coco_AP", "coco_AP50", "coco_AP75")
    assert {*numbers, "per_class", "images", "protocol"} <= result.keys()
    assert result["images"] == 200
    assert "0.6" in result["protocol"]["nms"]
    picture = tmp_path / "plots" / "val_batch0_labels.jpg"
    predict = ("-m", "yolojax", "predict", picture, "--workdir", tmp_path, "--json", "-")
    predicted = run(*predict, "--threshold=0", "--out", tmp_path / "drawn")
    assert predicted.returncode == 0, predicted.stderr
    (found,) = json.loads(predicted.stdout)
    assert found["file"] == str(picture)
    assert {"class", "class_id", "score", "box"} == found["detections"][0].keys()
    assert (tmp_path / "drawn" / picture.name).exists()


def test_a_mistyped_override_ends_with_2_and_a_suggestion(tmp_path):
    ended = run(
        "train.py", "--config=configs/quickstart.py", f"--workdir={tmp_path}",
        "--config.optimizer.learning_rat=1",
    )  # fmt: skip
    assert ended.returncode == 2
    assert "Did you mean --config.optimizer.learning_rate?" in ended.stderr


def test_bad_input_is_one_line_and_status_1(tmp_path):
    ended = run(
        "train.py", "--config=configs/bccd.py", f"--workdir={tmp_path}",
        f"--config.data.dir={tmp_path}",
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr.strip().splitlines()[-1].startswith("yolojax train: ")
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("--config.seed=abc", "seed"),
        ("--config.data.image_size=64", "image_size"),
        ("--config.model.classes=a,b", "must be texts, as"),
        ("--config.eval.metric=mAP", "config.eval.metric is 'mAP'; known: voc07_11pt"),
    ],
)
def test_a_value_of_another_kind_is_named(wrong, message, tmp_path):
    ended = run("train.py", wrong, "--config=configs/quickstart.py", f"--workdir={tmp_path / 'w'}")
    assert ended.returncode in (1, 2)
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "w").exists()


def test_a_variant_that_is_not_there_is_refused():
    for name in CONFIGS:
        with pytest.raises(ValueError, match="got 'smok'"):
            read_config(f"{ROOT / 'configs' / name}:smok")


@pytest.mark.parametrize("name", ["quickstart.py", "fast_yolo_voc.py"])  # the second imports more
def test_summary_reads_a_config_from_anywhere(name, tmp_path):
    command = [sys.executable, "-m", "yolojax", "summary", str(ROOT / "configs" / name), "--json"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["layers"]


@pytest.mark.parametrize("arg", ["", ":smoke"])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_describes_a_step_that_traces(name, arg):
    config = read_config(f"{ROOT / 'configs' / name}{arg}")
    assert json.loads(json.dumps(vars(config.model)))
    task, optimizer, mesh = build(config), make_optimizer(config.optimizer), make_mesh()
    learning_rate(config.optimizer)
    state = jax.eval_shape(lambda: create_state(task, optimizer, config, mesh))
    step = make_train_step(config, task, optimizer)
    size = max(train_sizes(config))
    after, metrics = jax.eval_shape(step, state, abstract_batch(config, task.head, size, mesh))
    assert jax.tree.map(lambda x: x.shape, after) == jax.tree.map(lambda x: x.shape, state)
    assert metrics["loss"].shape == ()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(CONFIGS) - {"bccd.py", "quickstart.py"}))
def test_every_smoke_run_ends(name, tmp_path):
    ended = run("train.py", f"--config=configs/{name}:smoke", f"--workdir={tmp_path}")
    assert ended.returncode == 0, ended.stderr
