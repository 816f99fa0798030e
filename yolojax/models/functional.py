"""The arithmetic of the layers, as in Darknet, on arrays [B, H, W, channels].

These forms are the definition on every platform; models/fast/ has quicker ones.
"""

import chex
import jax
import jax.numpy as jnp
from jax import lax

EPSILON = 1e-5  # under the root; Darknet on GPU, with which the published weights were trained
CPU_EPSILON = 1e-6  # added to the root; Darknet on CPU (normalize_cpu, blas.c), at inference only
MOMENTUM = 0.99  # of the running statistics; batchnorm_layer.c


def leaky(x):
    """Leaky ReLU with slope 0.1 (YOLO paper, equation 2)."""
    return jnp.where(x > 0, x, 0.1 * x)  # maximum(x, 0.1 x) got wrong gradients from XLA on CPU


def stair(x):
    """Steps of 1 with a slope up to every second: x - n + floor(x / 2) at odd n = floor(x)."""
    n, half = jnp.floor(x), jnp.floor(x / 2)
    return half + (x - n) * (n - 2 * half)


def bent(low: float, high: float, slope: float, outside: float, at_low: float):
    """Return the function with `slope` in low..high, `outside` around it and `at_low` at low."""

    def function(x):
        inside = jnp.clip(x, low, high)
        return at_low + slope * (inside - low) + outside * (x - inside)

    return function


# Of activations.h and activations.c in Darknet; those of the second group in AlexeyAB/darknet only.
ACTIVATIONS = {
    "leaky": leaky,
    "linear": lambda x: x,
    "relu": jax.nn.relu,
    "logistic": jax.nn.sigmoid,
    "ramp": lambda x: jax.nn.relu(x) + 0.1 * x,  # the first YOLO networks of 2015
    "elu": jax.nn.elu,
    "hardtan": bent(-1, 1, 1, 0, -1),
    "lhtan": bent(0, 1, 1, 0.001, 0),
    "loggy": lambda x: 2 * jax.nn.sigmoid(x) - 1,
    "plse": bent(-4, 4, 0.125, 0.01, 0),
    "relie": lambda x: jnp.where(x > 0, x, 0.01 * x),
    "selu": lambda x: 1.0507 * jnp.where(x > 0, x, 1.6732 * jnp.expm1(jnp.minimum(x, 0))),
    "stair": stair,
    "tanh": jnp.tanh,
    "gelu": lambda x: 0.5 * x * (1 + jnp.tanh(0.797885 * x + 0.035677 * x**3)),
    "hard_mish": lambda x: jnp.where(x > 0, x, jnp.square(jnp.clip(x, -2, 0) + 1) / 2 - 0.5),
    "mish": lambda x: x * jnp.tanh(jax.nn.softplus(x)),
    "relu6": jax.nn.relu6,
    "revleaky": leaky,
    "swish": jax.nn.silu,
}

# 1 / the root of a running variance, kept finite as Darknet's GPU and CPU programs do.
ROOTS = {
    "gpu": lambda var: lax.rsqrt(var + EPSILON),
    "cpu": lambda var: 1 / (jnp.sqrt(var) + CPU_EPSILON),
}


def wide(x):
    """Cast x to float32, the type of all statistics; float64 (in tests) stays."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def normalise(x, mean, var, scale, bias, epsilon="gpu"):
    """Compute (x - mean) / root(var) * scale + bias per channel in float32; cast to x's dtype."""
    chex.assert_equal_shape([mean, var, scale, bias])
    factor = scale * ROOTS[epsilon](var)
    return (wide(x) * factor + (bias - mean * factor)).astype(x.dtype)


def fold_batch_norm(params: dict, statistics: dict | None, epsilon: str) -> tuple:
    """Return kernel [..., out] and bias [..., out] that include a layer's batch normalisation.

    (x * kernel - mean) * factor + bias = x * (kernel * factor) + (bias - mean * factor).
    Without batch normalisation they are those of `params`.
    """
    if "scale" not in params:
        return params["kernel"], params["bias"]
    factor = params["scale"] * ROOTS[epsilon](statistics["var"])
    return params["kernel"] * factor, params["bias"] - statistics["mean"] * factor


