"""The layers with parameters, as linen modules.

Parameters are float32, named kernel, bias and, with batch normalisation, scale; its running
statistics are mean and var in batch_stats. The computation is in `dtype`.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from yolojax.models.functional import (
    ACTIVATIONS,
    MOMENTUM,
    batch_norm,
    convolve,
    flatten,
    normalise,
    patches,
)
from yolojax.models.layers import Connected, Conv, Local


class ConvLayer(nn.Module):
    """One Conv of a table: convolution, batch normalisation or bias, activation.

    Its kernel is [k, k, in, out].
    """

    layer: Conv
    dtype: jnp.dtype = jnp.float32
    epsilon: str = "gpu"

    @nn.compact
    def __call__(self, x, *, train: bool = False, unit: Callable | None = None):
        """x [B, H, W, in] -> [B, H', W', filters]; `train` normalises by the batch.

        x of uint8 stands for x / 255. With `unit`, one of pool_unit, it does that and the max-pool
        that follows.
        """
        layer = self.layer
        # Darknet: N(0, 1) * sqrt(2 / (k * k * in)), convolutional_layer.c.
        he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
        shape = (layer.size, layer.size, x.shape[-1], layer.filters)
        kernel = _parameter(self, "kernel", he_normal, shape)
        bias = _parameter(self, "bias", nn.initializers.zeros, (layer.filters,))
        dtype = _dtype(self)
        # Whole numbers up to 255 are exact in bfloat16, and TPUs convert them on the way.
        kernel = kernel / 255 if x.dtype == jnp.uint8 else kernel
        kernel = kernel.astype(dtype)
        if unit is not None:
            return _by_batch(self, partial(unit, x, kernel), bias)
        x = convolve(x.astype(dtype), kernel, layer.stride, layer.padding)
        return _finish(self, x, bias, train)


class LocalLayer(nn.Module):
    """One Local of a table; its kernel is [H', W', in * k * k, filters], its bias [H', W', out]."""

    layer: Local
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, *, train: bool = False):
        """x [B, H, W, in] -> [B, H', W', filters].

        Raises:
            ValueError: the kernel was made for a map of another size.
        """
        layer = self.layer
        windows = patches(x.astype(self.dtype), layer.size, layer.stride, layer.padding)
        places = windows.shape[1:3]
        kernel = _sized_kernel(self, (*places, windows.shape[-1], layer.filters))
        bias = _parameter(self, "bias", nn.initializers.zeros, (*places, layer.filters))
        x = jnp.einsum("bhwi,hwio->bhwo", windows, kernel.astype(self.dtype))
        return ACTIVATIONS[layer.activation](x + bias.astype(x.dtype))


class ConnectedLayer(nn.Module):
    """One Connected of a table; its kernel is [in, outputs], `in` channel by channel."""

    layer: Connected
    dtype: jnp.dtype = jnp.float32
    epsilon: str = "gpu"

    @nn.compact
    def __call__(self, x, *, train: bool = False):
        """x [B, H, W, C] or [B, in] -> [B, outputs]; `train` normalises by the batch.

        Raises:
            ValueError: the kernel was made for another number of values.
        """
        layer, x = self.layer, flatten(x)
        kernel = _sized_kernel(self, (x.shape[-1], layer.outputs))
        bias = _parameter(self, "bias", nn.initializers.zeros, (layer.outputs,))
        dtype = _dtype(self)
        return _finish(self, x.astype(dtype) @ kernel.astype(dtype), bias, train)


def _dtype(module: nn.Module):
    """That of the computation; the network's output is float32: the loss needs all its digits."""
    if module.layer.batch_norm or module.layer.activation != "linear":
        return module.dtype
    return jnp.promote_types(module.dtype, jnp.float32)


def _sized_kernel(module: nn.Module, shape: tuple[int, ...]):
    """The kernel [..., in, out] of a layer that fixes the image size."""
    why = ": the network works at one image size alone, that of its weights"
    return _parameter(module, "kernel", _he_uniform(shape[-2]), shape, why)


def _parameter(module: nn.Module, name: str, initializer: Callable, shape: tuple, why: str = ""):
    """The parameter of `module`, made by `initializer` where it is not there.

    `module.param` alone traces the initializer again wherever the network is, to compare shapes.
    """
    made = module.get_variable("params", name)
    if made is None:
        return module.param(name, initializer, shape)
    if made.shape != shape:
        raise ValueError(
            f"layer {module.layer.name!r} has a {name} of shape {made.shape}, but {shape} is "
            f"needed{why}."
        )
    return made


def _finish(module: nn.Module, x, bias, train: bool):
    """Batch normalisation or bias, then the activation, as `module.layer` says."""
    if not module.layer.batch_norm:
        x = x + bias.astype(x.dtype)
    elif train:
        x = _by_batch(module, partial(batch_norm, x), bias)
    else:
        scale, mean, var = _scale_and_statistics(module, bias.shape)
        x = normalise(x, mean.value, var.value, scale, bias, module.epsilon)
    return ACTIVATIONS[module.layer.activation](x)


def _by_batch(module: nn.Module, normalised: Callable, bias):
    """y of (scale, bias) -> (y, mean, var), of which the last two move the running statistics."""
    scale, mean, var = _scale_and_statistics(module, bias.shape)
    y, batch_mean, batch_var = normalised(scale, bias)
    if not module.is_initializing():
        mean.value = MOMENTUM * mean.value + (1 - MOMENTUM) * batch_mean
        var.value = MOMENTUM * var.value + (1 - MOMENTUM) * batch_var
    return y


def _scale_and_statistics(module: nn.Module, shape: tuple[int, ...]):
    scale = _parameter(module, "scale", nn.initializers.ones, shape)
    mean = module.variable("batch_stats", "mean", jnp.zeros, shape)
    # Darknet starts at 0, which would blow activations up by 1 / sqrt(eps) in each layer of an
    # untrained network. From 1 it stays finite; of the start, 0.99**updates is left.
    var = module.variable("batch_stats", "var", jnp.ones, shape)
    return scale, mean, var


def _he_uniform(inputs: int):
    """U(-1, 1) * sqrt(2 / inputs), connected_layer.c; local_layer.c fills only its first place."""
    bound = (2 / inputs) ** 0.5

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init
