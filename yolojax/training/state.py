"""The state of a training run as one pytree."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from yolojax.config import Config
from yolojax.distributed.sharding import shardings_of, with_shardings
from yolojax.tasks import Task


class TrainState(NamedTuple):
    """The contents of a checkpoint; the position in the data follows from `seen`."""

    step: jax.Array  # int32, updates made
    seen: jax.Array  # int32, images trained on
    params: Any
    batch_stats: Any
    opt_state: Any
    ema: Any  # {"params", "batch_stats"} averaged over the updates, or None


def create_state(
    task: Task, optimizer: optax.GradientTransformation, config: Config, mesh: Mesh
) -> TrainState:
    """Make the state before the first update, with the shardings of config.mesh on `mesh`.

    Its values depend on config.seed alone, not on the number of devices.
    """
    # Jitted, so that it is traced once for both uses.
    init = jax.jit(partial(_first_state, task, optimizer, config))
    shardings = shardings_of(_with_shardings(init, config, mesh))
    return jax.jit(init, out_shardings=shardings)(jax.random.key(config.seed))


def abstract_state(
    task: Task, optimizer: optax.GradientTransformation, config: Config, mesh: Mesh
) -> TrainState:
    """Return shapes and shardings of `create_state`; `mesh` may have devices that do not exist."""
    return _with_shardings(partial(_first_state, task, optimizer, config), config, mesh)


def _with_shardings(init, config, mesh) -> TrainState:
    shapes = jax.eval_shape(init, jax.random.key(config.seed))
    return with_shardings(shapes, mesh, sharded=config.mesh.shard_state)


def _first_state(task, optimizer, config, key) -> TrainState:
    image = jnp.zeros((1, *config.data.image_size, 3))
    variables = task.model.init(key, image, train=False)
    params, stats = variables["params"], variables.get("batch_stats", {})
    ema = {"params": params, "batch_stats": stats}
    return TrainState(
        step=jnp.int32(0),
        seen=jnp.int32(0),
        params=params,
        batch_stats=stats,
        opt_state=optimizer.init(params),
        ema=None if config.optimizer.ema_decay is None else jax.tree.map(jnp.copy, ema),
    )


def inference_variables(state: TrainState) -> dict:
    """Return the variables to evaluate and predict with: the average if there is one."""
    return state.ema or {"params": state.params, "batch_stats": state.batch_stats}


def batches_done(state: TrainState, batch_size: int) -> int:
    """Return the number of batches of `batch_size` images that `state` was trained on.

    Raises:
        ValueError: it is not a whole number: the run was started with another batch size.
    """
    seen = int(state.seen)
    if seen % batch_size:
        raise ValueError(
            f"config.optimizer.batch_size is {batch_size}, but {seen} images are done, which is no "
            "multiple of it; use the old batch size, or one that divides."
        )
    return seen // batch_size
