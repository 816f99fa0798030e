"""Networks by name. Each maps images [B, h, w, 3] to raw [B, H, W, A * (5 + C)]."""

from collections.abc import Callable

import jax.numpy as jnp

from yolojax.models.network import Network
from yolojax.models.tables import Table, scale_width
from yolojax.models.yolov2 import yolov2, yolov2_tiny_coco, yolov2_tiny_voc
from yolojax.naming import did_you_mean

NETWORKS: dict[str, Callable[[int, int], Table]] = {  # (classes, anchors) -> table
    "yolov2": yolov2,
    "yolov2_tiny_voc": yolov2_tiny_voc,
    "yolov2_tiny_coco": yolov2_tiny_coco,
}


def build_network(
    name: str,
    *,
    num_classes: int,
    num_anchors: int,
    width: float = 1.0,
    dtype: jnp.dtype = jnp.float32,
) -> Network:
    """The network `name`, `width` times as wide, computing in `dtype` with float32 parameters.

    Raises:
        ValueError: `name` is not in NETWORKS, or `width` is not above 0.
    """
    if name not in NETWORKS:
        hint = did_you_mean(name, NETWORKS)
        raise ValueError(f"network {name!r} is unknown; known: {', '.join(NETWORKS)}.{hint}")
    return Network(scale_width(NETWORKS[name](num_classes, num_anchors), width), dtype)
