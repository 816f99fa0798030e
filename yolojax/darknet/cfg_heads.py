"""The sections around the layers of a .cfg: [net] above them, the head below.

Defaults are those of Darknet's parser.c.
"""

from typing import NamedTuple

from yolojax.darknet.cfg_keys import check_keys, check_required
from yolojax.darknet.cfg_sections import (
    Section,
    flag,
    integer,
    number,
    numbers,
    path,
    word,
)

MAX_SIDE = 8192  # of the images, in pixels
MAX_CLASSES = 65536
MAX_BOXES = 500  # of a cell
MAX_CELLS = 1000  # in a row
MAX_TRUTHS = 100_000  # ground-truth boxes of a picture
NET_FIXED = {"channels": 3, "time_steps": 1}
NET_IGNORED = (
    "B1", "B2", "center", "clip", "eps", "gamma", "inputs", "log", "max_ratio", "min_ratio",
    "notruth", "random", "scale", "seen", "step",
)  # fmt: skip
# Keys of every section but [net]: ignored ones, and those that change a .weights file.
IGNORED = ("learning_rate", "onlyforward", "smooth", "stopbackward", "truth")
FIXED = {"dontload": 0, "dontloadscales": 0, "dontsave": 0, "numload": 0}
POLICIES = ("constant", "exp", "poly", "random", "sgdr", "sigmoid", "step", "steps")


class Net(NamedTuple):
    """The [net] section: the images and the training recipe."""

    height: int
    width: int
    batch: int  # images of an update
    subdivisions: int
    learning_rate: float
    momentum: float
    decay: float
    burn_in: int  # updates
    power: float  # of the burn-in, and of the policy poly
    policy: str
    steps: tuple[int, ...]  # updates; Darknet's own files have a -1
    scales: tuple[float, ...]
    max_batches: int  # updates; 0 is no end
    saturation: float
    exposure: float
    hue: float
    angle: float  # degrees; this and the next three are for classifiers
    aspect: float
    min_crop: int  # pixels; 0 is `width`
    max_crop: int  # pixels; 0 is twice `width`
    flip: bool = True  # this and the next one are keys of AlexeyAB/darknet
    letter_box: bool | None = None  # pad pictures to the aspect of the network; None: by the head


class Region(NamedTuple):
    """The [region] section: the head of YOLOv2 and YOLO9000."""

    kind = "region"
    anchors: tuple[tuple[float, float], ...]  # (w, h) in cells
    classes: int
    num: int
    softmax: bool  # over the classes; without softmax and tree each class has a sigmoid
    tree: str  # file of a class hierarchy
    map: str  # file of the node for each label
    rescore: bool
    bias_match: bool
    jitter: float
    random: bool  # training at several sizes
    thresh: float
    object_scale: float
    noobject_scale: float
    class_scale: float
    coord_scale: float
    max: int = 30  # ground-truth boxes of a picture in training


class Detection(NamedTuple):
    """The [detection] section: the head of YOLOv1."""

    kind = "yolov1"
    classes: int
    side: int
    num: int
    sqrt: bool
    rescore: bool
    softmax: bool
    jitter: float
    random: bool  # the responsible box of a cell is random early in training
    object_scale: float
    noobject_scale: float
    class_scale: float
    coord_scale: float
    max: int = 30  # ground-truth boxes of a picture in training


class Classes(NamedTuple):
    """The end of a classifier: [softmax], [cost], both or nothing."""

    kind = "classes"
    softmax: bool = False
    tree: str = ""  # file of a class hierarchy
    temperature: float = 1.0  # of the softmax


Head = Region | Detection | Classes


def read_net(section: Section) -> Net:
    """Read [net].

    As in all of this file, a value that is out of range or does not fit another one becomes a
    problem of the section.
    """
    check_keys(section, Net._fields, NET_FIXED, NET_IGNORED)
    check_required(section, "channels", 3)
    batch = integer(section, "batch", 1, 1, 65536)
    subdivisions = integer(section, "subdivisions", 1, 1, 65536)
    if subdivisions > batch:
        section.refuse("subdivisions", f"must be at most batch, which is {batch}")
    letter_box = flag(section, "letter_box") if "letter_box" in section.values else None
    net = Net(
        height=integer(section, "height", None, 1, MAX_SIDE),
        width=integer(section, "width", None, 1, MAX_SIDE),
        batch=batch,
        subdivisions=subdivisions,
        learning_rate=number(section, "learning_rate", 0.001, 0, 1e6),
        momentum=number(section, "momentum", 0.9, 0, 1),
        decay=number(section, "decay", 0.0001, 0, 1e6),
        burn_in=integer(section, "burn_in", 0, 0, 10**9),
        power=number(section, "power", 4, 0, 100),
        policy=word(section, "policy", "constant", POLICIES),
        steps=numbers(section, "steps", -1, 10**9, whole=True),
        scales=numbers(section, "scales", 0, 1e6),
        max_batches=integer(section, "max_batches", 0, 0, 10**9),
        saturation=number(section, "saturation", 1, 1e-3, 1e3),
        exposure=number(section, "exposure", 1, 1e-3, 1e3),
        hue=number(section, "hue", 0, 0, 1),
        angle=number(section, "angle", 0, 0, 360),
        aspect=number(section, "aspect", 1, 1e-3, 1e3),
        min_crop=integer(section, "min_crop", 0, 0, MAX_SIDE),
        max_crop=integer(section, "max_crop", 0, 0, MAX_SIDE),
        flip=bool(integer(section, "flip", 1, 0, 1)),
        letter_box=letter_box,
    )
    if net.policy == "steps" and not section.refused & {"steps", "scales"}:
        _check_steps(section, net)
    return net


