"""Everything that a run must remember, as one pytree."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from yolojax.config import Config
from yolojax.distributed.sharding import placed, places_of
from yolojax.tasks import Task


class TrainState(NamedTuple):
    """What a checkpoint holds; the position in the data is `seen`."""

    step: jax.Array  # int32, updates made
    seen: jax.Array  # int32, images trained on
    params: Any
    batch_stats: Any
    opt_state: Any
    ema: Any  # {"params", "batch_stats"} averaged over the updates, or None


def create_state(
    task: Task, optimizer: optax.GradientTransformation, config: Config, mesh: Mesh
) -> TrainState:
    """The state before the first update, laid out on `mesh` as config.mesh says.

    It is random by config.seed alone, on any number of devices.
    """
    # Jitted, the second use takes what the first has traced.
    init = jax.jit(partial(_first_state, task, optimizer, config))
    layout = places_of(_laid_out(init, config, mesh))
    return jax.jit(init, out_shardings=layout)(jax.random.key(config.seed))


def abstract_state(
    task: Task, optimizer: optax.GradientTransformation, config: Config, mesh: Mesh
) -> TrainState:
    """Shapes and places of what `create_state` makes; `mesh` may be of devices not there."""
    return _laid_out(partial(_first_state, task, optimizer, config), config, mesh)


def _laid_out(init, config, mesh) -> TrainState:
    shapes = jax.eval_shape(init, jax.random.key(config.seed))
    return placed(shapes, mesh, sharded=config.mesh.shard_state)


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
    """The variables to evaluate and predict with: the average where there is one."""
    return state.ema or {"params": state.params, "batch_stats": state.batch_stats}


def batches_done(state: TrainState, batch_size: int) -> int:
    """How many batches of `batch_size` images lie behind `state`.

    Raises:
        ValueError: not a whole number, because the run began with another batch size.
    """
    seen = int(state.seen)
    if seen % batch_size:
        raise ValueError(
            f"config.optimizer.batch_size is {batch_size}, but {seen} images are done, which is no "
            "multiple of it; go on with the old batch size, or one that divides."
        )
    return seen // batch_size
