import re

import pytest

from yolojax.cli.main import main

LOSS = """
import jax.numpy as jnp

def my_loss(*, power=2.0, anchors=None):
    def loss(raw, batch, seen):
        total = jnp.sum((jnp.abs(raw) - 1) ** power)  # whatever the truths are
        return total, {"loss": total}
    return loss
"""


def run(*words):
    return main(["check-loss", *words])


def test_a_line_for_each_check_and_status_0(capsys):
    assert run("classification") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "pass  runs under jit: a scalar and the metrics count, loss, top1, top5"
    assert all(line.startswith("pass  ") for line in lines[:-1])
    assert lines[-1] == "classification (classes): 11 of 11 checks passed"


@pytest.mark.parametrize(
    ("words", "head"),
    [([], "region"), (["--head", "yolov1"], "yolov1"), (["--head=classes"], "classes")],
)
def test_status_1_where_a_check_fails(tmp_path, capsys, words, head):
    (tmp_path / "mine.py").write_text(LOSS)
    assert run(f"{tmp_path}/mine.py:my_loss", *words, "--config.loss.arguments.power=4") == 1
    out = capsys.readouterr().out
    assert "\nFAIL  a right answer: " in out
    assert "\npass  gradient: " in out
    assert f"mine.py:my_loss ({head}): " in out


def test_the_head_and_the_settings_of_a_config(tmp_path, capsys):
    (tmp_path / "config.py").write_text(
        "from yolojax.config import Config\n"
        "def get_config():\n"
        "    config = Config()\n"
        "    config.model.name, config.model.side, config.model.boxes = 'yolov1', 4, 3\n"
        "    config.model.classes = ('cat', 'dog')\n"
        "    config.model.class_softmax = True\n"
        "    return config\n"
    )
    assert run("yolov1", f"--config={tmp_path}/config.py", "--config.loss.semantics=paper") == 0
    assert "yolov1 (yolov1): 15 of 15" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["nowhere.py:my_loss"], 1, "there is no file .*/nowhere.py"),
        (["regio"], 1, "config.loss.name is 'regio'; known: region, .*Did you mean 'region'"),
        (["region", "--config.loss.box_loss"], 2, "give the value after ="),
        (["region", "--config.loss.box_loss=cio"], 1, "config.loss.box_loss is 'cio'; known: "),
        (["region", "--config.loss.bx=1"], 2, "there is no such field"),
        (["region", "--config.loss.arguments.bx=1"], 1, "has 'bx', but the loss region takes "),
        (["yolov1", "--config.loss.box_loss=ciou"], 1, "the loss yolov1 has no such setting"),
        (["yolov1", "--head", "yolov1", "--config", "c.py"], 2, "leave out --head"),
    ],
)
def test_bad_input_is_one_line(capsys, words, status, message):
    assert run(*words) == status
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert re.search(message, err)
