"""A network as CPUs are quick at running it: normalisation folded, large kernels transformed.

The linen Network stays the definition; this is another way to the same values, for inference alone.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from yolojax.files import release_mapped
from yolojax.models.fast import winograd
from yolojax.models.fast.pooled_convolution import convolve_and_pool, suits
from yolojax.models.fast.pooling import max_pool
from yolojax.models.functional import ACTIVATIONS, ROOTS, convolve, crop, reorg
from yolojax.models.layers import (
    AvgPool,
    Connected,
    Conv,
    Crop,
    Dropout,
    Local,
    MaxPool,
    Reorg,
    Route,
    Table,
    before_pool,
)
from yolojax.models.network import Network, check_image_size


class Folded(NamedTuple):
    """Stands in for a Network; `apply` takes the variables that `fold` made."""

    table: Table

    def apply(self, variables: dict, images, *, train: bool = False):
        """Images float [B, h, w, 3] in 0..1 -> raw float32, the output of the last layer.

        Raises:
            ValueError: h or w is not divided by what the table needs; it is to `train`.
        """
        if train:
            raise ValueError("a folded network has no statistics to train with; use its Network.")
        check_image_size(images.shape[1:3], self.table)
        params, units, pooled = variables["params"], before_pool(self.table), set()
        x, outputs = images.astype(jnp.float32), []
        for at, layer in enumerate(self.table):
            if at in units and suits(x, _kernel(params[layer.name])):
                x = _run_pooled(layer, x, params[layer.name])
                pooled.add(at + 1)
            elif at not in pooled:
                x = _run(layer, x, outputs, params)
            outputs.append(x)
        return x


def fold(
    model: Any, variables: dict, least_channels: int = winograd.LEAST_CHANNELS
) -> tuple[Any, dict]:
    """`model` and its `variables` in this form, or as they are where it is none of its kind.

    Its kind are float32 Networks without Local and Connected layers, whose products are plain.
    Kernels of 3x3 with `least_channels` or more in and out are transformed: 16/9 of their memory.
    """
    if not isinstance(model, Network) or model.dtype != jnp.float32:
        return model, variables
    if any(isinstance(layer, Connected | Local) for layer in model.table):
        return model, variables
    make = jax.jit(_prepare, static_argnums=(0, 1, 2))
    params, statistics = variables["params"], variables.get("batch_stats", {})
    made = {}
    for layer in model.table:
        if isinstance(layer, Conv):
            leaves, own = params[layer.name], statistics.get(layer.name)
            result = make(layer, model.epsilon, least_channels, leaves, own)
            made[layer.name] = jax.block_until_ready(result)  # one kernel at a time in memory
            release_mapped(leaves["kernel"])
    return Folded(model.table), {"params": made}


def _prepare(layer: Conv, epsilon: str, least_channels: int, leaves: dict, statistics) -> dict:
    """{"kernel" or "transformed", "bias"} of a layer."""
    kernel, bias = fold_normalisation(leaves, statistics, epsilon)
    if _takes_winograd(layer, kernel.shape, least_channels):
        return {"transformed": winograd.transform(kernel), "bias": bias}
    return {"kernel": kernel, "bias": bias}


def fold_normalisation(leaves: dict, statistics: dict | None, epsilon: str) -> tuple:
    """Kernel [..., out] and bias [..., out] of a layer, which normalise too where it does.

    (x * kernel - mean) * factor + bias = x * (kernel * factor) + (bias - mean * factor).
    """
    if "scale" not in leaves:
        return leaves["kernel"], leaves["bias"]
    factor = leaves["scale"] * ROOTS[epsilon](statistics["var"])
    return leaves["kernel"] * factor, leaves["bias"] - statistics["mean"] * factor


def _takes_winograd(layer: Conv, shape: tuple[int, ...], least_channels: int) -> bool:
    same = shape[:2] == (3, 3) and layer.stride == 1 and layer.padding in (None, 1)
    return same and min(shape[2:]) >= least_channels


def _kernel(leaves: dict):
    return leaves["transformed"] if "transformed" in leaves else leaves["kernel"]


def _run_pooled(layer: Conv, x, leaves):
    """A convolution and the pool after it; activations rise, so the pool may come first."""
    y = convolve_and_pool(x, _kernel(leaves)) + leaves["bias"]
    return ACTIVATIONS[layer.activation](y)


def _run(layer, x, outputs, params):
    """The output of one layer; `outputs` are those of all before it."""
    match layer:
        case Conv():
            leaves = params[layer.name]
            if "transformed" in leaves:
                x = winograd.convolve(x, leaves["transformed"])
            else:
                x = convolve(x, leaves["kernel"], layer.stride, layer.padding)
            return ACTIVATIONS[layer.activation](x + leaves["bias"])
        case MaxPool():
            return max_pool(x, layer.size, layer.stride, layer.padding)
        case Route():
            return jnp.concatenate([outputs[i] for i in layer.layers], -1)
        case Reorg():
            return reorg(x, layer.stride)
        case AvgPool():
            return x.mean((1, 2), keepdims=True)
        case Crop():
            return crop(x, layer.height, layer.width)
        case Dropout():
            return x
