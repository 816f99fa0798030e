"""What a Darknet .cfg says -> the Config of yolojax; `darknet_cfg_text` is the way back.

A .cfg counts time in updates, a Config in images: the one is the other times [net] batch. The
published files are set to test, with batch=1; for a training, first set batch as in their comments.
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

SIZES = tuple(range(320, 609, 32))  # random=1 of [region]: detector.c
# Score above which a box is written, and IoU above which the worse of two is dropped: `detector
# valid` of Darknet for [region], `yolo valid` for [detection] (detector.c, yolo.c). A classifier
# has no boxes; these are the defaults.
THRESHOLDS = {
    "region": (0.005, 0.45),
    "yolov1": (0.001, 0.5),
    "classes": (EvalConfig.score_threshold, EvalConfig.iou_threshold),
}
# Darknet suppresses among all boxes above its threshold and writes all that are left. These cut
# nothing in practice, and still have static shapes.
LIMITS = {"top_k": 4096, "max_detections": 1000}


def config_from_cfg(
    cfg: Cfg,
    *,
    name: str,
    classes: tuple[str, ...] | None = None,
    text: str,
    folder: Path = Path(),
) -> Config:
    """The Config that predicts, evaluates and trains as Darknet does with this .cfg.

    * A network of NETWORKS is given by its name, any other by `text` in config.model.cfg.
    * A class tree, which the .cfg names as a file, becomes part of the config; so does the .map of
      a training's labels, by its name, if the file is there.
    * Pictures are fitted as the C program does it, letterboxed for [region] alone, and batch
      normalisation has the epsilon of its CPU form.
    * A step before the first update (Darknet's own files have steps=-1,...) scales the rate from
      the start, as was meant. Darknet itself compares it as unsigned and never leaves its rate.
    * Without max_batches, the length of the training stays that of a new Config.
    * NMS has room for as many boxes as pass the thresholds in practice, where Darknet has no limit.

    Args:
        cfg: of `parse_cfg`.
        name: of a network that is not in NETWORKS, for messages.
        classes: names in label order; None: "class 0", "class 1", ..., with a tree X.tree those in
            X.names beside it. Of more names than a classifier has outputs the first are taken, as
            Darknet does with its list for ImageNet. A name that comes twice is shown as it is, but
            config.model.classes, by which labels are found, has "crane 428" and "crane 544" for it.
        text: what `cfg` was parsed from.
        folder: where the .cfg lies, and so the files that it names.

    Raises:
        ValueError: the classes are not as many as the network's, its output is none of a YOLOv1, a
            YOLOv2 or a classifier, or its tree is not there.
    """
    known = known_name(cfg.table)
    if known and NETWORKS[known].head != cfg.head.kind:
        known = None
    score, iou = THRESHOLDS[cfg.head.kind]
    metric = "top1" if isinstance(cfg.head, Classes) else EvalConfig.metric
    model = ModelConfig(
        name=known or name,
        cfg="" if known else text,
        epsilon="cpu",
        **_class_fields(cfg, name, classes, folder),
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
    """What a ModelConfig says of the classes."""
    count, tree = _count_classes(cfg, name), getattr(cfg.head, "tree", "")
    if names is not None:
        names = names_of(names, count, name, longer=isinstance(cfg.head, Classes) and not tree)
    if not tree:
        return name_fields(names or tuple(f"class {i}" for i in range(count)))
    fields = read_tree_of(tree, folder, name)
    if len(fields["tree"]) != count:
        raise ValueError(
            f"{name}: the .cfg has {count} classes, but {tree} has {len(fields['tree'])} nodes; "
            "give the .tree that belongs to it."
        )
    return fields | ({"class_names": names} if names else {})


def names_of(names: Sequence[str], count: int, name: str, *, longer: bool) -> tuple[str, ...]:
    """The first `count` of `names`, which may be `longer`.

    Raises:
        ValueError: there are fewer, or more without `longer`; `name` is that of the network.
    """
    if len(names) < count or (len(names) > count and not longer):
        raise ValueError(
            f"{name}: the network has {count} classes, but there are {len(names)} names; give the "
            ".names file that belongs to it."
        )
    return tuple(names[:count])


def name_fields(names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """`classes` and, where names repeat, `class_names` of the ModelConfig that shows `names`."""
    times = Counter(names)
    ids = tuple(n if times[n] == 1 else f"{n} {i}" for i, n in enumerate(names))
    return {"classes": ids, "class_names": names} if ids != names else {"classes": names}


def _count_classes(cfg: Cfg, name: str) -> int:
    if not isinstance(cfg.head, Classes):
        return cfg.head.classes
    shape = output_shapes(cfg.table, (cfg.net.height, cfg.net.width, 3))[-1]
    if shape[:-1] not in ((), (1, 1)):
        raise ValueError(
            f"{name}: without [region] or [detection] this must be a classifier, but its output of "
            f"{describe(shape)} is a map; an [avgpool] makes one value a class of it."
        )
    return shape[-1]


def _model_fields(head: Head) -> dict:
    if isinstance(head, Region):
        by_itself = not (head.softmax or head.tree)  # region_layer.c, forward_region_layer
        activation = "sigmoid" if by_itself else "softmax"
        return {"anchors": head.anchors, "class_activation": activation}
    if isinstance(head, Detection):
        shape = {"boxes": head.num, "side": head.side}
        return shape | {"square_root": head.sqrt, "class_softmax": head.softmax}
    return {}


def _data_config(cfg: Cfg, folder: Path) -> DataConfig:
    net, head = cfg.net, cfg.head
    colours = {"hue": net.hue, "saturation": net.saturation, "exposure": net.exposure}
    data = DataConfig(image_size=(net.height, net.width), resize="darknet", letterbox=False)
    if isinstance(head, Classes):
        # Sides of the picture's shorter side in pixels; by default w and 2 * w (parser.c).
        least, most = net.min_crop or net.width, net.max_crop or 2 * net.width
        scales = (least / net.width, most / net.width)
        views = ClassifierAugmentConfig(
            scales=scales, angle=net.angle, aspect=net.aspect, **colours
        )
        return replace(data, classifier=views)
    if isinstance(head, Detection):
        augment = AugmentConfig(geometry="crop", jitter=head.jitter, **colours)
        return replace(data, augment=augment)
    augment = AugmentConfig(geometry="letterbox", jitter=head.jitter, **colours)
    sizes = SIZES if head.random else ()
    nodes = find_beside(head.map, folder) if head.tree and head.map else None
    data = replace(data, augment=augment, letterbox=True, multiscale=sizes)
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
    batch = net.batch // net.subdivisions * net.subdivisions  # parser.c divides whole numbers
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
        policy=net.policy,  # one that is not built here is refused when it comes to training
        step_images=tuple(step * batch for step, _ in steps),
        step_scales=tuple(scale for _, scale in steps),
        poly_power=net.power,
        momentum=net.momentum,
        weight_decay=net.decay,
    )