@jax.custom_vjp
def batch_norm(x, scale, bias):
    """Normalise x [B, ..., C] by its own statistics -> (y, mean [C], var [C]).

    The variance is unbiased (N - 1). The gradient with respect to x is that of the biased variance,
    as in batchnorm_layer.c, with which published weights were trained. No gradient flows through
    the returned statistics.
    """
    chex.assert_equal_shape([scale, bias])
    return _batch_norm_forward(x, scale, bias)[0]


def _batch_norm_forward(x, scale, bias):
    mean, var = _statistics(x)
    return (normalise(x, mean, var, scale, bias), mean, var), (x, mean, var, scale)


def _statistics(x):
    """Compute mean and unbiased variance of each channel of x [B, ..., C], in float32.

    They come from sums of x and x**2, so XLA computes both in one pass and one all-reduce. The
    relative error of the variance is 1e-5 where the mean is 10 deviations.
    """
    count, places = x.size // x.shape[-1], tuple(range(x.ndim - 1))
    x = wide(x)
    mean = x.mean(places)
    return mean, variance(mean, jnp.square(x).mean(places), count)


def variance(mean, mean_square, count: int):
    """Compute the unbiased variance of `count` values from their mean and mean square."""
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


def convolve(x, kernel, stride=1, padding=None, groups=1):
    """Cross-correlate x with kernel [k, k, in / groups, out]; `padding` zeros, or k // 2."""
    chex.assert_rank([x, kernel], 4)
    padding = kernel.shape[0] // 2 if padding is None else padding
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def max_pool(x, size, stride, padding=None):
    """Take the maximum over size x size windows of x [B, H, W, C].

    `padding` counts rows and columns in all, size - 1 by default, the odd one at the bottom and
    right (maxpool_layer.c): size 2, stride 2 gives ceil(H / 2), stride 1 gives H. The gradient goes
    to the first maximum of a window.
    """
    padding = size - 1 if padding is None else padding
    around = (padding // 2, padding - padding // 2)
    return lax.reduce_window(
        x,
        -jnp.inf,
        lax.max,
        (1, size, size, 1),
        (1, stride, stride, 1),
        ((0, 0), around, around, (0, 0)),
    )


def shortcut(x, other):
    """Add `other` [B, H', W', C'] to x [B, H, W, C] as Darknet does (blas.c, shortcut_cpu).

    Of a larger map every n-th row and column is added, n = H' // H; a smaller one is added to every
    n-th row and column, n = H // H'. Only the first min(C, C') channels take part.
    """
    chex.assert_rank([x, other], 4)
    rows, columns, channels = map(min, x.shape[1:], other.shape[1:])
    step, gap = max(other.shape[1] // x.shape[1], 1), max(x.shape[1] // other.shape[1], 1)
    other = other[:, : rows * step : step, : columns * step : step, :channels]
    spread = [
        (0, whole - (count - 1) * every - 1, every - 1)
        for whole, count, every in zip(x.shape[1:], other.shape[1:], (gap, gap, 1), strict=True)
    ]
    return x + lax.pad(other, jnp.zeros((), other.dtype), [(0, 0, 0), *spread])


def reorg(x, stride):
    """Apply Darknet's reorg: [B, H, W, C] -> [B, H / s, W / s, C * s * s].

    reorg_layer.c reads the planar input as [C / s**2, H * s, W * s], so channels and positions mix.
    Plain space-to-depth has another order, which does not fit published weights.

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
    """Flatten [B, H, W, C] channel by channel to [B, C * H * W], as in Darknet."""
    return x if x.ndim == 2 else x.transpose(0, 3, 1, 2).reshape(len(x), -1)


def patches(x, size, stride, padding):
    """Extract the window of `size` at each position of x: [B, H', W', C * size * size]."""
    return lax.conv_general_dilated_patches(
        x,
        (size, size),
        (stride, stride),
        [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def crop(images, height, width):
    """Take the middle of images [B, h, w, 3] and move 0..1 to -1..1 (crop_layer.c); 0: all of it.

    Raises:
        ValueError: the images are smaller.
    """
    h, w = images.shape[1:3]
    height, width = height or h, width or w
    if h < height or w < width:
        raise ValueError(f"images must be at least {height}x{width} for the crop, got {h}x{w}.")
    top, left = (h - height) // 2, (w - width) // 2
    return 2 * images[:, top : top + height, left : left + width] - 1
