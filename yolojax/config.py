"""The config of an experiment: typed dataclasses, how they are read, and overrides of their fields.

A config file has a function `get_config` that returns a `Config`. `--config.FIELD=VALUE` overrides
any field. Schedules are counted in training images, so the batch size and the number of devices do
not change them.
"""

import ast
import dataclasses
import functools
import importlib.util
import json
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import get_args

from yolojax.config_ranges import check_ranges, check_training
from yolojax.config_values import LONGEST, converted, read_fields, required_kind
from yolojax.json_files import to_json
from yolojax.suggestions import did_you_mean

PACKAGE = Path(__file__).parent
# A wheel has the shipped configs in the package, a checkout next to it.
CONFIGS = PACKAGE / "configs" if (PACKAGE / "configs").is_dir() else PACKAGE.parent / "configs"


@dataclass
class ModelConfig:
    """The network, its width, and the meaning of its outputs."""

    name: str = "yolov2"  # a key of yolojax.models.NETWORKS
    classes: tuple[str, ...] = ()  # names in the order of the labels; 9000: wnids of the nodes
    anchors: tuple[tuple[float, float], ...] = ()  # v2: priors (w, h) in cells of the /32 grid
    tree: tuple[int, ...] = ()  # 9000: the parent of each class in its WordTree, -1 for a root
    class_names: tuple[str, ...] = ()  # printed instead of `classes`; need not be unique
    tree_file: str = ""  # a .tree file, or the name of a shipped one; sets classes, names and tree
    boxes: int = 2  # v1: boxes per cell (the paper's B)
    side: int = 7  # v1: cells in a row (the paper's S)
    square_root: bool = True  # v1: the output is the square root of width and height
    class_softmax: bool = False  # v1: a softmax over the classes of a cell
    temperature: float = 1.0  # classifier: divides the logits before the softmax; not with a tree
    class_activation: str = "softmax"  # v2: or "sigmoid", for independent classes
    location: str = "sigmoid"  # v2: or "anchor": unbounded offsets, as before YOLO9000
    width: float = 1.0  # multiplies the filters of every layer but the last
    cfg: str = ""  # the text of a Darknet .cfg; its layers replace those of `name`
    epsilon: str = "gpu"  # in inference: sqrt(var + 1e-5); "cpu": sqrt(var) + 1e-6, as in Darknet
    dtype: str = "float32"  # of the computation; parameters, statistics and loss stay float32
    fast_forms: str = "auto"  # of layers on each platform; "off": the plain layers only
    precision: str = "default"  # of float32 products: "tensorfloat32", "float32"; "default": XLA's

    @property
    def shown(self) -> tuple[str, ...]:
        """The printed name of each class."""
        return self.class_names or self.classes


@dataclass
class AugmentConfig:
    """Darknet's augmentation of training images (data.c), with the values of yolov2-voc.cfg."""

    geometry: str = "letterbox"  # Darknet's loader since 2017; "crop": before; "none"
    jitter: float = 0.3  # change of the aspect (letterbox) or of each edge (crop), as a fraction
    flip: float = 0.5  # probability of a left-right flip
    hue: float = 0.1  # largest shift, as a fraction of the circle
    saturation: float = 1.5  # largest factor; its inverse is the smallest
    exposure: float = 1.5  # largest factor; its inverse is the smallest


@dataclass
class ClassifierAugmentConfig:
    """Darknet's augmentation for classifiers (data.c), with the values of darknet19.cfg."""

    scales: tuple[float, float] = (0.5, 1.75)  # shorter side of the picture, in sides of the input
    angle: float = 7.0  # largest rotation in degrees
    aspect: float = 0.75  # smallest factor; its inverse is the largest
    flip: float = 0.5  # probability of a left-right flip
    hue: float = 0.1  # largest shift, as a fraction of the circle
    saturation: float = 0.75  # smallest factor; its inverse is the largest
    exposure: float = 0.75  # smallest factor; its inverse is the largest


