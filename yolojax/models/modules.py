"""The layers with parameters, as linen modules.

Parameters are float32: kernel, bias and, with batch normalisation, scale, with running statistics
mean and var in batch_stats. Their shapes are those of Layer.leaf_shapes. The computation is in
`dtype`.
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
    """Convolution, batch normalisation or bias, and activation of a Conv."""

    layer: Conv
    dtype: jnp.dtype = jnp.float32
    epsilon: str = "gpu"

    @nn.compact
    def __call__(
        self,
        x,
        *,
        train: bool = False,
        convolve: Callable = convolve,
        unit: Callable | None = None,
    ):
        """Compute [B, H', W', filters] from x [B, H, W, in].

        Args:
            x: of uint8 it stands for x / 255.
            train: normalise by the batch.
            convolve: functional.convolve, or another form of it.
            unit: (x, kernel, scale, bias) -> (y, mean, var), which replaces the whole layer.
        """
        layer, shapes = self.layer, self.layer.leaf_shapes(x.shape[1:])
        # Darknet: N(0, 1) * sqrt(2 / (k * k * in / groups)), convolutional_layer.c.
        he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
        kernel = _parameter(self, "kernel", he_normal, shapes["kernel"])
        bias = _parameter(self, "bias", nn.initializers.zeros, shapes["bias"])
        dtype = _dtype(self)
        # Whole numbers up to 255 are exact in bfloat16, and TPUs convert them on the way.
        kernel = kernel / 255 if x.dtype == jnp.uint8 else kernel
        kernel = kernel.astype(dtype)
        if unit is not None:
            return _by_batch(self, partial(unit, x, kernel), bias)
        x = convolve(x.astype(dtype), kernel, layer.stride, layer.zeros, layer.groups)
        return _finish(self, x, bias, train)


class LocalLayer(nn.Module):
    """The separate kernels and biases, and the activation, of a Local."""

    layer: Local
    dtype: jnp.dtype = jnp.float32
    epsilon: str = "gpu"  # unused: there is no batch normalisation

    @nn.compact
    def __call__(self, x, *, train: bool = False):
        """Compute [B, H', W', filters] from x [B, H, W, in].

        Raises:
            ValueError: the kernel was made for a map of another size.
        """
        layer, shapes = self.layer, self.layer.leaf_shapes(x.shape[1:])
        windows = patches(x.astype(self.dtype), layer.size, layer.stride, layer.padding)
        kernel = _sized_kernel(self, shapes["kernel"])
        bias = _parameter(self, "bias", nn.initializers.zeros, shapes["bias"])
        x = jnp.einsum("bhwi,hwio->bhwo", windows, kernel.astype(self.dtype))
        return ACTIVATIONS[layer.activation](x + bias.astype(x.dtype))


class ConnectedLayer(nn.Module):
    """Product, batch normalisation or bias, and activation of a Connected."""

    layer: Connected
    dtype: jnp.dtype = jnp.float32
    epsilon: str = "gpu"

    @nn.compact
    def __call__(self, x, *, train: bool = False):
        """Compute [B, outputs] from x [B, H, W, C] or [B, in]; `train` normalises by the batch.

        Raises:
            ValueError: the kernel was made for another number of values.
        """
        x, shapes = flatten(x), self.layer.leaf_shapes(x.shape[1:])
        kernel = _sized_kernel(self, shapes["kernel"])
        bias = _parameter(self, "bias", nn.initializers.zeros, shapes["bias"])
        dtype = _dtype(self)
        return _finish(self, x.astype(dtype) @ kernel.astype(dtype), bias, train)


def _dtype(module: nn.Module):
    """Return the dtype of the computation; a linear output layer computes in float32 at least."""
    if module.layer.batch_norm or module.layer.activation != "linear":
        return module.dtype
    return jnp.promote_types(module.dtype, jnp.float32)


def _sized_kernel(module: nn.Module, shape: tuple[int, ...]):
    """Return the kernel [..., in, out] of a layer whose shapes depend on the image size."""
    why = ": the network works at one image size alone, that of its weights"
    return _parameter(module, "kernel", _he_uniform(shape[-2]), shape, why)


def _parameter(module: nn.Module, name: str, initializer: Callable, shape: tuple, why: str = ""):
    """Return the parameter `name` of `module`, initialised where it is missing.

    `module.param` traces the initializer at every call, to compare shapes; this does not.
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
    """Apply batch normalisation or bias, then the activation."""
    if not module.layer.batch_norm:
        x = x + bias.astype(x.dtype)
    elif train:
        x = _by_batch(module, partial(batch_norm, x), bias)
    else:
        scale, mean, var = _scale_and_statistics(module, bias.shape)
        x = normalise(x, mean.value, var.value, scale, bias, module.epsilon)
    return ACTIVATIONS[module.layer.activation](x)


def _by_batch(module: nn.Module, normalised: Callable, bias):
    """Return y of `normalised` (scale, bias) -> (y, mean, var); update the running statistics."""
    scale, mean, var = _scale_and_statistics(module, bias.shape)
    y, batch_mean, batch_var = normalised(scale, bias)
    if not module.is_initializing():
        mean.value = MOMENTUM * mean.value + (1 - MOMENTUM) * batch_mean
        var.value = MOMENTUM * var.value + (1 - MOMENTUM) * batch_var
    return y


def _scale_and_statistics(module: nn.Module, shape: tuple[int, ...]):
    scale = _parameter(module, "scale", nn.initializers.ones, shape)
    mean = module.variable("batch_stats", "mean", jnp.zeros, shape)
    # Darknet starts at 0, with which each layer of an untrained network multiplies activations by
    # 1 / sqrt(eps). The start's share of the running value is 0.99**updates.
    var = module.variable("batch_stats", "var", jnp.ones, shape)
    return scale, mean, var


def _he_uniform(inputs: int):
    """U(-1, 1) * sqrt(2 / inputs), connected_layer.c; local_layer.c fills one position."""
    bound = (2 / inputs) ** 0.5

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init
