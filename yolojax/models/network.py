"""The one module that reads any table of layers."""

from contextlib import nullcontext

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from yolojax.models.fast.pooling import max_pool
from yolojax.models.fast.strips import units_for
from yolojax.models.functional import crop, reorg, wide
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
    downsampling,
)
from yolojax.models.modules import ConnectedLayer, ConvLayer, LocalLayer
from yolojax.ops.images import to_float


def _conv(layer, x, outputs, *, train, dtype, epsilon, unit=None):
    return ConvLayer(layer, dtype, epsilon, name=layer.name)(x, train=train, unit=unit)


def _local(layer, x, outputs, *, train, dtype, **mode):
    return LocalLayer(layer, dtype, name=layer.name)(x, train=train)


def _connected(layer, x, outputs, *, train, dtype, epsilon):
    return ConnectedLayer(layer, dtype, epsilon, name=layer.name)(x, train=train)


def _max_pool(layer, x, outputs, **mode):
    return max_pool(x, layer.size, layer.stride, layer.padding)


def _avg_pool(layer, x, outputs, **mode):
    return x.mean((1, 2), keepdims=True)


def _route(layer, x, outputs, **mode):
    return jnp.concatenate([outputs[i] for i in layer.layers], -1)


def _reorg(layer, x, outputs, **mode):
    return reorg(x, layer.stride)


def _dropout(layer, x, outputs, *, train, **mode):
    return nn.Dropout(layer.rate, deterministic=not train)(x)


def _crop(layer, x, outputs, **mode):
    return crop(x, layer.height, layer.width)


# How each kind of layer turns x into its output; `outputs` are those of all layers before it.
LAYERS = {
    Conv: _conv,
    Local: _local,
    Connected: _connected,
    MaxPool: _max_pool,
    AvgPool: _avg_pool,
    Route: _route,
    Reorg: _reorg,
    Dropout: _dropout,
    Crop: _crop,
}


class Network(nn.Module):
    """The layers of `table`, one after the other; `dtype` is that of the computation.

    `epsilon` is a key of layers.ROOTS: which of Darknet's two programs to normalise like.
    `precision` is that of products of float32, as jax.default_matmul_precision names it; None is
    what is set around, or else the backend's. `strips` above 1 is for training on TPUs with few
    images at a time, as models.fast.strips has it; `mesh` is then what the batch is split over.
    """

    table: Table
    dtype: jnp.dtype = jnp.float32
    epsilon: str = "gpu"
    precision: str | None = None
    strips: int = 1
    mesh: Mesh | None = None

    @nn.compact
    def __call__(self, images, *, train: bool = False, all_outputs: bool = False):
        """Images [B, h, w, 3] -> raw float32, the output of the last layer.

        They are float in 0..1, or uint8 in 0..255, which a convolution divides in its kernel.

        `train` normalises by the batch and, with mutable=["batch_stats"], moves the running
        statistics; a network with a Dropout then needs rngs={"dropout": key}. `all_outputs`
        returns the output of every layer instead, by Darknet's index.

        Raises:
            ValueError: h or w is not divided by what `table` needs.
        """
        check_image_size(images.shape[1:3], self.table)
        as_bytes = images.dtype == jnp.uint8 and isinstance(self.table[0], Conv)
        x, outputs = images if as_bytes else to_float(images).astype(self.dtype), []
        mode = {"train": train, "dtype": self.dtype, "epsilon": self.epsilon}
        in_units = train and not all_outputs
        size, strips = images.shape[1:3], self.strips
        units = units_for(self.table, size, strips, self.mesh) if in_units else {}
        precise = jax.default_matmul_precision(self.precision) if self.precision else nullcontext()
        with precise:
            for i, layer in enumerate(self.table):
                if i in units:
                    x = _conv(layer, x, outputs, unit=units[i], **mode)
                elif not (i - 1 in units and isinstance(layer, MaxPool)):  # that is part of a unit
                    x = LAYERS[type(layer)](layer, x, outputs, **mode)
                outputs.append(x)
        return outputs if all_outputs else wide(x)


def check_image_size(size: tuple[int, int], table: Table) -> None:
    """Raises ValueError unless both of `size` (height, width) are divided by what `table` needs.

    That is its downsampling where the output is a map, whose cells must tile the image. The mean
    over all cells and a connected layer take however many there are.
    """
    is_map = not any(isinstance(layer, AvgPool | Connected) for layer in table)
    multiple = downsampling(table) if is_map else 1
    for name, pixels in zip(("height", "width"), size, strict=True):
        if pixels % multiple or pixels <= 0:
            low = max(pixels // multiple, 1) * multiple
            raise ValueError(
                f"image {name} must be a multiple of {multiple}, got {pixels} (height, width = "
                f"{tuple(size)}); try {low} or {low + multiple}."
            )


def variable_shapes(model: nn.Module, image_size: tuple[int, int]) -> dict:
    """The variables of `model` as jax.ShapeDtypeStruct, without making any."""
    image = jax.ShapeDtypeStruct((1, *image_size, 3), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), image)
