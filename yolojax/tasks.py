"""The one place where the names in a config become functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from yolojax.config import Config
from yolojax.heads import yolov2
from yolojax.losses.region import region_loss
from yolojax.models import NETWORKS, build_network
from yolojax.naming import did_you_mean

LOSSES = {"region": region_loss}
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class Task(NamedTuple):
    """A network and what its raw output means."""

    model: Any  # linen module: images [B, h, w, 3] in 0..1 -> raw [B, H, W, A * (5 + C)]
    decode: Callable  # raw -> Predictions(boxes, objectness, class_probs)
    loss: Callable  # (raw, batch, seen) -> (scalar, {name: scalar})


def build(config: Config) -> Task:
    """The task that `config` describes.

    Raises:
        ValueError: a name is unknown, or the model lacks its classes or anchors.
    """
    model, loss = config.model, config.loss
    choose("model.name", model.name, NETWORKS)
    for name in ("classes", "anchors"):
        if not getattr(model, name):
            raise ValueError(f"config.model.{name} is empty; a detector needs at least one.")
    network = build_network(
        model.name,
        num_classes=len(model.classes),
        num_anchors=len(model.anchors),
        width=model.width,
        dtype=choose("model.dtype", model.dtype, DTYPES),
    )
    make_loss = choose("loss.name", loss.name, LOSSES)
    settings = {k: v for k, v in vars(loss).items() if k != "name"}
    return Task(
        model=network,
        decode=lambda raw: yolov2.decode(raw, model.anchors),
        loss=make_loss(anchors=model.anchors, **settings),
    )


def choose(field: str, name: str, table: dict):
    """`table[name]`, or a ValueError that names the config field and the nearest known name."""
    if name in table:
        return table[name]
    hint = did_you_mean(name, table)
    raise ValueError(f"config.{field} is {name!r}; known: {', '.join(table)}.{hint}")


def to_float(image):
    """uint8 [..., 3] -> float32 in 0..1, what every network takes; floats pass."""
    return image.astype(jnp.float32) / 255 if image.dtype == jnp.uint8 else image