@dataclass
class DataConfig:
    """The data sets, and how their pictures become images of the network."""

    train: str = "shapes:train"  # a SOURCE, or several joined with +
    val: str = "shapes:val"  # the SOURCE evaluated during training and by `yolojax eval`
    labelled: str = ""  # 9000: a SOURCE of pictures with one class each, to mix into `train`
    mix: tuple[int, int] = (4, 1)  # pictures of `train` to `labelled` ones (paper, section 4)
    map: str = ""  # 9000: a .map with the node of each class of `train` and `val`; "" = by name
    val_map: str | None = None  # 9000: a .map for `val` only; "" = by name; None = `map`
    labelled_map: str = ""  # 9000: a .map for `labelled`; "" = by wnid or name
    dir: str = ""  # where relative paths in a SOURCE start; also tfds' data_dir
    keep_classes: tuple[str, ...] = ()  # boxes of other classes are left out; () = none are
    rename: tuple[tuple[str, str], ...] = ()  # (class of the data, new name), before keep_classes
    image_size: tuple[int, int] = (416, 416)  # (height, width), multiples of 32; any with model.cfg
    multiscale: tuple[int, ...] = ()  # square sides to draw from in training; () = image_size only
    multiscale_every: int = 10  # batches between two draws (paper, section 2)
    multiscale_last: int = 200  # batches with the largest side at the end (detector.c)
    max_boxes: int = 30  # ground-truth boxes per image, padded or cut to this number; Darknet's 30
    letterbox: bool = True  # evaluation: keep the aspect and pad with grey; False = squash
    # classifiers: "letterbox" or "centre_crop"; "" = as in Darknet, the first in prediction
    # (`classifier predict`), the second in evaluation (`classifier valid`)
    classifier_view: str = ""
    resize: str = "opencv"  # evaluation: or "darknet", the C program's grid, for its weights
    on_bad_record: str = "error"  # or "skip": skip the record and count it
    threads: int = 2  # threads per host that decode and augment
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    classifier: ClassifierAugmentConfig = field(default_factory=ClassifierAugmentConfig)


@dataclass
class LossConfig:
    """The loss; the defaults are Darknet's, docs/losses.md has the formulas.

    A weight of None is the default of the loss: coord 1, object 5, noobject 1, class 1 for "region"
    (yolov2-voc.cfg); 5, 1, .5, 1 for "yolov1" (yolov1.cfg).
    """

    name: str = ""  # a key of yolojax.tasks.LOSSES, or FILE.py:FUNCTION; "" = loss of the head
    coord_weight: float | None = None  # weight of the boxes
    object_weight: float | None = None  # weight of the objectness of assigned positions
    noobject_weight: float | None = None  # weight of the objectness of the others
    class_weight: float | None = None  # weight of the classes
    box_loss: str = "squared"  # v2: a key of yolojax.losses.terms.BOX_TERMS
    objectness_loss: str = "squared"  # v2: a key of yolojax.losses.terms.OBJECTNESS_TERMS
    class_loss: str = "cross_entropy"  # v2: a key of yolojax.losses.terms.CLASS_TERMS
    assignment: str = "prior"  # v2: a key of yolojax.losses.matcher.ASSIGNMENTS
    assign_threshold: float = 0.5  # v2: IoU above which "priors_above" makes a prior responsible
    ignore: str = "prediction"  # v2: box compared with ignore_threshold; or "prior", "none"
    ignore_threshold: float = 0.6  # v2: IoU above which objectness has no target of 0
    warmup_images: int = 12800  # v2: training images with a pull of boxes to their priors; 0 = off
    rescore: bool = True  # the objectness target is the IoU; False = 1
    small_box_weight: bool = True  # v2: factor 2 - w * h; Darknet since 2018, not in the paper
    focal_gamma: float = 2.0  # v2: exponent of objectness_loss "focal" and "quality_focal"
    label_smoothing: float = 0.0  # share of the target that is spread over all classes
    class_weights: tuple[float, ...] = ()  # v2: a factor for each class; () = 1
    semantics: str = "darknet"  # v1: with the factor 1/2 of detection_layer.c; or "paper"
    image_semantics: str = "darknet9000"  # 9000: or "paper", "darknet"; objectness of `labelled`
    arguments: tuple[tuple[str, float], ...] = ()  # further arguments of a loss in FILE.py


