"""The module that runs a table of layers."""

from contextlib import nullcontext

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from yolojax.models.fast.forms import choose_forms
from yolojax.models.functional import ACTIVATIONS, crop, reorg, shortcut, wide
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
    Shortcut,
    Table,
    downsampling,
    output_shapes,
)
from yolojax.models.modules import ConnectedLayer, ConvLayer, LocalLayer
from yolojax.ops.images import to_float

MODULES = {Conv: ConvLayer, Local: LocalLayer, Connected: ConnectedLayer}

# Layers without parameters: (layer, x, outputs of all layers above, max_pool) -> output.
FUNCTIONS = {
    MaxPool: lambda layer, x, outputs, max_pool: max_pool(x, layer.size, layer.stride, layer.rows),
    AvgPool: lambda layer, x, outputs, max_pool: x.mean((1, 2), keepdims=True),
    Route: lambda layer, x, outputs, max_pool: jnp.concatenate(
        [outputs[i] for i in layer.layers], -1
    ),
    Shortcut: lambda layer, x, outputs, max_pool: ACTIVATIONS[layer.activation](
        shortcut(x, outputs[layer.source])
    ),
    Reorg: lambda layer, x, outputs, max_pool: reorg(x, layer.stride),
    Crop: lambda layer, x, outputs, max_pool: crop(x, layer.height, layer.width),
}


class Network(nn.Module):
    """The layers of `table`, one after the other.

    Attributes:
        table: the layers.
        dtype: of the computation; parameters are float32.
        epsilon: a key of functional.ROOTS, how inference normalises.
        precision: of float32 products, as for jax.default_matmul_precision; None: the current one.
        fast_forms: "auto", or "off" for the plain layers only; see fast/forms.py.
        any_size: take image sizes whose maps the pools round up, as Darknet does. Without, an image
            must be a whole number of cells of the coarsest map.
        strips: above 1 in training on TPUs with few images at a time; see fast/strips.py.
        mesh: the devices over which the batch is split, with `strips`.
    """

    table: Table
    dtype: jnp.dtype = jnp.float32
    epsilon: str = "gpu"
    precision: str | None = None
    fast_forms: str = "auto"
    any_size: bool = False
    strips: int = 1
    mesh: Mesh | None = None

    @nn.compact
    def __call__(self, images, *, train: bool = False, all_outputs: bool = False):
        """Compute raw, the output of the last layer in float32, from images [B, h, w, 3].

        Args:
            images: float in 0..1, or uint8 in 0..255, which a first convolution divides by 255 in
                its kernel.
            train: normalise by the batch and, with mutable=["batch_stats"], update the running
                statistics. A network with a Dropout then needs rngs={"dropout": key}.
            all_outputs: return the list of the outputs of all layers.

        Raises:
            ValueError: the layers do not fit h and w; see `check_image_size`.
        """
        size = images.shape[1:3]
        check_image_size(size, self.table, any_size=self.any_size)
        as_bytes = images.dtype == jnp.uint8 and isinstance(self.table[0], Conv)
        x, outputs = images if as_bytes else to_float(images).astype(self.dtype), []
        forms = choose_forms(
            self.fast_forms,
            self.table,
            size,
            units=train and not all_outputs,
            strips=self.strips,
            mesh=self.mesh,
        )
        precise = jax.default_matmul_precision(self.precision) if self.precision else nullcontext()
        with precise:
            for i, layer in enumerate(self.table):
                pooled = i - 1 in forms.units and isinstance(layer, MaxPool)  # by the unit
                x = x if pooled else self._run(i, layer, x, outputs, forms, train)
                outputs.append(x)
        return outputs if all_outputs else wide(x)

    def _run(self, index, layer, x, outputs, forms, train):
        if isinstance(layer, Dropout):
            return nn.Dropout(layer.rate, deterministic=not train)(x)
        if type(layer) in FUNCTIONS:
            return FUNCTIONS[type(layer)](layer, x, outputs, forms.max_pool)
        module = MODULES[type(layer)](layer, self.dtype, self.epsilon, name=layer.name)
        if isinstance(layer, Conv):
            unit = forms.units.get(index)
            return module(x, train=train, convolve=forms.convolve, unit=unit)
        return module(x, train=train)


def check_image_size(size: tuple[int, int], table: Table, *, any_size: bool = False) -> None:
    """Raise ValueError unless the layers of `table` fit images of `size` (height, width).

    Without `any_size`, both must be multiples of `image_multiple`.
    """
    multiple, size = image_multiple(table), tuple(size)
    if any_size:
        try:
            output_shapes(table, (*size, 3))
        except ValueError as error:
            problem = f"the layers do not fit images of height, width = {size}: {error}"
            raise ValueError(f"{problem}; try multiples of {multiple}.") from error
        return
    for name, pixels in zip(("height", "width"), size, strict=True):
        if pixels % multiple or pixels <= 0:
            low = max(pixels // multiple, 1) * multiple
            raise ValueError(
                f"image {name} must be a multiple of {multiple}, got {pixels} (height, width = "
                f"{size}); try {low} or {low + multiple}."
            )


def image_multiple(table: Table) -> int:
    """Return the number of pixels whose multiples are image sizes without any rounding.

    That is the downsampling where the output is a map. A global mean and a connected layer take any
    number of cells.
    """
    is_map = not any(isinstance(layer, AvgPool | Connected) for layer in table)
    return downsampling(table) if is_map else 1


def variable_shapes(model: nn.Module, image_size: tuple[int, int]) -> dict:
    """Return the variables of `model` as jax.ShapeDtypeStruct, without allocating them."""
    image = jax.ShapeDtypeStruct((1, *image_size, 3), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), image)
