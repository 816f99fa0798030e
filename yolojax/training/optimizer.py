"""Darknet's SGD and its learning-rate policies."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from yolojax.config import OptimizerConfig
from yolojax.suggestions import choose

POLICIES = ("constant", "steps", "poly")


def learning_rate(config: OptimizerConfig) -> Callable:
    """Return the learning rate as a function of the images seen, including the current update's.

    The formulas are those of `get_current_rate` (network.c), with its batch number times the batch
    size.

    Raises:
        ValueError: the policy is unknown, or the numbers of steps and scales differ.
    """
    choose("optimizer.policy", config.policy, POLICIES)
    if len(config.step_images) != len(config.step_scales):
        raise ValueError(
            f"optimizer.step_images has {len(config.step_images)} values and step_scales "
            f"{len(config.step_scales)}; there must be one scale for each step."
        )

    def rate(seen):
        seen = jnp.asarray(seen, jnp.int32)
        warm = (seen / max(config.burn_in_images, 1)) ** config.burn_in_power
        value = config.learning_rate * _decay(config, seen)
        return jnp.where(seen < config.burn_in_images, config.learning_rate * warm, value)

    return rate


def _decay(config: OptimizerConfig, seen):
    """Compute the factor on the base rate after the burn-in."""
    if config.policy == "poly":
        return (1 - seen / config.images) ** config.poly_power
    if config.policy == "constant":
        return 1.0
    steps = zip(config.step_images, config.step_scales, strict=True)
    return jnp.prod(jnp.array([1.0] + [jnp.where(seen >= at, by, 1.0) for at, by in steps]))


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """Make the transformation of the gradient: clip, decay of the kernels, momentum.

    The train step multiplies the result by the learning rate. As in Darknet, v = m v + g + decay w
    and w -= lr v (update_convolutional_layer), the rate is outside of the momentum, so that a
    change of rate does not rescale the accumulated momentum.
    """
    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
    return optax.chain(
        clip,
        optax.add_decayed_weights(config.weight_decay, mask=kernels),
        optax.trace(config.momentum),
    )


def kernels(params: dict) -> dict:
    """Return True for each leaf that is a kernel: Darknet decays neither biases nor BN scales."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


def layer_factors(config: OptimizerConfig, params: dict) -> dict:
    """Return the factor on the rate of each layer of `params`; the last matching entry wins.

    Raises:
        ValueError: an entry of config.layer_rates matches no layer, or its factor is negative.
    """
    factors = dict.fromkeys(params, 1.0)
    for start, factor in config.layer_rates:
        matching = [layer for layer in params if layer.startswith(start)]
        if not matching or factor < 0:
            raise ValueError(
                f"optimizer.layer_rates has ({start!r}, {factor}): it must be the start of a "
                f"layer's name ({', '.join(params)}) and a factor of 0 or more."
            )
        factors |= dict.fromkeys(matching, factor)
    return factors


def frozen(params: dict, factors: dict) -> dict:
    """Stop the gradient of the layers whose factor is 0 (Darknet's stopbackward)."""
    return {
        layer: jax.tree.map(jax.lax.stop_gradient, leaves) if factors[layer] == 0 else leaves
        for layer, leaves in params.items()
    }
