"""Three updates equal those of the C program: every parameter after each, two sub-batches each.

On the CPU the C program normalizes by sqrt(var) + 1e-6; yolojax uses sqrt(var + 1e-5), as the C
program does on the GPU. The relative difference is 5e-6 / var, largest for small variances.
Parameters are compared relative to the largest change in their layer.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cell_truths import batch_of_cells

from yolojax.config import Config
from yolojax.darknet.cfg import read_cfg
from yolojax.darknet.weights import entries, load_weights
from yolojax.losses.classification import classification_loss
from yolojax.losses.region import region_loss
from yolojax.losses.yolov1 import yolov1_loss
from yolojax.models.network import Network
from yolojax.ops.boxes import cxcywh_to_xyxy
from yolojax.tasks import Task
from yolojax.training.optimizer import make_optimizer
from yolojax.training.state import TrainState
from yolojax.training.step import make_train_step

GOLDEN = Path(__file__).parents[1] / "golden"
KINDS = {"kernel": "weights", "bias": "biases", "scale": "scales", "mean": "mean", "var": "var"}


def boxes(values):
    """[B, 30 * 5] of (x, y, w, h, label)."""
    values = values.reshape(len(values), -1, 5)
    return {
        "boxes": cxcywh_to_xyxy(values[..., :4]),
        "labels": values[..., 4].astype(np.int32),
        "mask": values[..., 0] > 0,
    }


class Case(NamedTuple):
    make_loss: Callable  # of the head in the .cfg
    make_batch: Callable  # [B, T] of the golden file -> arguments of the loss
    cost: str  # our metric that equals the cost Darknet prints
    seen: int  # before the first update


CASES = {
    "v1": Case(
        lambda head: yolov1_loss(side=head.side, boxes=head.num),
        functools.partial(batch_of_cells, side=2),
        "darknet_cost",
        seen=0,
    ),
    "v2": Case(lambda head: region_loss(anchors=head.anchors), boxes, "darknet_cost", seen=12796),
    "cls": Case(
        lambda head: classification_loss(),
        lambda values: {"label": values.argmax(-1).astype(np.int32)},
        "loss",
        seen=0,
    ),
}


def settings_of(net):
    """The settings of [net], with schedules in images."""
    config = Config()
    config.optimizer.batch_size, config.optimizer.subdivisions = net.batch, net.subdivisions
    config.optimizer.learning_rate = net.learning_rate
    config.optimizer.step_images = tuple(step * net.batch for step in net.steps)
    config.optimizer.step_scales = net.scales
    return config


def batch_of(golden, case, update):
    """The images of both sub-batches in turn, as the train step divides them."""
    part = slice(2 * update, 2 * update + 2)
    image, ground_truth = (
        golden[key][part].swapaxes(0, 1).reshape(-1, *golden[key].shape[2:])
        for key in ("x", "truth")
    )
    return jax.tree.map(
        jnp.asarray, {"image": image.transpose(0, 2, 3, 1)} | case.make_batch(ground_truth)
    )


@functools.cache
def run(name):
    """The .cfg, the golden arrays, the state before and after each update, and the costs."""
    golden, case = np.load(GOLDEN / f"train_{name}.npz"), CASES[name]
    cfg = read_cfg(GOLDEN / "cfg" / f"train_{name}.cfg")
    model, config = Network(cfg.table), settings_of(cfg.net)
    weights = GOLDEN / "weights" / f"train_{name}_init.weights"
    variables, _ = load_weights(weights, model, image_size=(cfg.net.height, cfg.net.width))
    variables, optimizer = jax.tree.map(jnp.asarray, variables), make_optimizer(config.optimizer)
    state = TrainState(
        jnp.int32(0), jnp.int32(case.seen), variables["params"], variables["batch_stats"],
        optimizer.init(variables["params"]), None,
    )  # fmt: skip
    task = Task(model, None, case.make_loss(cfg.head))
    step, states, costs = jax.jit(make_train_step(config, task, optimizer)), [state], []
    for update in range(3):
        state, metrics = step(state, batch_of(golden, case, update))
        states.append(state)
        costs.append(float(metrics[case.cost]))
    return cfg, golden, states, costs


def flat_leaves(table, state):
    """(index of the layer, leaf) -> its values, flat in Darknet's order."""
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    return {
        (entry.index, entry.leaf): entry.to_file(
            np.asarray(variables[entry.collection][entry.layer][entry.leaf])
        ).ravel()
        for entry in entries(table, variables)
    }


@pytest.mark.parametrize("name", CASES)
def test_three_updates_equal_the_c_program(name):
    cfg, golden, states, _ = run(name)
    before, *after = (flat_leaves(cfg.table, state) for state in states)
    compared = 0
    for update, ours in enumerate(after, 1):
        for index, leaf in ours:
            theirs = golden[f"u{update}_{KINDS[leaf]}_{index:02d}"]
            moved = np.abs(theirs - before[index, leaf]).max()
            worst = np.abs(ours[index, leaf] - theirs).max() / moved
            assert worst < 5e-4, (update, index, leaf)
            compared += 1
    assert compared == sum(key.split("_")[1] in KINDS.values() for key in golden if key[0] == "u")


@pytest.mark.parametrize("name", CASES)
def test_costs_equal_the_c_program(name):
    cfg, golden, _, costs = run(name)  # per image; Darknet's are per sub-batch
    expected = golden["cost"].reshape(3, 2).sum(1) / cfg.net.batch
    np.testing.assert_allclose(costs, expected, rtol=1e-4)
