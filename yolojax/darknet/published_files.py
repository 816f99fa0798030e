"""The published .weights files, recognised by their size; see docs/weights.md."""

from pathlib import Path
from typing import NamedTuple

from yolojax.config import Config
from yolojax.darknet.cfg import Cfg
from yolojax.darknet.config import config_from_cfg
from yolojax.darknet.published_recipes import HEADS, NETS, OWN_HEADS
from yolojax.data.class_names import COCO_CLASSES, VOC_CLASSES
from yolojax.models import NETWORKS
from yolojax.models.published import PUBLISHED
from yolojax.ops.anchors import PUBLISHED_PRIORS

# Number of classes -> (their names, the metric of published results).
CLASSES = {
    20: (VOC_CLASSES, "voc07_11pt"),
    80: (COCO_CLASSES, "coco_AP50"),
    1000: (None, "top1"),  # in Darknet's order
}


class Weights(NamedTuple):
    """A published file."""

    name: str
    bytes: int
    network: str  # a key of PUBLISHED
    boxes: int | None = None  # boxes per cell, if different from PUBLISHED
    upto: int | None = None  # the file has only the layers before this Darknet index


PUBLISHED_FILES = (
    Weights("yolov1.weights", 789_312_988, "yolov1"),
    Weights("yolov1.weights (2016)", 777_018_888, "yolov1", boxes=2),
    Weights("tiny-yolov1.weights", 108_399_816, "yolov1_tiny"),
    Weights("yolo.weights (2015)", 1_086_814_216, "yolov1_paper"),
    Weights("yolo-tiny.weights", 180_357_512, "fast_yolo"),
    Weights("yolov2.weights", 203_934_260, "yolov2_coco"),
    Weights("yolov2-voc.weights", 202_704_264, "yolov2_voc"),
    Weights("yolo-voc.weights", 202_704_260, "yolov2_voc"),
    Weights("yolov2-tiny.weights", 44_948_600, "yolov2_tiny_coco"),
    Weights("yolov2-tiny-voc.weights", 63_471_556, "yolov2_tiny_voc"),
    Weights("yolo9000.weights", 195_230_020, "yolo9000"),
    Weights("darknet19.weights", 83_427_120, "darknet19"),
    Weights("darknet19_448.weights", 83_427_120, "darknet19_448"),
    Weights("darknet19_448.conv.23", 79_327_120, "darknet19_448", upto=23),
    Weights("darknet9000.weights", 117_940_920, "darknet9000"),
    Weights("extraction.weights", 93_821_616, "extraction"),
    Weights("extraction.conv.weights", 89_721_616, "extraction", upto=24),
    Weights("darknet.weights", 29_293_936, "darknet_reference"),
    Weights("tiny.weights", 4_185_968, "tiny_darknet"),
)


def of_size(size: int) -> list[Weights]:
    """Return the published files of `size` bytes."""
    return [entry for entry in PUBLISHED_FILES if entry.bytes == size]


def recognise(path: str | Path) -> Weights | None:
    """Return the published file with the size of `path`, or None.

    If several files have this size, the name decides. The file is not read.

    Raises:
        FileNotFoundError: `path` does not exist.
        ValueError: several files have this size, and none has this name.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not found; give a Darknet .weights file.")
    entries = of_size(path.stat().st_size)
    if len(entries) > 1:
        named = [e for e in entries if e.name == path.name]
        if len(named) != 1:
            raise ValueError(
                f"{path}: {' and '.join(e.name for e in entries)} have {entries[0].bytes} bytes "
                "each; give the file one of these names, or --cfg."
            )
        return named[0]
    return entries[0] if entries else None


def config_of(entry: Weights) -> Config:
    """Return the config of a published file: that of its .cfg, set to train.

    Batch normalisation has the epsilon of Darknet's CPU version, as with a .cfg. Classes without
    known names are "class 0", "class 1", ...

    Raises:
        ValueError: the model has a class tree, which only the .cfg names.
    """
    published = PUBLISHED[entry.network]
    if published.classes not in CLASSES:
        raise ValueError(
            f"{entry.name}: its {published.classes} classes form a tree, in a file that its .cfg "
            f"names; give --cfg {Path(entry.name).stem}.cfg, with 9k.tree and 9k.names next to it."
        )
    names, metric = CLASSES[published.classes]
    config = config_from_cfg(_cfg_of(entry), name=published.network, classes=names, text="")
    config.eval.metric = metric
    return config


def _cfg_of(entry: Weights) -> Cfg:
    """Return the parsed .cfg of `entry`."""
    published = PUBLISHED[entry.network]
    published = published._replace(boxes=entry.boxes or published.boxes)
    table, kind = NETWORKS[published.network]
    height, width = published.image_size
    own = {"classes": published.classes, "num": published.boxes}
    if kind == "region":
        own["anchors"] = PUBLISHED_PRIORS[entry.network]
    elif kind == "yolov1":
        own["side"] = published.side
    head = OWN_HEADS.get(entry.network, HEADS[kind])
    return Cfg(
        net=NETS[entry.network]._replace(height=height, width=width),
        table=table(published.outputs),
        head=head if kind == "classes" else head._replace(**own),
    )