def _check_steps(section: Section, net: Net) -> None:
    if not net.steps or list(net.steps) != sorted(net.steps):
        section.refuse("steps", "must rise, as in steps=400000,450000, for policy=steps")
    elif len(net.scales) != len(net.steps):
        section.refuse("scales", f"must have a number for each of the {len(net.steps)} steps")


def read_head(tail: list[Section]) -> Head:
    """Read the head from the last sections of a .cfg, the first of which is in TAILS."""
    head = TAILS[tail[0].kind](tail[0]) if tail else Classes()
    for section in tail[1:]:
        _read_cost(section)
    return head


def _read_region(section: Section) -> Region:
    fixed = {"background": 0, "classfix": 0, "coords": 4, "log": 0, "sqrt": 0}
    fixed |= {"new_coords": 0, "scale_x_y": 1}
    check_keys(section, Region._fields, FIXED | fixed, (*IGNORED, "absolute", "mask_scale"))
    num = integer(section, "num", 1, 1, MAX_BOXES)
    priors = numbers(section, "anchors", 1e-6, 1e6)
    if len(priors) != 2 * num and not section.refused & {"anchors", "num"}:
        rule = (
            f"must have the width and height of num={num} anchors; {len(priors)} numbers are there"
        )
        section.refuse("anchors", rule)
    return Region(
        anchors=tuple(zip(priors[::2], priors[1::2], strict=False)),
        classes=integer(section, "classes", 20, 1, MAX_CLASSES),
        num=num,
        softmax=flag(section, "softmax"),
        tree=path(section, "tree"),
        map=path(section, "map"),
        bias_match=flag(section, "bias_match"),
        thresh=number(section, "thresh", 0.5, 0, 1),
        **_shared(section),
    )


def _read_detection(section: Section) -> Detection:
    fixed = {"coords": 4, "forced": 0, "reorg": 0}
    check_keys(section, Detection._fields, FIXED | fixed, IGNORED)
    check_required(section, "coords", 4)
    return Detection(
        classes=integer(section, "classes", 1, 1, MAX_CLASSES),
        side=integer(section, "side", 7, 1, MAX_CELLS),
        num=integer(section, "num", 1, 1, MAX_BOXES),
        sqrt=flag(section, "sqrt"),
        softmax=flag(section, "softmax"),
        **_shared(section),
    )


def _shared(section: Section) -> dict:
    """Read the keys that [region] and [detection] share."""
    scales = ("object_scale", "noobject_scale", "class_scale", "coord_scale")
    return {
        "rescore": flag(section, "rescore"),
        "jitter": number(section, "jitter", 0.2, 0, 1),
        "random": _random(section),
        "max": integer(section, "max", 30, 1, MAX_TRUTHS),
        **{key: number(section, key, 1, 0, 1e6) for key in scales},
    }


def _random(section: Section) -> bool:
    """Read random: 0 or 1, and in AlexeyAB/darknet also the largest factor of the size."""
    value = number(section, "random", 0, 0, 100)
    if value not in (0, 1):
        section.report.notes.append(f"random={value:g} is taken as 1")
    return value > 0


def _read_softmax(section: Section) -> Classes:
    fixed = {"groups": 1, "spatial": 0}
    check_keys(section, ("tree", "temperature"), FIXED | fixed, (*IGNORED, "noloss"))
    tree, temperature = path(section, "tree"), number(section, "temperature", 1, 1e-6, 1e6)
    if tree and temperature != 1:
        section.refuse("temperature", "with a tree only temperature=1 is built here")
    return Classes(softmax=True, tree=tree, temperature=temperature)


def _read_cost(section: Section) -> Classes:
    check_keys(section, (), FIXED, (*IGNORED, "noobj", "ratio", "scale", "thresh", "type"))
    return Classes()


TAILS = {
    "region": _read_region,
    "detection": _read_detection,
    "softmax": _read_softmax,
    "cost": _read_cost,
}
