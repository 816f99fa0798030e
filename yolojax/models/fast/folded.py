"""Networks for inference on CPU: normalisation folded into kernels, large kernels transformed."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from yolojax.files import release_mapped
from yolojax.models.fast import winograd
from yolojax.models.fast.cpu_convolution import convolve
from yolojax.models.fast.pooled_convolution import convolve_and_pool, suits
from yolojax.models.fast.pooling import before_pool, max_pool
from yolojax.models.functional import ACTIVATIONS, fold_batch_norm
from yolojax.models.layers import Connected, Conv, Dropout, Local, Table
from yolojax.models.network import FUNCTIONS, Network, check_image_size


class Folded(NamedTuple):
    """Takes the place of a Network; `apply` takes the variables that `fold` returns."""

    table: Table
    any_size: bool = False  # as of Network

    def apply(self, variables: dict, images, *, train: bool = False):
        """Compute raw float32 from float images [B, h, w, 3] in 0..1.

        Raises:
            ValueError: the layers do not fit h and w, or `train` is set.
        """
        if train:
            raise ValueError("a folded network has no statistics to train with; use its Network.")
        check_image_size(images.shape[1:3], self.table, any_size=self.any_size)
        params, units, pooled = variables["params"], before_pool(self.table), set()
        x, outputs = images.astype(jnp.float32), []
        for at, layer in enumerate(self.table):
            if at in units and suits(x, _kernel(params[layer.name])):
                x = _run_pooled(layer, x, params[layer.name])
                pooled.add(at + 1)
            elif isinstance(layer, Conv):
                x = _run_conv(layer, x, params[layer.name])
            elif at not in pooled and not isinstance(layer, Dropout):
                x = FUNCTIONS[type(layer)](layer, x, outputs, max_pool)
            outputs.append(x)
        return x


def fold(
    model: Any, variables: dict, least_channels: int = winograd.LEAST_CHANNELS
) -> tuple[Any, dict]:
    """Return a Folded for `model`, and its variables; or both unchanged where it does not apply.

    It applies to float32 Networks with fast forms and without Local and Connected layers. Kernels
    of 3x3 with `least_channels` or more in and out are transformed, to 16/9 of their memory.
    """
    if not isinstance(model, Network) or model.dtype != jnp.float32 or model.fast_forms == "off":
        return model, variables
    if any(isinstance(layer, Connected | Local) for layer in model.table):
        return model, variables
    make = jax.jit(_prepare, static_argnums=(0, 1, 2))
    params, statistics = variables["params"], variables.get("batch_stats", {})
    folded = {}
    for layer in model.table:
        if isinstance(layer, Conv):
            leaves, own = params[layer.name], statistics.get(layer.name)
            result = make(layer, model.epsilon, least_channels, leaves, own)
            folded[layer.name] = jax.block_until_ready(result)  # one kernel at a time in memory
            release_mapped(leaves["kernel"])
    return Folded(model.table, model.any_size), {"params": folded}


def _prepare(layer: Conv, epsilon: str, least_channels: int, leaves: dict, statistics) -> dict:
    """Return {"kernel" or "transformed", "bias"} of a layer."""
    kernel, bias = fold_batch_norm(leaves, statistics, epsilon)
    plain = (layer.size, layer.stride, layer.zeros, layer.groups) == (3, 1, 1, 1)
    if plain and min(kernel.shape[2:]) >= least_channels:
        return {"transformed": winograd.transform(kernel), "bias": bias}
    return {"kernel": kernel, "bias": bias}


def _kernel(leaves: dict):
    return leaves["transformed"] if "transformed" in leaves else leaves["kernel"]


def _run_pooled(layer: Conv, x, leaves):
    """Run a convolution and its max-pool; activations are monotonic, so the pool may come first."""
    y = convolve_and_pool(x, _kernel(leaves)) + leaves["bias"]
    return ACTIVATIONS[layer.activation](y)


def _run_conv(layer: Conv, x, leaves):
    if "transformed" in leaves:
        x = winograd.convolve(x, leaves["transformed"])
    else:
        x = convolve(x, leaves["kernel"], layer.stride, layer.zeros, layer.groups)
    return ACTIVATIONS[layer.activation](x + leaves["bias"])
