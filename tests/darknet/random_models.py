"""Networks with random weights and the pictures to try them on, for comparison with others."""

import numpy as np

from yolojax.config import Config, DataConfig, ModelConfig
from yolojax.models import NETWORKS
from yolojax.models.layers import WITH_PARAMETERS, Local
from yolojax.models.network import Network, variable_shapes

SIZES = {"region": (96, 96), "yolov1": (448, 448), "classes": (64, 96)}  # (height, width)


def narrow_config(name: str) -> Config:
    """The network `name` a sixteenth as wide, for 4 classes."""
    head = NETWORKS[name].head
    model = ModelConfig(name=name, classes=tuple("abcd"), width=1 / 16, epsilon="cpu")
    if head == "region":
        model.anchors = ((0.7, 1.1), (2.0, 1.5), (2.5, 2.9))
    return Config(model=model, data=DataConfig(image_size=SIZES[head]))


def random_variables(model: Network, image_size: tuple[int, int], last_gain: float = 1.0) -> dict:
    """Variables none of which has its initial value, and with which activations stay near 1.

    `last_gain` is for the last layer's kernel: a box needs less, being an exponential or a square.
    """
    rng = np.random.default_rng(0)
    layers = {layer.name: layer for layer in model.table if isinstance(layer, WITH_PARAMETERS)}
    last = list(layers)[-1]

    def fill(name, leaf, shape):
        if leaf == "kernel":
            inputs = shape[-2] if isinstance(layers[name], Local) else np.prod(shape[:-1])
            gain = np.sqrt(2 / inputs) * (last_gain if name == last else 1)
            return rng.standard_normal(shape, np.float32) * np.float32(gain)
        if leaf in ("var", "scale"):
            return rng.uniform(0.5, 1.5, shape).astype(np.float32)
        return np.float32(0.2) * rng.standard_normal(shape, np.float32)

    return {
        collection: {
            name: {leaf: fill(name, leaf, made.shape) for leaf, made in leaves.items()}
            for name, leaves in shapes.items()
        }
        for collection, shapes in variable_shapes(model, image_size).items()
    }


def random_image(image_size: tuple[int, int]) -> np.ndarray:
    """Float32 [h, w, 3] in 0..1: noise of three scales, so that no layer sees a plain field."""
    rng, (height, width) = np.random.default_rng(1), image_size
    image = rng.uniform(size=(height, width, 3))
    for cell in (8, 32):
        coarse = rng.uniform(size=(-(-height // cell), -(-width // cell), 3))
        image += np.kron(coarse, np.ones((cell, cell, 1)))[:height, :width]
    return (image / 3).astype(np.float32)
