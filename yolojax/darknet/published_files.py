"""The published .weights files, recognised by their size and name; see docs/weights.md."""

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
# Well-known files of networks that are not built here, by their size: from the .cfg files of
# AlexeyAB/darknet, with a header of 20 bytes.
NOT_BUILT = {
    246_714_648: "yolov3-voc.weights",
    248_007_048: "yolov3.weights",
    252_209_544: "yolov3-spp.weights",
    259_229_388: "yolov3-openimages.weights",
    35_434_956: "yolov3-tiny.weights",
    36_039_888: "yolov3-tiny_3l.weights",
    19_759_052: "yolov3-tiny-prn.weights",
    246_585_408: "Gaussian_yolov3_BDD.weights",
    228_123_400: "csresnext50-panet-spp.weights",
    19_233_100: "enet-coco.weights",
    257_717_640: "yolov4.weights",
    24_251_276: "yolov4-tiny.weights",
    25_336_200: "yolov4-tiny-3l.weights",
    211_944_840: "yolov4-csp.weights",
    399_388_168: "yolov4x-mish.weights",
    283_669_892: "yolov4-p5.weights",
    510_868_180: "yolov4-p6.weights",
    24_967_560: "yolov7-tiny.weights",
    147_898_248: "yolov7.weights",
    285_638_760: "yolov7x.weights",
}


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


def has_its_name(path: str | Path, entry: Weights) -> bool:
    """Return whether the file is called as `entry`, or as another file of its network."""
    names = {known.name.split()[0] for known in PUBLISHED_FILES if known.network == entry.network}
    return Path(path).name in names


def explain(path: str | Path, entry: Weights | None) -> str:
    """Return what the user should know of .weights without a .cfg; `entry` is from `recognise`.

    For a published file under its name, that is "". Others may be somebody's own weights of the
    same network: those have the same length. Without an entry it is an error.
    """
    path = Path(path)
    if entry is None:
        size = path.stat().st_size
        what = f"no published file has {size} bytes"
        if size in NOT_BUILT:
            what = (
                f"its {size} bytes are those of {NOT_BUILT[size]}, whose network is not built here"
            )
        return (
            f"{path}: a .weights file does not describe its network, and {what}; give --cfg or "
            f"--config, or put {path.stem}.cfg next to it."
        )
    if has_its_name(path, entry):
        return ""
    return (
        f"{path}: taken for {entry.name} by its length; if it is yours, give --cfg and --names, or "
        f"put {path.stem}.cfg and {path.stem}.names next to it."
    )


def class_names(entry: Weights) -> tuple[str, ...] | None:
    """Return the names of the classes of a published file, or None where they are not known."""
    return CLASSES.get(PUBLISHED[entry.network].classes, (None, ""))[0]


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