@dataclass
class OptimizerConfig:
    """Darknet's SGD and learning-rate policies; schedules are counted in training images."""

    batch_size: int = 64  # images of an update, over all devices
    subdivisions: int = 1  # sub-batches whose gradients an update accumulates
    images: int = 80200 * 64  # length of the training
    learning_rate: float = 1e-3
    burn_in_images: int = 0  # until here the rate is multiplied by (seen / burn_in) ** power
    burn_in_power: float = 4.0  # the power of the burn-in
    policy: str = "steps"  # "constant", "steps", "poly"
    step_images: tuple[int, ...] = ()  # "steps": after so many images ...
    step_scales: tuple[float, ...] = ()  # ... multiply the rate by this
    poly_power: float = 4.0  # "poly": the rate times (1 - seen / images) ** power
    momentum: float = 0.9  # of SGD
    weight_decay: float = 5e-4  # of kernels; biases and BN scales do not decay
    layer_rates: tuple[tuple[str, float], ...] = ()  # (start of layers' names, factor); 0 = frozen
    clip_norm: float | None = None  # largest global norm of the gradient; None: no clipping
    ema_decay: float | None = None  # evaluate an average of the parameters; None: the last


@dataclass
class EvalConfig:
    """Detection thresholds, and the metric that selects the best checkpoint."""

    every_images: int = 0  # training images between two evaluations; 0 = only at the end
    batch_size: int = 16
    score_threshold: float = 0.005  # `detector valid` of Darknet
    iou_threshold: float = 0.45
    class_agnostic: bool = False
    nodes: tuple[int, ...] = ()  # 9000: the candidate nodes; () = descend the tree (in
    # evaluation: the nodes of the data's classes)
    seen: tuple[int, ...] = ()  # 9000: nodes with boxes in training, whose mean is also reported
    seen_map: str = ""  # 9000: sets `seen` to the nodes of a .map, that of the boxes in training
    tree_threshold: float = 0.5  # descend while the probability of the path is above it
    tree_semantics: str = "paper"  # or "darknet": its product of absolute probabilities
    # 9000: boxes with the highest objectness, whose classes are computed; at least max_detections
    max_tree_boxes: int = 300
    top_k: int = 1000  # (box, class) pairs that enter NMS; at least max_detections
    max_detections: int = 100  # per image, after NMS
    metric: str = "voc10"  # the headline metric; it selects the best checkpoint
    bootstrap: int = 1000  # resamples for its 95 % interval

    @property
    def limits(self) -> dict[str, int]:
        """The three limits, none of which leaves fewer than max_detections."""
        names = ("max_tree_boxes", "top_k", "max_detections")
        return {name: max(getattr(self, name), self.max_detections) for name in names}


@dataclass
class CheckpointConfig:
    """When the state is saved and how many checkpoints remain."""

    every_images: int = 64 * 1000  # save after so many training images; 0 = with evaluations
    keep: int = 2  # newest checkpoints; the best by eval.metric also remains


@dataclass
class MeshConfig:
    """How the state is distributed over the devices; the results do not depend on it."""

    shard_state: bool = False  # shard large arrays over the devices, as in ZeRO


