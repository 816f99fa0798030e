"""Networks by name. Each maps images [B, h, w, 3] to raw, which its head decodes."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from yolojax.models import classifier, yolov1, yolov2
from yolojax.models.layers import Table, scale_width
from yolojax.models.network import Network
from yolojax.suggestions import did_you_mean


class Architecture(NamedTuple):
    """A network with any number of outputs."""

    table: Callable[[int], Table]  # outputs of the last layer -> its layers
    head: str  # "region" (v2, 9000), "yolov1" or "classes"


NETWORKS: dict[str, Architecture] = {
    "yolov2": Architecture(yolov2.yolov2, "region"),
    "yolov2_plain": Architecture(yolov2.yolov2_plain, "region"),
    "yolov2_extraction": Architecture(yolov2.yolov2_extraction, "region"),
    "yolov2_tiny_voc": Architecture(yolov2.yolov2_tiny_voc, "region"),
    "yolov2_tiny_coco": Architecture(yolov2.yolov2_tiny_coco, "region"),
    "yolo9000": Architecture(yolov2.yolo9000, "region"),
    "yolov1": Architecture(yolov1.yolov1, "yolov1"),
    "yolov1_paper": Architecture(yolov1.yolov1_paper, "yolov1"),
    "yolov1_tiny": Architecture(yolov1.yolov1_tiny, "yolov1"),
    "fast_yolo": Architecture(yolov1.fast_yolo, "yolov1"),
    "darknet19": Architecture(classifier.darknet19, "classes"),
    "extraction": Architecture(classifier.extraction, "classes"),
    "darknet_reference": Architecture(classifier.darknet_reference, "classes"),
    "tiny_darknet": Architecture(classifier.tiny_darknet, "classes"),
}


def build_network(
    name: str,
    outputs: int,
    *,
    width: float = 1.0,
    dtype: jnp.dtype = jnp.float32,
    epsilon: str = "gpu",
    precision: str | None = None,
    fast_forms: str = "auto",
) -> Network:
    """Build the network `name`.

    Args:
        name: a key of NETWORKS.
        outputs: of its last layer; see `count_outputs`.
        width: factor on the filters of all other layers.
        dtype: of the computation; parameters are float32.
        epsilon: as of Network.
        precision: as of Network.
        fast_forms: as of Network.

    Raises:
        ValueError: `name` is not in NETWORKS, or `width` is not above 0.
    """
    if name not in NETWORKS:
        hint = did_you_mean(name, NETWORKS)
        raise ValueError(f"network {name!r} is unknown; known: {', '.join(NETWORKS)}.{hint}")
    table = scale_width(NETWORKS[name].table(outputs), width)
    return Network(table, dtype, epsilon, precision, fast_forms)


def count_outputs(head: str, *, classes: int, boxes: int = 0, side: int = 0) -> int:
    """Return the outputs of the last layer that `head` needs.

    `boxes` is the number of anchors (region) or of boxes per cell (yolov1), `side` the number of
    cells in a row (yolov1).
    """
    if head == "region":
        return boxes * (5 + classes)
    return side**2 * (classes + 5 * boxes) if head == "yolov1" else classes
