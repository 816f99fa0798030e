"""Everything that a run must remember, as one pytree."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from yolojax.config import Config
from yolojax.tasks import Task
from yolojax.training.sharding import replicated


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
    """The state before the first update, on every device of `mesh`; random by config.seed alone."""
    ema = config.optimizer.ema_decay is not None

    def init(key):
        image = jnp.zeros((1, *config.data.image_size, 3))
        variables = task.model.init(key, image, train=False)
        params, stats = variables["params"], variables.get("batch_stats", {})
        return TrainState(
            step=jnp.int32(0),
            seen=jnp.int32(0),
            params=params,
            batch_stats=stats,
            opt_state=optimizer.init(params),
            ema=jax.tree.map(jnp.copy, {"params": params, "batch_stats": stats}) if ema else None,
        )

    return jax.jit(init, out_shardings=replicated(mesh))(jax.random.key(config.seed))


def inference_variables(state: TrainState) -> dict:
    """The variables to evaluate and predict with: the average where there is one."""
    return state.ema or {"params": state.params, "batch_stats": state.batch_stats}
