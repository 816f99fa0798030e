"""The train step: forward pass, loss, gradient, Darknet's SGD."""

import os
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from yolojax.config import Config
from yolojax.distributed.sharding import batch_sharding, constrain_state, platform_of, replicated
from yolojax.distributed.xla_flags import tpu_options
from yolojax.losses.terms import SumOfTerms, mean_over_images
from yolojax.ops.images import to_float
from yolojax.tasks import Task, on_tpu
from yolojax.training.optimizer import frozen, layer_factors, learning_rate
from yolojax.training.state import TrainState


def make_train_step(
    config: Config,
    task: Task,
    optimizer: optax.GradientTransformation,
    mesh: Mesh | None = None,
) -> Callable:
    """Make the function (state, batch) -> (state, {metric: scalar}), to be jitted.

    With `subdivisions` above 1, sub-batch k holds the images k, k + subdivisions, ... of the batch,
    so that each device keeps its own rows. Gradients and metrics are averaged over the sub-batches.
    BN statistics are updated by each sub-batch in turn, as in Darknet.

    With config.mesh.shard_state every device of `mesh` updates its part of the parameters. They are
    gathered for the forward and backward pass, and the gradients are summed and sharded afterwards
    (ZeRO, Rajbhandari et al. 2020, section 5.3). Only the order of sums changes.
    """
    settings = config.optimizer
    shard_state = config.mesh.shard_state and mesh is not None
    rate = learning_rate(settings)
    share = settings.batch_size // settings.subdivisions
    on_tpus = mesh is not None and platform_of(mesh) == "tpu"
    if on_tpus:
        task = on_tpu(task, share, mesh)

    def gradients(params, batch_stats, seen, batch):
        def objective(params):
            params = frozen(params, layer_factors(settings, params))
            variables = {"params": params, "batch_stats": batch_stats}
            image = batch["image"] if on_tpus else to_float(batch["image"])
            dropout = jax.random.fold_in(jax.random.key(config.seed), seen)
            raw, new = task.model.apply(
                variables, image, train=True, mutable=["batch_stats"], rngs={"dropout": dropout}
            )
            loss, metrics = task.loss(raw, batch, seen)
            metrics = metrics | gradient_norms(task.loss, raw, batch, seen)
            return loss, (new.get("batch_stats", {}), metrics)

        params = constrain_state(params, mesh, sharded=False) if shard_state else params
        (_, (stats, metrics)), grads = jax.value_and_grad(objective, has_aux=True)(params)
        if shard_state:
            # Replicated first: otherwise XLA for TPU computes the sharded gradient of a kernel in a
            # loop that exchanges activations, and a step takes 1.5 times as many cycles.
            grads = constrain_state(constrain_state(grads, mesh, sharded=False), mesh, sharded=True)
        return grads, stats, metrics

    def accumulate(state: TrainState, batch):
        def body(carry, sub):
            total, stats, seen = carry
            grads, stats, metrics = gradients(state.params, stats, seen + share, sub)
            return (jax.tree.map(jnp.add, total, grads), stats, seen + share), metrics

        first = (jax.tree.map(jnp.zeros_like, state.params), state.batch_stats, state.seen)
        (total, stats, _), metrics = jax.lax.scan(body, first, _subdivide(batch, settings))
        grads = jax.tree.map(lambda g: g / settings.subdivisions, total)
        return grads, stats, jax.tree.map(lambda m: m.mean(0), metrics)

    @jax.jit  # traced once for all image sizes
    def update(state: TrainState, grads, stats, seen):
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        lr = rate(seen)
        params = {
            layer: jax.tree.map(partial(_move, lr * factor), state.params[layer], updates[layer])
            for layer, factor in layer_factors(settings, state.params).items()
        }
        ema = _average(state.ema, {"params": params, "batch_stats": stats}, state.step, settings)
        metrics = {"lr": lr, "grad_norm": optax.global_norm(grads)}
        return TrainState(state.step + 1, seen, params, stats, opt_state, ema), metrics

    def train_step(state: TrainState, batch):
        seen = state.seen + settings.batch_size
        if settings.subdivisions == 1:
            grads, stats, metrics = gradients(state.params, state.batch_stats, seen, batch)
        else:
            grads, stats, metrics = accumulate(state, batch)
        state, extra = update(state, grads, stats, seen)
        return state, metrics | extra

    return train_step


def gradient_norms(loss: Callable, raw, batch: dict, seen) -> dict:
    """Compute the L2 norm of the gradient of each term of `loss`: {"grad_NAME": norm}.

    The gradient is with respect to `raw`, the network's output [B, ...], of the term averaged over
    B as in the loss. Only terms of a SumOfTerms are known; for another loss the result is empty.
    """
    if not isinstance(loss, SumOfTerms):
        return {}

    @jax.jit  # traced once
    def means(raw):
        return mean_over_images(loss.compute(raw, batch, seen).terms)

    raw = jax.lax.stop_gradient(raw)
    # One backward pass for each term, so that a pass holds only the operations of its term.
    return {
        f"grad_{name}": optax.global_norm(jax.grad(lambda raw, name=name: means(raw)[name])(raw))
        for name in jax.eval_shape(means, raw)
    }


def _move(rate, parameter, direction):
    return parameter - rate * direction


def _subdivide(batch, settings):
    """Reshape leaves [B, ...] to [subdivisions, B / subdivisions, ...]; devices keep their rows."""
    k = settings.subdivisions
    return jax.tree.map(lambda x: x.reshape(-1, k, *x.shape[1:]).swapaxes(0, 1), batch)


def _average(ema, variables, step, settings):
    """Update the exponential average; the decay grows so that the first updates count little."""
    if ema is None:
        return None
    # (1 + t) / (10 + t): the usual warm-up of tf.train.ExponentialMovingAverage.
    decay = jnp.minimum(settings.ema_decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda a, b: a + (1 - decay) * (b - a), ema, variables)


def jit_train_step(train_step: Callable, mesh: Mesh, shardings=None) -> Callable:
    """Jit `train_step` over `mesh`: the batch is sharded, the state is donated.

    `shardings` are those of the state, by default replicated.
    """
    shardings = replicated(mesh) if shardings is None else shardings
    return jax.jit(
        train_step,
        in_shardings=(shardings, batch_sharding(mesh)),
        out_shardings=(shardings, replicated(mesh)),
        donate_argnums=0,
        compiler_options=tpu_options(os.environ) if platform_of(mesh) == "tpu" else None,
    )
