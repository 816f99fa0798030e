"""Convert a Darknet .cfg to a Config; `cfg_writer.cfg_text` is the inverse.

A .cfg counts its schedule in updates, a Config in images: images = updates * batch of [net]. The
published files are set to test with batch=1; to train, first set batch as in their comments.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from yolojax.config import (
    AugmentConfig,
    ClassifierAugmentConfig,
    Config,
    DataConfig,
    EvalConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
)
from yolojax.darknet.cfg import Cfg, known_name
from yolojax.darknet.cfg_heads import Classes, Detection, Head, Net, Region
from yolojax.darknet.tree import find_beside, read_tree_of
from yolojax.models import NETWORKS
from yolojax.models.layers import describe, output_shapes
from yolojax.models.network import image_multiple

SIZES = tuple(range(320, 609, 32))  # random=1 of [region], detector.c
# Score and NMS thresholds of Darknet's `detector valid` for [region] and `yolo valid` for
# [detection] (detector.c, yolo.c). A classifier has no boxes and keeps the defaults.
THRESHOLDS = {
    "region": (0.005, 0.45),
    "yolov1": (0.001, 0.5),
    "classes": (EvalConfig.score_threshold, EvalConfig.iou_threshold),
}
# Darknet has no limit on the number of boxes. These limits are not reached in practice.
LIMITS = {"top_k": 4096, "max_detections": 1000}


def config_from_cfg(
    cfg: Cfg,
    *,
    name: str,
    classes: tuple[str, ...] | None = None,
    text: str,
    folder: Path = Path(),
) -> Config:
    """Return the Config that predicts, evaluates and trains as Darknet does with this .cfg.

    * A network of NETWORKS is set by its name. Any other, and one whose image size the pools round
      up, is set by `text` in config.model.cfg.
    * A class tree becomes part of the config. The .map of the training labels is set as a path if
      the file exists.
    * Images are resized as in the C program, with letterboxing for [region] only unless [net] has
      letter_box, and batch normalisation has the epsilon of its CPU version.
    * A step before the first update (Darknet's files have steps=-1,...) scales the learning rate
      from the start, as intended. Darknet compares it as unsigned and never reaches it.
    * Without max_batches, the length of the training is that of a default Config.

    Args:
        cfg: from `parse_cfg`.
        name: of the network, if it is not in NETWORKS.
        classes: names in the order of the labels. Default: "class 0", "class 1", ...; with a tree
            X.tree the names in X.names next to it. A classifier uses the first names of a longer
            list, as Darknet does for ImageNet. Names that repeat are displayed as they are;
            config.model.classes has "crane 428" and "crane 544", which identify the labels.
        text: of the .cfg.
        folder: of the .cfg; its files are searched there.

    Raises:
        ValueError: the number of classes does not fit the network, its output is not that of a
            YOLOv1, a YOLOv2 or a classifier, or its tree is missing.
    """
    known = known_name(cfg.table)
    rounded = any(side % image_multiple(cfg.table) for side in (cfg.net.height, cfg.net.width))
    if known and (rounded or NETWORKS[known].head != cfg.head.kind):
        known = None
    score, iou = THRESHOLDS[cfg.head.kind]
    metric = "top1" if isinstance(cfg.head, Classes) else EvalConfig.metric
    model = ModelConfig(
        name=known or name,
        cfg="" if known else text,
        epsilon="cpu",
        **_class_fields(cfg, cfg.file or name, classes, folder),
        **_model_fields(cfg.head),
    )
    return Config(
        model=model,
        data=_data_config(cfg, folder),
        loss=_loss_config(cfg.head),
        optimizer=_optimizer_config(cfg.net),
        eval=EvalConfig(score_threshold=score, iou_threshold=iou, metric=metric, **LIMITS),
    )


def _class_fields(cfg: Cfg, name: str, names: tuple[str, ...] | None, folder: Path) -> dict:
    """Return the fields of a ModelConfig for the classes."""
    count, tree = _count_classes(cfg, name), getattr(cfg.head, "tree", "")
    if names is not None:
        names = names_of(names, count, name, longer=isinstance(cfg.head, Classes) and not tree)
    if not tree:
        return name_fields(names or tuple(f"class {i}" for i in range(count)))
    fields = read_tree_of(tree, folder, name)
    if len(fields["tree"]) != count:
        raise ValueError(
            f"{name}: the .cfg has {count} classes, but {tree} has {len(fields['tree'])} nodes; "
            "give the .tree of this network."
        )
    return fields | ({"class_names": names} if names else {})


def names_of(names: Sequence[str], count: int, name: str, *, longer: bool) -> tuple[str, ...]:
    """Return the first `count` of `names`; there may be more only if `longer`.

    Raises:
        ValueError: the number of names does not fit the network `name`.
    """
    if len(names) < count or (len(names) > count and not longer):
        raise ValueError(
            f"{name}: the network has {count} classes, but there are {len(names)} names; give the "
            ".names file of this network."
        )
    return tuple(names[:count])


def name_fields(names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return `classes` and, if names repeat, `class_names` of the ModelConfig for `names`."""
    times = Counter(names)
    ids = tuple(n if times[n] == 1 else f"{n} {i}" for i, n in enumerate(names))
    return {"classes": ids, "class_names": names} if ids != names else {"classes": names}


def _count_classes(cfg: Cfg, name: str) -> int:
    if not isinstance(cfg.head, Classes):
        return cfg.head.classes
    shape = output_shapes(cfg.table, (cfg.net.height, cfg.net.width, 3))[-1]
    if shape[:-1] not in ((), (1, 1)):
        raise ValueError(
            f"{name}: without [region] or [detection] this must be a classifier, but its output "
            f"{describe(shape)} is a map; add an [avgpool] to get one value per class."
        )
    return shape[-1]


def _model_fields(head: Head) -> dict:
    if isinstance(head, Region):
        softmax = head.softmax or head.tree  # region_layer.c, forward_region_layer
        activation = "softmax" if softmax else "sigmoid"
        return {"anchors": head.anchors, "class_activation": activation}
    if isinstance(head, Detection):
        shape = {"boxes": head.num, "side": head.side}
        return shape | {"square_root": head.sqrt, "class_softmax": head.softmax}
    return {"temperature": head.temperature}


def _data_config(cfg: Cfg, folder: Path) -> DataConfig:
    net, head = cfg.net, cfg.head
    colours = {"hue": net.hue, "saturation": net.saturation, "exposure": net.exposure}
    letterbox = isinstance(head, Region) if net.letter_box is None else net.letter_box
    size = (net.height, net.width)
    data = DataConfig(image_size=size, resize="darknet", letterbox=letterbox)
    flip = AugmentConfig.flip if net.flip else 0.0
    if isinstance(head, Classes):
        # Range of the shorter side in pixels; default w to 2 * w (parser.c).
        least, most = net.min_crop or net.width, net.max_crop or 2 * net.width
        scales = (least / net.width, most / net.width)
        views = ClassifierAugmentConfig(
            scales=scales, angle=net.angle, aspect=net.aspect, flip=flip, **colours
        )
        return replace(data, classifier=views)
    data = replace(data, max_boxes=head.max)
    if isinstance(head, Detection):
        augment = AugmentConfig(geometry="crop", jitter=head.jitter, flip=flip, **colours)
        return replace(data, augment=augment)
    geometry = "letterbox" if letterbox else "crop"
    augment = AugmentConfig(geometry=geometry, jitter=head.jitter, flip=flip, **colours)
    sizes = SIZES if head.random else ()
    nodes = find_beside(head.map, folder) if head.tree and head.map else None
    data = replace(data, augment=augment, multiscale=sizes)
    return replace(data, map=str(nodes)) if nodes else data


def _loss_config(head: Head) -> LossConfig:
    if isinstance(head, Classes):
        return LossConfig()
    parts = ("coord", "object", "noobject", "class")
    weights = {f"{part}_weight": getattr(head, f"{part}_scale") for part in parts}
    loss = LossConfig(rescore=head.rescore, **weights)
    if isinstance(head, Detection):
        return loss
    assignment = "prior" if head.bias_match else "predicted_shape"
    return replace(loss, assignment=assignment, ignore_threshold=head.thresh)


def _optimizer_config(net: Net) -> OptimizerConfig:
    batch = net.batch // net.subdivisions * net.subdivisions  # integer division, parser.c
    steps = list(zip(net.steps, net.scales, strict=True)) if net.policy == "steps" else []
    at_once = math.prod(scale for step, scale in steps if step <= 0)
    steps = [(step, scale) for step, scale in steps if step > 0]
    return OptimizerConfig(
        batch_size=batch,
        subdivisions=net.subdivisions,
        images=net.max_batches * batch or OptimizerConfig.images,
        learning_rate=net.learning_rate * at_once,
        burn_in_images=net.burn_in * batch,
        burn_in_power=net.power,
        policy=net.policy,  # an unsupported policy raises an error at training
        step_images=tuple(step * batch for step, _ in steps),
        step_scales=tuple(scale for _, scale in steps),
        poly_power=net.power,
        momentum=net.momentum,
        weight_decay=net.decay,
    )
