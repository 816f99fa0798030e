"""Write a Config as a Darknet .cfg. Darknet reads all of them, OpenCV all but those of YOLOv1."""

import inspect
from collections.abc import Callable

from yolojax.config import Config, DataConfig, LossConfig, OptimizerConfig
from yolojax.darknet.cfg import parse_cfg
from yolojax.darknet.cfg_heads import Classes
from yolojax.models.layers import Crop, Table
from yolojax.tasks import HEAD_LOSS, LOSSES, build_model

PARTS = ("object", "noobject", "class", "coord")  # terms of a detector's loss
POLICIES = ("constant", "steps", "poly")  # learning rate policies that can be written


def cfg_text(config: Config, tree: str = "my.tree") -> str:
    """Return the .cfg of the network, head and recipe in `config`; inverse of `config_from_cfg`.

    `tree` is the file it names if the classes form a tree. A `map` is not written: Darknet needs it
    for training only, and does not start without the file.

    Settings without a key in Darknet are left out: gradient clipping, parameter averaging, learning
    rates of single layers, a burn-in power other than that of the policy poly, and differences
    between the loss and Darknet's. Loss weights that are None have the defaults of the loss.

    Raises:
        ValueError: the config names no network, or one beyond the limits of `parse_cfg`; its
            learning rate policy is not in POLICIES; or its box centres are not those of [region].
    """
    network, head = build_model(config.model)
    table = _sized(network.table, config.data.image_size)
    sections = [
        ("net", _net(config, head)),
        *((layer.section, layer.to_keys()) for layer in table),
        *_head(config, head, {"tree": tree} if config.model.tree else {}),
    ]
    text = "\n".join(_section(kind, values) for kind, values in sections)
    parse_cfg(
        text, f"the .cfg of {config.model.name}"
    )  # raises ValueError where it does not read back
    return text


def _sized(table: Table, image_size: tuple[int, int]) -> Table:
    """Set the image size in a Crop of the whole image."""
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
        **_fork_keys(views, data.letterbox, head),
        **_schedule(optimizer),
    }


def _fork_keys(views, letterbox: bool, head: str) -> dict:
    """Return the values of keys that only AlexeyAB/darknet has, where they are not the default."""
    values = {} if views.flip else {"flip": 0}
    if head != "classes" and letterbox != (head == "region"):
        values["letter_box"] = letterbox
    return values


def _crops(data: DataConfig) -> dict:
    views = data.classifier
    least, most = (round(scale * data.image_size[1]) for scale in views.scales)
    return {"angle": views.angle, "aspect": views.aspect, "min_crop": least, "max_crop": most}


def _schedule(optimizer: OptimizerConfig) -> dict:
    """Return the learning rate in updates; Darknet has one power for burn-in and poly."""
    batch, policy = optimizer.batch_size, optimizer.policy
    values = {
        "learning_rate": optimizer.learning_rate,
        "burn_in": round(optimizer.burn_in_images / batch),
        "power": optimizer.poly_power if policy == "poly" else optimizer.burn_in_power,
        "max_batches": round(optimizer.images / batch),
    }
    if policy not in POLICIES:
        raise ValueError(
            f"config.optimizer.policy is {policy!r}, but a Config does not keep the values "
            f"that belong to it in a .cfg; set one of {', '.join(POLICIES)}."
        )
    if policy == "steps" and not optimizer.step_images:
        policy = "constant"  # Darknet wants steps for policy=steps
    if policy == "steps":
        values["steps"] = tuple(round(step / batch) for step in optimizer.step_images)
        values["scales"] = optimizer.step_scales
    return values | {"policy": policy}


def _head(config: Config, head: str, files: dict) -> list[tuple[str, dict]]:
    """Return the sections below the layers: one, or none for a classifier without softmax."""
    model = config.model
    given = parse_cfg(model.cfg, model.name).head if model.cfg else Classes(softmax=True)
    if head == "classes":
        if model.temperature != 1:
            files = files | {"temperature": model.temperature}
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
        "max": config.data.max_boxes,
        **{f"{part}_scale": _weight(loss, part, make_loss) for part in PARTS},
    }


def _weight(loss: LossConfig, part: str, make_loss: Callable) -> float:
    """Return the weight of a `part` of the loss, by default that of `make_loss`."""
    name = f"{part}_weight"
    weight = getattr(loss, name)
    return inspect.signature(make_loss).parameters[name].default if weight is None else weight
