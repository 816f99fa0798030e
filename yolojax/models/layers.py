"""The arithmetic of the layers, as Darknet does it, on arrays [B, H, W, channels]."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from yolojax.models.tables import Conv

EPSILON = 1e-5  # under the root; Darknet on GPU, with which the published weights were trained
MOMENTUM = 0.99  # of the running statistics; batchnorm_layer.c


def leaky(x):
    """Leaky ReLU with slope 0.1 (YOLO paper, equation 2)."""
    return jnp.where(x > 0, x, 0.1 * x)  # maximum(x, 0.1 x) got wrong gradients from XLA on CPU


ACTIVATIONS = {"leaky": leaky, "linear": lambda x: x}


def normalise(x, mean, var, scale, bias):
    """(x - mean) / sqrt(var + eps) * scale + bias, per channel, in float32, cast to x's dtype."""
    factor = scale * lax.rsqrt(var + EPSILON)
    return (x.astype(jnp.float32) * factor + (bias - mean * factor)).astype(x.dtype)


@jax.custom_vjp
def batch_norm(x, scale, bias):
    """Normalises x [B, H, W, C] by its own statistics -> (y, mean [C], var [C]).

    The variance is the unbiased one, over N - 1, while the gradient with respect to x is that of
    the biased one, as in batchnorm_layer.c: what published weights were trained with. No gradient
    flows through the returned statistics.
    """
    return _batch_norm_forward(x, scale, bias)[0]


def _batch_norm_forward(x, scale, bias):
    mean, var = _statistics(x)
    return (normalise(x, mean, var, scale, bias), mean, var), (x, mean, var, scale)


def _statistics(x):
    """Mean and unbiased variance of each channel of x [B, H, W, C], in float32.

    From sums of x and x**2, so that XLA can take both while the convolution writes x, and reduces
    both across devices at once; the variance is off by 1e-5 of itself where mean = 10 deviations.
    """
    count = x.size // x.shape[-1]
    x = x.astype(jnp.float32)
    mean, mean_square = x.mean((0, 1, 2)), jnp.square(x).mean((0, 1, 2))
    var = jnp.maximum(mean_square - jnp.square(mean), 0.0)  # rounding may dip below 0
    return mean, var * (count / max(count - 1, 1))


def _batch_norm_backward(residuals, gradients):
    x, mean, var, scale = residuals
    gradient = gradients[0].astype(jnp.float32)
    root = lax.rsqrt(var + EPSILON)
    normal = (x.astype(jnp.float32) - mean) * root
    bias_gradient = gradient.sum((0, 1, 2))
    scale_gradient = (gradient * normal).sum((0, 1, 2))
    count = x.size // x.shape[-1]
    centred = gradient - (bias_gradient + normal * scale_gradient) / count
    return (scale * root * centred).astype(x.dtype), scale_gradient, bias_gradient


batch_norm.defvjp(_batch_norm_forward, _batch_norm_backward)


def convolve(x, kernel, stride=1):
    """Cross-correlation of x with kernel [k, k, in, out], zero-padded by k // 2."""
    padding = kernel.shape[0] // 2
    convolution = partial(
        lax.conv_general_dilated,
        window_strides=(stride, stride),
        padding=[(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    if kernel.shape[:2] != (1, 1) or stride != 1:
        return convolution(x, kernel)
    # On CPU the product is two to three times as fast, forward and backward.
    return lax.platform_dependent(x, kernel, cpu=lambda x, k: x @ k[0, 0], default=convolution)


def reorg(x, stride):
    """Darknet's reorg: [B, H, W, C] -> [B, H / s, W / s, C * s * s].

    reorg_layer.c reads the planar input as if it were [C / s**2, H * s, W * s], so channels and
    places mix; plain space-to-depth gives another order, useless with published weights.

    Raises:
        ValueError: H, W or C cannot be divided.
    """
    b, h, w, c = x.shape
    if h % stride or w % stride or c % stride**2:
        raise ValueError(
            f"reorg with stride {stride} needs height and width that are multiples of {stride} and "
            f"channels that are a multiple of {stride**2}, got {h}x{w}x{c}."
        )
    planes = x.transpose(0, 3, 1, 2).reshape(b, c // stride**2, h, stride, w, stride)
    planes = planes.transpose(0, 3, 5, 1, 2, 4)
    return planes.reshape(b, c * stride**2, h // stride, w // stride).transpose(0, 2, 3, 1)


class ConvLayer(nn.Module):
    """One Conv of a table: convolution, batch normalisation or bias, activation.

    Parameters: kernel [k, k, in, out], bias [out], with batch normalisation also scale [out];
    batch_stats: mean [out], var [out]. All float32; the computation is in `dtype`.
    """

    layer: Conv
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, *, train: bool = False):
        """x [B, H, W, in] -> [B, H', W', filters]; `train` normalises by the batch."""
        layer, channels = self.layer, (self.layer.filters,)
        # Darknet: N(0, 1) * sqrt(2 / (k * k * in)), convolutional_layer.c.
        he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
        shape = (layer.size, layer.size, x.shape[-1], layer.filters)
        kernel = self.param("kernel", he_normal, shape)
        bias = self.param("bias", nn.initializers.zeros, channels)
        # The network's output is float32 from its convolution on: the loss needs all its digits.
        dtype = self.dtype if layer.batch_norm or layer.activation != "linear" else jnp.float32
        x = convolve(x.astype(dtype), kernel.astype(dtype), layer.stride)
        if layer.batch_norm:
            scale = self.param("scale", nn.initializers.ones, channels)
            x = self._normalise(x, scale, bias, train)
        else:
            x = x + bias.astype(x.dtype)
        return ACTIVATIONS[layer.activation](x)

    def _normalise(self, x, scale, bias, train):
        mean = self.variable("batch_stats", "mean", jnp.zeros, scale.shape)
        # Darknet starts at 0, which would blow activations up by 1 / sqrt(eps) in each layer of an
        # untrained network. From 1 it stays finite; of the start, 0.99**updates is left.
        var = self.variable("batch_stats", "var", jnp.ones, scale.shape)
        if not train:
            return normalise(x, mean.value, var.value, scale, bias)
        y, batch_mean, batch_var = batch_norm(x, scale, bias)
        if not self.is_initializing():
            mean.value = MOMENTUM * mean.value + (1 - MOMENTUM) * batch_mean
            var.value = MOMENTUM * var.value + (1 - MOMENTUM) * batch_var
        return y
