"""The one module that reads any table of layers."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from yolojax.models.layers import ConvLayer, reorg
from yolojax.models.pooling import max_pool
from yolojax.models.tables import Conv, MaxPool, Reorg, Route, Table, downsampling


def _conv(layer, x, outputs, *, train, dtype):
    return ConvLayer(layer, dtype, name=layer.name)(x, train=train)


def _max_pool(layer, x, outputs, **mode):
    return max_pool(x, layer.size, layer.stride)


def _route(layer, x, outputs, **mode):
    return jnp.concatenate([outputs[i] for i in layer.layers], -1)


def _reorg(layer, x, outputs, **mode):
    return reorg(x, layer.stride)


# How each kind of layer turns x into its output; `outputs` are those of all layers before it.
LAYERS = {Conv: _conv, MaxPool: _max_pool, Route: _route, Reorg: _reorg}


class Network(nn.Module):
    """The layers of `table`, one after the other; `dtype` is that of the computation."""

    table: Table
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images, *, train: bool = False, all_outputs: bool = False):
        """Images float [B, h, w, 3] in 0..1 -> raw float32 [B, H, W, A * (5 + C)].

        `train` normalises by the batch and, with mutable=["batch_stats"], moves the running
        statistics. `all_outputs` returns the output of every layer instead, by Darknet's index.

        Raises:
            ValueError: h or w is not a multiple of the network's downsampling.
        """
        check_image_size(images.shape[1:3], self.table)
        x, outputs = images.astype(self.dtype), []
        for layer in self.table:
            x = LAYERS[type(layer)](layer, x, outputs, train=train, dtype=self.dtype)
            outputs.append(x)
        return outputs if all_outputs else x.astype(jnp.float32)


def check_image_size(size: tuple[int, int], table: Table) -> None:
    """Raises ValueError unless both of `size` (height, width) are divided by what `table` needs."""
    multiple = downsampling(table)
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
