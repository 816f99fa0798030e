"""A training run of a few seconds on drawn shapes, and comparisons of its state."""

import json

import chex
import jax
import numpy as np
from small_detector import CFG

from configs.quickstart import get_config
from yolojax.distributed.sharding import make_mesh, shardings_of, to_devices
from yolojax.tasks import build
from yolojax.training import checkpoint
from yolojax.training.optimizer import make_optimizer
from yolojax.training.state import create_state
from yolojax.training.step import jit_train_step, make_train_step

BATCH = 8
WIDE = CFG.replace("filters=8", "filters=96")  # a kernel of 3 * 3 * 96 * 96 > 2**16 values


def small_run(batches=6):
    """A run of `batches` of 64x64 and 96x96 pixels; another size and picture every batch."""
    config = get_config("smoke")
    config.model.name, config.model.cfg, config.model.width = "small", CFG, 1.0
    config.data.image_size, config.data.multiscale = (64, 64), (64, 96)
    config.data.multiscale_every, config.data.multiscale_last = 1, 0
    config.optimizer.batch_size, config.optimizer.images = BATCH, batches * BATCH
    config.checkpoint.every_images, config.eval.every_images = 3 * BATCH, 0
    config.eval.batch_size, config.eval.bootstrap, config.log_every = 8, 10, 1
    return config


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def state_of(workdir, step=None):
    """The state of checkpoint `step`, by default of the newest."""
    config = checkpoint.load_config(workdir)
    with checkpoint.open_manager(workdir, 2) as manager:
        abstract = checkpoint.abstract_state(build(config), config)
        return jax.device_get(checkpoint.restore(manager, abstract, step or manager.latest_step()))


def batch_of_16():
    generator = np.random.default_rng(0)
    corner = generator.uniform(0, 0.6, (16, 30, 2))
    return {
        "image": generator.integers(0, 255, (16, 64, 64, 3), np.uint8),
        "boxes": np.concatenate([corner, corner + 0.3], -1).astype(np.float32),
        "labels": generator.integers(0, 4, (16, 30)).astype(np.int32),
        "mask": generator.random((16, 30)) < 0.2,
        "image_id": np.arange(16, dtype=np.int32),
    }


def updated(config, devices):
    """State and metrics after one update by `batch_of_16` on `devices`."""
    mesh, task, optimizer = make_mesh(devices), build(config), make_optimizer(config.optimizer)
    state = create_state(task, optimizer, config, mesh)
    step = make_train_step(config, task, optimizer, mesh)
    return jit_train_step(step, mesh, shardings_of(state))(state, to_devices(batch_of_16(), mesh))


def assert_same_update(expected, actual):
    """Compare two states whose sums over the batch were taken in another order.

    The momentum after one update is the gradient. In float32 a few rounding errors decide a leaky
    ReLU or a maximum.
    """
    chex.assert_trees_all_equal_shapes_and_dtypes(expected, actual)
    for name, tolerance in (("opt_state", 1e-3), ("params", 1e-5), ("batch_stats", 1e-5)):
        ours, theirs = (
            jax.tree.leaves(jax.device_get(getattr(state, name))) for state in (expected, actual)
        )
        # Gradients that cancel (a bias before batch normalization) are pure rounding error.
        floor = 1e-3 * np.sqrt(sum(np.sum(leaf**2) for leaf in ours))
        for a, b in zip(ours, theirs, strict=True):
            assert np.linalg.norm(a - b) <= tolerance * max(np.linalg.norm(a), floor), name
