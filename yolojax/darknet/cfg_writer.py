"""A Config -> the text of a Darknet .cfg, which Darknet reads, and OpenCV all of but YOLOv1's."""

import inspect
from collections.abc import Callable

from yolojax.config import Config, DataConfig, LossConfig, OptimizerConfig
from yolojax.darknet.cfg import parse_cfg
from yolojax.darknet.cfg_heads import Classes
from yolojax.models.layers import (
    AvgPool,
    Connected,
    Conv,
    Crop,
    Dropout,
    Layer,
    Local,
    MaxPool,
    Reorg,
    Route,
    Table,
)
from yolojax.tasks import HEAD_LOSS, LOSSES, build_model

PARTS = ("object", "noobject", "class", "coord")  # of a detector's loss
POLICIES = ("constant", "steps", "poly")  # of the learning rate: those that are built here


def cfg_text(config: Config, tree: str = "my.tree") -> str:
    """The .cfg of the network, head and recipe in `config`; the inverse of `config_from_cfg`.

    `tree` is the file that it names where the classes form a tree. Of a `map`, which Darknet needs
    in training alone, nothing is said: without the file it would not even start.

    What Darknet has no key for is left out: the gradient's norm, the average of parameters, rates
    of single layers, a burn-in with another power than the policy poly, and how a loss differs from
    Darknet's. Weights of the loss that the config leaves open are the loss's own.

    Raises:
        ValueError: the config names no network, or one beyond the limits of `parse_cfg`; its policy
            has keys that a Config does not keep; or its centres are not those of [region].
    """
    network, head = build_model(config.model)
    sections = [
        ("net", _net(config, head)),
        *(LAYERS[type(layer)](layer) for layer in _sized(network.table, config.data.image_size)),
        *_head(config, head, {"tree": tree} if config.model.tree else {}),
    ]
    text = "\n".join(_section(kind, values) for kind, values in sections)
    parse_cfg(text, f"the .cfg of {config.model.name}")  # what is given away must read back
    return text


def _sized(table: Table, image_size: tuple[int, int]) -> Table:
    """`table` with the size of the images in a Crop that leaves them whole."""
    return tuple(Crop(*image_size) if layer == Crop() else layer for layer in table)


def _section(kind: str, values: dict) -> str:
    return f"[{kind}]\n" + "".join(f"{key}={_value(value)}\n" for key, value in values.items())


def _value(value) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_value, value))
    return str(int(value)) if isinstance(value, bool) else str(value)


def _net(config: Config, head: str) -> dict:
    data, optimizer = config.data, config.optimizer
    height, width = data.image_size
    views = data.classifier if head == "classes" else data.augment
    return {
        "batch": optimizer.batch_size,
        "subdivisions": optimizer.subdivisions,
        "height": height,
        "width": width,
        "channels": 3,
        "momentum": optimizer.momentum,
        "decay": optimizer.weight_decay,
        **(_crops(data) if head == "classes" else {}),
        "saturation": views.saturation,
        "exposure": views.exposure,
        "hue": views.hue,
        **_schedule(optimizer),
    }


def _crops(data: DataConfig) -> dict:
    views = data.classifier
    least, most = (round(scale * data.image_size[1]) for scale in views.scales)
    return {"angle": views.angle, "aspect": views.aspect, "min_crop": least, "max_crop": most}


def _schedule(optimizer: OptimizerConfig) -> dict:
    """The learning rate, in updates; Darknet has one power for burn-in and poly."""
    batch, policy = optimizer.batch_size, optimizer.policy
    values = {
        "learning_rate": optimizer.learning_rate,
        "burn_in": round(optimizer.burn_in_images / batch),
        "power": optimizer.poly_power if policy == "poly" else optimizer.burn_in_power,
        "max_batches": round(optimizer.images / batch),
    }
    if policy not in POLICIES:
        raise ValueError(
            f"config.optimizer.policy is {policy!r}, but a Config does not keep the values that "
            f"belong to it in a .cfg; set one of {', '.join(POLICIES)} where this model comes from."
        )
    if policy == "steps" and not optimizer.step_images:
        policy = "constant"  # Darknet wants steps for policy=steps
    if policy == "steps":
        values["steps"] = tuple(round(step / batch) for step in optimizer.step_images)
        values["scales"] = optimizer.step_scales
    return values | {"policy": policy}