@dataclass
class Config:
    """One experiment."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    init_from: str = ""  # a run, .weights or .safetensors with pretrained layers
    init_output: bool = False  # load its output layer although its classes differ
    seed: int = 0
    log_every: int = 10  # steps between two lines of metrics.jsonl
    explain_every: int = 0  # steps between pictures of the loss, TensorBoard and plots/; 0 = none


def to_dict(config: Config) -> dict:
    """Convert `config` to plain dicts that JSON can hold."""
    return dataclasses.asdict(config)


def flatten(fields: dict, prefix: str = "") -> dict:
    """Flatten nested dicts to one with dotted names; tuples become lists, as in JSON."""
    flat = {}
    for key, value in fields.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = json.loads(to_json(value))
    return flat


# Fields of configs that older versions wrote, and their names now.
OLD_FIELDS = {
    "loss.box": "loss.box_loss",
    "loss.objectness": "loss.objectness_loss",
    "loss.classes": "loss.class_loss",
    "eval.max_slots": "eval.max_tree_boxes",
}


def with_new_names(fields: dict) -> dict:
    """Copy `fields` of `to_dict` with each of OLD_FIELDS under its name of today."""
    fields = {part: dict(v) if isinstance(v, dict) else v for part, v in fields.items()}
    for old, new in OLD_FIELDS.items():
        part, name = old.split(".")
        if isinstance(fields.get(part), dict) and name in fields[part]:
            fields[part].setdefault(new.split(".")[1], fields[part].pop(name))
    return fields


def from_dict(fields: dict) -> Config:
    """Invert `to_dict`, also after a round trip through JSON; fields of older versions load.

    Raises:
        ValueError: a field is unknown, or its value has another type.
    """
    return read_fields(Config, with_new_names(fields) if isinstance(fields, dict) else fields)


def typed(config: Config) -> Config:
    """Return `config` with every value of its field's type.

    Raises:
        ValueError: an attribute is no field, or a value has another type.
    """
    _check_attributes(config)
    return from_dict(to_dict(config))


def checked(config: Config, *, training: bool = True) -> Config:
    """Return `config` with every value of its field's type and in its range, and with its classes.

    Without model.classes and a tree they are data.keep_classes.

    Args:
        config: stays as it is.
        training: also check what only a training needs.

    Raises:
        ValueError: as `typed`, `check_ranges` and `check_training`.
    """
    config = typed(config)
    check_ranges(config)
    if training:
        check_training(config)
    model = config.model
    if not (model.classes or model.tree or model.tree_file):
        model.classes = config.data.keep_classes
    return config


def _check_attributes(config, prefix: str = "") -> None:
    """Raise ValueError for an attribute that is no field; a dataclass accepts mistyped names."""
    known = [field.name for field in dataclasses.fields(config)]
    for name, value in vars(config).items():
        full = f"{prefix}{name}"
        if full in OLD_FIELDS:
            raise ValueError(f"config.{full} is now config.{OLD_FIELDS[full]}.")
        if name not in known:
            hint = did_you_mean(name, known, f"config.{prefix}{{}}")
            raise ValueError(f"config.{full}: there is no such field.{hint}")
        if dataclasses.is_dataclass(value):
            _check_attributes(value, f"{full}.")


def field_types(schema: type = Config, prefix: str = "") -> dict[str, type]:
    """Return the type of every field of the config, under its dotted name, as "model.width"."""
    types = {}
    for part in dataclasses.fields(schema):
        if dataclasses.is_dataclass(part.type):
            types |= field_types(part.type, f"{prefix}{part.name}.")
        else:
            types[prefix + part.name] = part.type
    return types


def with_overrides(config: Config, overrides: Sequence[str]) -> Config:
    """Set each FIELD=VALUE of `overrides`, as "model.width=0.25"; `config` stays as it is.

    A value is a Python literal, else it is text; a boolean field without a value becomes True. A
    field of pairs is also set pair by pair, as "loss.arguments.power=3" and "data.rename.car=bus";
    the name, up to the first "=", may have dots and blanks, as in "data.rename.traffic light=lamp".

    Raises:
        ValueError: there is no such field, or the value has another type; and as `typed`.
    """
    config = typed(config) if overrides else config
    for override in overrides:
        try:
            config = _with_override(config, *override.partition("="))
        except ValueError as error:
            raise ValueError(f"--config.{override[:LONGEST]}: {error}") from error
    return config


def _with_override(config: Config, full: str, equals: str, text: str) -> Config:
    kinds = field_types()
    name = next((field for field in kinds if full.startswith(f"{field}.")), full)
    key = full[len(name) + 1 :]  # of a pair
    if name not in kinds or (key and kinds[name] not in PAIRS):
        raise ValueError(_no_field(full, list(kinds)))
    kind, fields = kinds[name], to_dict(config)
    if not equals and kind is not bool:
        raise ValueError(f"give the value after =, as in --config.{full}=VALUE.")
    text = text if equals else "True"
    *parts, last = name.split(".")
    owner = functools.reduce(dict.__getitem__, parts, fields)
    try:
        if key:
            value = converted(PAIRS[kind](text), get_args(get_args(kind)[0])[1])
            value = (*(pair for pair in owner[last] if pair[0] != key), (key, value))
        else:
            value = text if required_kind(kind) is str and text != "None" else _literal(text)
            value = converted(value, kind)
    except ValueError as error:
        shell = "; put it in quotes" if "(" in str(error) else ""
        raise ValueError(f"{error}{shell}.") from None
    owner[last] = value
    return from_dict(fields)


def _no_field(name: str, known: list[str]) -> str:
    """Return the error for `name`; the field to suggest is first one that has its last word."""
    if name in OLD_FIELDS:
        return f"is now --config.{OLD_FIELDS[name]}."
    same_end = [field for field in known if field.split(".")[-1] == name.split(".")[-1]]
    hint = did_you_mean(same_end[0] if same_end else name, known, "--config.{}")
    return f"there is no such field.{hint}"


def _literal(text: str):
    if text in ("true", "false"):
        return text == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


# How the value of a (name, value) pair is read from the command line.
PAIRS = {tuple[tuple[str, float], ...]: _literal, tuple[tuple[str, str], ...]: str}


def is_smoke(arg: str | None) -> bool:
    """Return whether a config is wanted as `NAME:smoke`, the one variant that all have.

    Raises:
        ValueError: another variant is wanted.
    """
    if arg not in (None, "", "smoke"):
        raise ValueError(f"a config has the variant :smoke and no other, got {arg!r}.")
    return arg == "smoke"


def config_file(name: str | Path) -> Path:
    """Return the file of a config: FILE.py is a path, any other name a config of `yolojax configs`.

    Raises:
        FileNotFoundError: it does not exist.
    """
    path = Path(name)
    if path.suffix != ".py":
        path = CONFIGS / f"{name}.py"
    if not path.is_file():
        known = [file.stem for file in sorted(CONFIGS.glob("*.py"))]
        raise FileNotFoundError(
            f"{name}: not found; a config is a FILE.py or one of {', '.join(known)}."
            f"{did_you_mean(Path(name).stem, known)}"
        )
    return path


def read_config(spec: str | Path) -> Config:
    """Return the Config of `get_config()` in a config file; of NAME:arg, of get_config(arg).

    Raises:
        FileNotFoundError: as `config_file`.
        ValueError: the file has no get_config, or that returns something else; as
            `errors_located`.
    """
    head, has_argument, argument = str(spec).rpartition(":")
    if has_argument and (Path(spec).is_file() or "/" in argument or "\\" in argument):
        head, has_argument = "", ""
    path = config_file(head if has_argument else spec)
    get_config = getattr(run_file(path), "get_config", None)
    with errors_located(path):
        config = get_config(*([argument] if has_argument else [])) if get_config else None
    if not isinstance(config, Config):
        raise ValueError(f"{path}: must have a function get_config that returns a yolojax Config.")
    return config


def run_file(path: Path, levels: int = 1) -> ModuleType:
    """Execute the Python file `path` and return it as a module.

    The folder that is `levels` above it can be imported by its name while the file runs, so the
    files of configs/ share code as `from configs import bccd`.

    Raises:
        ValueError: as `errors_located`.
    """
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    folder = path.resolve().parents[levels - 1]
    package, is_free = ModuleType(folder.name), folder.name not in sys.modules
    package.__path__ = [str(folder)]
    if is_free:
        sys.modules[folder.name] = package
    try:
        with errors_located(path):
            spec.loader.exec_module(module)
    finally:
        if is_free:
            for name in [n for n in sys.modules if n.partition(".")[0] == folder.name]:
                del sys.modules[name]
    return module


@contextmanager
def errors_located(path: Path) -> Iterator[None]:
    """Turn what the code in `path` and the files next to it raises into one line.

    Raises:
        ValueError: FILE:LINE and the error, for any error of that code.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        folder = path.resolve().parent
        frames = traceback.extract_tb(error.__traceback__)
        places = [(f.filename, f.lineno) for f in frames if folder in Path(f.filename).parents]
        if isinstance(error, SyntaxError) and error.filename:
            places, text = [(error.filename, error.lineno)], error.msg
        else:
            text = str(error)
        file, line = places[-1] if places else (path, None)
        kind = "" if isinstance(error, ValueError | OSError) and text else type(error).__name__
        message = ": ".join(part for part in (kind, " ".join(text.split())) if part)
        place = f"{file}:{line}" if line else file
        raise ValueError(f"{place}: {message}") from error
