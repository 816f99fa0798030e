"""The arithmetic of the layers, as Darknet does it, on arrays [B, H, W, channels]."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from yolojax.models.fast.cpu_convolution import cpu_form
from yolojax.ops.platforms import by_platform

EPSILON = 1e-5  # under the root; Darknet on GPU, with which the published weights were trained
CPU_EPSILON = 1e-6  # beside the root; Darknet on CPU (normalize_cpu, blas.c), in inference alone
MOMENTUM = 0.99  # of the running statistics; batchnorm_layer.c


def leaky(x):
    """Leaky ReLU with slope 0.1 (YOLO paper, equation 2)."""
    return jnp.where(x > 0, x, 0.1 * x)  # maximum(x, 0.1 x) got wrong gradients from XLA on CPU


ACTIVATIONS = {
    "leaky": leaky,
    "linear": lambda x: x,
    "relu": jax.nn.relu,
    "logistic": jax.nn.sigmoid,
    "ramp": lambda x: jax.nn.relu(x) + 0.1 * x,  # the first YOLO networks of 2015
}

# How the root of a running variance is kept from 0, by the Darknet program that does it so.
ROOTS = {
    "gpu": lambda var: lax.rsqrt(var + EPSILON),
    "cpu": lambda var: 1 / (jnp.sqrt(var) + CPU_EPSILON),
}


def wide(x):
    """x in float32, the type of all statistics; float64, which is for tests, stays."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def normalise(x, mean, var, scale, bias, epsilon="gpu"):
    """(x - mean) / root(var) * scale + bias, per channel, in float32, cast to x's dtype."""
    factor = scale * ROOTS[epsilon](var)
    return (wide(x) * factor + (bias - mean * factor)).astype(x.dtype)


@jax.custom_vjp
def batch_norm(x, scale, bias):
    """Normalises x [B, ..., C] by its own statistics -> (y, mean [C], var [C]).

    The variance is the unbiased one, over N - 1, while the gradient with respect to x is that of
    the biased one, as in batchnorm_layer.c: what published weights were trained with. No gradient
    flows through the returned statistics.
    """
    return _batch_norm_forward(x, scale, bias)[0]


def _batch_norm_forward(x, scale, bias):
    mean, var = _statistics(x)
    return (normalise(x, mean, var, scale, bias), mean, var), (x, mean, var, scale)


def _statistics(x):
    """Mean and unbiased variance of each channel of x [B, ..., C], in float32.

    From sums of x and x**2, so that XLA can take both while the convolution writes x, and reduces
    both across devices at once; the variance is off by 1e-5 of itself where mean = 10 deviations.
    """
    count, places = x.size // x.shape[-1], tuple(range(x.ndim - 1))
    x = wide(x)
    mean = x.mean(places)
    return mean, variance(mean, jnp.square(x).mean(places), count)


def variance(mean, mean_square, count: int):
    """The unbiased variance of `count` values, from their mean and that of their squares."""
    var = jnp.maximum(mean_square - jnp.square(mean), 0.0)  # rounding may dip below 0
    return var * (count / max(count - 1, 1))


def _batch_norm_backward(residuals, gradients):
    x, mean, var, scale = residuals
    gradient = wide(gradients[0])
    root = lax.rsqrt(var + EPSILON)
    normal = (wide(x) - mean) * root
    places = tuple(range(x.ndim - 1))
    count = float(x.size // x.shape[-1])  # on a pod more than an int32 can hold
    bias_gradient = gradient.sum(places)
    scale_gradient = (gradient * normal).sum(places)
    centred = gradient - (bias_gradient + normal * scale_gradient) / count
    return (scale * root * centred).astype(x.dtype), scale_gradient, bias_gradient


batch_norm.defvjp(_batch_norm_forward, _batch_norm_backward)


def convolve(x, kernel, stride=1, padding=None):
    """Cross-correlation of x with kernel [k, k, in, out], zero-padded by `padding`, or k // 2."""
    padding = kernel.shape[0] // 2 if padding is None else padding
    convolution = partial(
        lax.conv_general_dilated,
        window_strides=(stride, stride),
        padding=[(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    form = (*kernel.shape[:2], stride, padding)
    if form == (1, 1, 1, 0):
        # On CPU the product is two to three times as fast, forward and backward.
        return by_platform(x, kernel, cpu=lambda x, k: x @ k[0, 0], default=convolution)
    if form == (3, 3, 1, 1) and (on_cpu := cpu_form(x, kernel)):
        return by_platform(x, kernel, cpu=on_cpu, default=convolution)
    return convolution(x, kernel)


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


def flatten(x):
    """[B, H, W, C] -> [B, C * H * W], channel by channel: what Darknet's connected layers take."""
    return x if x.ndim == 2 else x.transpose(0, 3, 1, 2).reshape(len(x), -1)


def patches(x, size, stride, padding):
    """What a window of `size` sees at each place of x: [B, H', W', C * size * size]."""
    return lax.conv_general_dilated_patches(
        x,
        (size, size),
        (stride, stride),
        [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def crop(images, height, width):
    """The middle of images [B, h, w, 3] in 0..1, as values -1..1 (crop_layer.c); 0: all of it.

    Raises:
        ValueError: the images are smaller than that.
    """
    h, w = images.shape[1:3]
    height, width = height or h, width or w
    if h < height or w < width:
        raise ValueError(f"images must be at least {height}x{width} for the crop, got {h}x{w}.")
    top, left = (h - height) // 2, (w - width) // 2
    return 2 * images[:, top : top + height, left : left + width] - 1