LAYERS = {
    Conv: lambda layer: ("convolutional", _conv(layer)),
    Local: lambda layer: ("local", _window(layer) | {"pad": layer.padding} | _activation(layer)),
    Connected: lambda layer: ("connected", _connected(layer)),
    MaxPool: lambda layer: ("maxpool", _max_pool(layer)),
    AvgPool: lambda layer: ("avgpool", {}),
    Route: lambda layer: ("route", {"layers": layer.layers}),
    Reorg: lambda layer: ("reorg", {"stride": layer.stride}),
    Dropout: lambda layer: ("dropout", {"probability": layer.rate}),
    Crop: lambda layer: ("crop", {"crop_height": layer.height, "crop_width": layer.width}),
}


def _conv(layer: Conv) -> dict:
    # pad=1 is Darknet's word for size // 2.
    padding = {"pad": 1} if layer.padding is None else {"padding": layer.padding}
    return _norm(layer) | _window(layer) | padding | _activation(layer)


def _connected(layer: Connected) -> dict:
    return _norm(layer) | {"output": layer.outputs} | _activation(layer)


def _max_pool(layer: MaxPool) -> dict:
    values = {"size": layer.size, "stride": layer.stride}
    return values if layer.padding is None else values | {"padding": layer.padding}


def _norm(layer: Layer) -> dict:
    return {"batch_normalize": 1} if layer.batch_norm else {}


def _window(layer: Layer) -> dict:
    return {"filters": layer.filters, "size": layer.size, "stride": layer.stride}


def _activation(layer: Layer) -> dict:
    return {"activation": layer.activation}


def _head(config: Config, head: str, files: dict) -> list[tuple[str, dict]]:
    """The sections behind the layers: one, or none where a classifier's .cfg had no softmax."""
    model = config.model
    given = parse_cfg(model.cfg, model.name).head if model.cfg else Classes(softmax=True)
    if head == "classes":
        return [("softmax", {"groups": 1} | files)] if given.softmax else []
    if head == "yolov1":
        return [("detection", _detection(config))]
    return [("region", _region(config) | files)]


def _region(config: Config) -> dict:
    anchors, loss = config.model.anchors, config.loss
    if config.model.location != "sigmoid":
        raise ValueError(
            f"config.model.location is {config.model.location!r}, but Darknet's [region] keeps "
            "centres in their cells and finds others in these outputs; a .cfg can hold a model "
            "trained with 'sigmoid' alone. Export this one as .safetensors, .onnx or .stablehlo."
        )
    return {
        "anchors": tuple(side for anchor in anchors for side in anchor),
        "bias_match": loss.assignment != "predicted_shape",
        "num": len(anchors),
        "softmax": config.model.class_activation == "softmax",
        "absolute": 1,
        "thresh": loss.ignore_threshold,
        "random": bool(config.data.multiscale),
        **_shared(config, "region"),
    }


def _detection(config: Config) -> dict:
    model = config.model
    return {
        "side": model.side,
        "num": model.boxes,
        "sqrt": model.square_root,
        "softmax": model.class_softmax,
        **_shared(config, "yolov1"),
    }


def _shared(config: Config, head: str) -> dict:
    loss, make_loss = config.loss, LOSSES[HEAD_LOSS[head]].make
    return {
        "classes": len(config.model.classes),
        "coords": 4,
        "jitter": config.data.augment.jitter,
        "rescore": loss.rescore,
        **{f"{part}_scale": _weight(loss, part, make_loss) for part in PARTS},
    }


def _weight(loss: LossConfig, part: str, make_loss: Callable) -> float:
    """The weight of a `part` of the loss; where the config has none that of `make_loss`."""
    name = f"{part}_weight"
    weight = getattr(loss, name)
    return inspect.signature(make_loss).parameters[name].default if weight is None else weight
