import json

import jax.numpy as jnp
import pytest

from yolojax.config import Config, from_dict, to_dict
from yolojax.tasks import build

LOSS = """
from beside import FACTOR


def my_loss(*, anchors, class_weight=1.0, power):
    def loss(raw, batch, seen):
        total = FACTOR * class_weight * len(anchors) * abs(raw).sum() ** power
        return total, {"loss": total, "seen": seen}

    return loss


def returns(value):
    return lambda: lambda raw, batch, seen: value


import jax.numpy as jnp

def checks_its_arguments(*, classes, anchors, class_loss, warmup_images):
    assert classes == ("cat",)
    assert anchors == ((1.0, 1.0), (2.0, 2.0))
    assert class_loss == "cross_entropy"
    assert warmup_images == 12800
    return lambda raw, batch, seen: (0.0, {"loss": 0.0})


nothing = returns(None)
no_loss = returns((jnp.float32(1), {}))
vector = returns((jnp.ones(3), {}))
vector_metric = returns((1.0, {"loss": 1.0, "x": jnp.ones(3)}))
no_function = lambda: 3
number = 3
"""


@pytest.fixture
def named(tmp_path):
    """Make a config with a loss of the file."""
    (tmp_path / "my_losses.py").write_text(LOSS)
    (tmp_path / "beside.py").write_text("FACTOR = 10")

    def config(function="my_loss", **fields):
        config = Config()
        config.model.classes, config.model.anchors = ("cat",), ((1.0, 1.0), (2.0, 2.0))
        config.loss.name = f"{tmp_path}/my_losses.py:{function}"
        config.loss.arguments = (("power", 2.0),) if function == "my_loss" else ()
        for field, value in fields.items():
            setattr(config.loss, field, value)
        return config

    return config


def test_it_takes_what_it_names_from_the_config_and_from_arguments(named):
    scalar, metrics = build(named(class_weight=3.0)).loss(jnp.full(4, 0.5), {}, 7)
    assert scalar == metrics["loss"] == 10 * 3 * 2 * (4 * 0.5) ** 2
    assert metrics["seen"] == 7


def test_arguments_have_the_values_of_the_config(named):
    """`classes` are the class names, not the variant of the class term."""
    assert build(named("checks_its_arguments")).loss(None, {}, 0)[0] == 0


def test_arguments_of_a_loss_of_the_package_are_refused(named):
    config = named()
    config.loss.name = "region"
    with pytest.raises(ValueError, match="has 'power', but the loss region takes none"):
        build(config)


def test_the_config_that_names_it_survives_json(named):
    config = named()
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


def test_without_its_file_a_model_can_be_built_but_not_trained(named, tmp_path):
    config = named()
    (tmp_path / "my_losses.py").unlink()
    task = build(config)
    assert task.head == "region"
    with pytest.raises(FileNotFoundError, match=r"there is no file .*my_losses.py; start in"):
        task.loss(jnp.ones(4), {}, 0)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("my_los", "has no such function. Did you mean 'my_loss'"),
        ("number", "has no such function"),
        ("no_function", "returned int; it must return a function of"),
    ],
)
def test_what_is_no_loss_is_refused(named, function, message):
    with pytest.raises(ValueError, match=message):
        build(named(function))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("nothing", "it returned NoneType"),
        ("no_loss", "its second has no 'loss'"),
        ("vector", r"its first is \w+ of shape \(3,\)"),
        ("vector_metric", r"the metric 'x' has shape \(3,\)"),
    ],
)
def test_what_returns_something_else_is_refused_when_it_is_called(named, function, message):
    with pytest.raises(ValueError, match=message):
        build(named(function)).loss(jnp.ones(4), {}, 0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"arguments": ()}, "needs 'power': set it in config.loss.arguments"),
        ({"arguments": (("pover", 1.0),)}, "takes anchors, .*Did you mean 'power'"),
        ({"arguments": (("box_loss", 1.0),)}, "has 'box_loss', which is a field of"),
        (
            {"box_loss": "ciou"},
            "config.loss.box_loss is 'ciou', but the loss .* has no such setting",
        ),
    ],
)
def test_arguments_that_it_does_not_have_are_refused(named, fields, message):
    with pytest.raises(ValueError, match=message):
        build(named(**fields))
