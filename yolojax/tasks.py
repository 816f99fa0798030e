"""Build the network, decoder and loss that a config names."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.sharding import Mesh

from yolojax.config import Config, LossConfig, ModelConfig
from yolojax.darknet.cfg import parse_cfg
from yolojax.heads import classes as classes_head
from yolojax.heads import yolo9000, yolov1, yolov2
from yolojax.losses import custom
from yolojax.losses.classification import classification_loss
from yolojax.losses.region import region_loss
from yolojax.losses.tree_classification import tree_classification_loss
from yolojax.losses.yolov1 import yolov1_loss
from yolojax.models import NETWORKS, build_network, count_outputs
from yolojax.models.fast.folded import fold
from yolojax.models.fast.forms import FAST_FORMS
from yolojax.models.fast.strips import strips_for
from yolojax.models.functional import ROOTS
from yolojax.models.layers import count_outputs_of_last
from yolojax.models.network import Network, check_image_size
from yolojax.models.summary import layer_table, totals
from yolojax.suggestions import choose


class LossSpec(NamedTuple):
    """A loss, and the fields of the config that are its arguments."""

    make: Callable  # keyword arguments -> loss
    model: tuple[str, ...]  # fields of config.model
    settings: tuple[str, ...]  # fields of config.loss; None means the default of `make`


WEIGHTS = ("coord_weight", "object_weight", "noobject_weight", "class_weight")
LOSSES = {
    "region": LossSpec(
        region_loss,
        model=("anchors", "location", "class_activation", "tree"),
        settings=(
            *WEIGHTS,
            "box_loss",
            "objectness_loss",
            "class_loss",
            "assignment",
            "assign_threshold",
            "ignore",
            "ignore_threshold",
            "warmup_images",
            "rescore",
            "small_box_weight",
            "focal_gamma",
            "label_smoothing",
            "class_weights",
            "image_semantics",
        ),
    ),
    "yolov1": LossSpec(
        yolov1_loss,
        model=("side", "boxes", "square_root", "class_softmax"),
        settings=(*WEIGHTS, "rescore", "semantics"),
    ),
    "classification": LossSpec(
        classification_loss, model=("temperature",), settings=("label_smoothing",)
    ),
    "tree_classification": LossSpec(
        tree_classification_loss, model=("tree",), settings=("label_smoothing",)
    ),
}
HEAD_LOSS = {"region": "region", "yolov1": "yolov1", "classes": "classification"}
TREE_LOSS = {"region": "region", "classes": "tree_classification"}  # if the classes form a tree
# A user's loss gets those of these fields of config.model, and of all fields of config.loss, that
# it has as keyword arguments.
CUSTOM_MODEL_FIELDS = (
    "classes",
    "anchors",
    "tree",
    "boxes",
    "side",
    "square_root",
    "class_softmax",
    "class_activation",
    "location",
)
# Fields of config.loss that every loss accepts; the warm-up is a schedule, which a config sets for
# its data.
COMMON_SETTINGS = ("name", "arguments", "warmup_images")
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
# Names of jax.default_matmul_precision. XLA's own choice: TPUs multiply bfloat16, GPUs TF32.
PRECISIONS = {"default": None, "tensorfloat32": "tensorfloat32", "float32": "float32"}


class Task(NamedTuple):
    """A network with its decoder and loss."""

    model: Any  # linen module: images [B, h, w, 3] in 0..1 -> raw
    decode: Callable  # raw -> Predictions; of a classifier: class probabilities [B, C]
    loss: Callable  # (raw, batch, seen) -> (scalar, {name: scalar})
    head: str = "region"  # a key of HEAD_LOSS
    has_tree: bool = False  # whether the classes form a WordTree

    @property
    def is_classifier(self) -> bool:
        """Whether raw has class logits and no boxes."""
        return self.head == "classes"


def build(config: Config) -> Task:
    """Build the task of `config`; with config.model.tree its classes form a WordTree.

    Raises:
        ValueError: a name is unknown, classes or anchors are missing, the tree does not fit the
            model, or config.eval has nodes outside the tree; or as `make_loss`.
    """
    network, head = build_model(config.model)
    check_eval_nodes(config)
    _check_outputs(config.model, head, count_outputs_of_last(network.table))
    return Task(
        model=network,
        decode=make_decoder(config, head),
        loss=make_loss(config, head),
        head=head,
        has_tree=bool(config.model.tree),
    )


def make_decoder(config: Config, head: str) -> partial:
    """Make the decoder of a head: raw -> Predictions, or class probabilities [B, C]."""
    model, settings = config.model, config.eval
    if head == "yolov1":
        return partial(
            yolov1.decode,
            side=model.side,
            boxes=model.boxes,
            square_root=model.square_root,
            class_softmax=model.class_softmax,
        )
    if head == "classes" and model.tree:
        return partial(yolo9000.decode_classes, tree=model.tree, nodes=settings.nodes)
    if head == "classes":
        return partial(classes_head.decode, temperature=model.temperature)
    if model.tree:
        return partial(
            yolo9000.decode,
            anchors=model.anchors,
            tree=model.tree,
            location=model.location,
            nodes=settings.nodes,
            tree_threshold=settings.tree_threshold,
            tree_semantics=settings.tree_semantics,
            max_tree_boxes=settings.limits["max_tree_boxes"],
        )
    return partial(
        yolov2.decode,
        anchors=model.anchors,
        location=model.location,
        class_activation=model.class_activation,
    )


def make_loss(config: Config, head: str) -> Callable:
    """Make the loss of `config` for its `head`: (raw, batch, seen) -> (scalar, {name: scalar}).

    If the file of a user's loss does not exist, the loss raises FileNotFoundError when called, so
    that prediction does not need the file.

    Raises:
        ValueError: the loss is unknown, it has no such setting, or an argument has no value.
    """
    name = loss_name(config, head)
    if not custom.is_in_file(name):
        spec = choose("loss.name", name, LOSSES)
        _check_settings(config.loss, name, spec.settings)
        custom.check_arguments(dict(config.loss.arguments), name, {}, known=())
        model = {field: getattr(config.model, field) for field in spec.model}
        return spec.make(**model, **_given(config.loss, spec.settings))
    try:
        make = custom.load_maker(name)
    except FileNotFoundError as error:
        return custom.absent(error)
    known = custom.argument_names(make)
    _check_settings(config.loss, name, known)
    fields = {field: getattr(config.model, field) for field in CUSTOM_MODEL_FIELDS}
    fields |= _given(config.loss, [f for f in vars(config.loss) if f not in ("name", "arguments")])
    return custom.make_loss(make, name, fields, dict(config.loss.arguments))


def loss_name(config: Config, head: str) -> str:
    """Return the key of LOSSES or the FILE.py:FUNCTION that `config` names for its `head`."""
    return config.loss.name or (TREE_LOSS if config.model.tree else HEAD_LOSS)[head]


def _given(loss: LossConfig, fields: Sequence[str]) -> dict:
    """Return those of `fields` that are not None, for which a loss has its own default."""
    return {field: getattr(loss, field) for field in fields if getattr(loss, field) is not None}


def _check_settings(loss: LossConfig, name: str, known: Sequence[str]) -> None:
    """Raise ValueError if a setting that is not the default would have no effect."""
    defaults = vars(LossConfig())
    for field, value in vars(loss).items():
        if field not in (*COMMON_SETTINGS, *known) and value != defaults[field]:
            raise ValueError(
                f"config.loss.{field} is {value!r}, but the loss {name} has no such setting; "
                f"leave it at {defaults[field]!r} or choose another loss."
            )


def build_model(model: ModelConfig) -> tuple[Network, str]:
    """Build the network of config.model, and return it with its head (a key of HEAD_LOSS).

    Raises:
        ValueError: as `build`.
    """
    choose("model.epsilon", model.epsilon, ROOTS)
    choose("model.location", model.location, yolov2.LOCATIONS)
    choose("model.class_activation", model.class_activation, yolov2.ACTIVATIONS)
    mode = {"dtype": choose("model.dtype", model.dtype, DTYPES), "epsilon": model.epsilon}
    mode["precision"] = choose("model.precision", model.precision, PRECISIONS)
    choose("model.fast_forms", model.fast_forms, FAST_FORMS)
    mode["fast_forms"] = model.fast_forms
    if model.cfg:
        cfg = parse_cfg(model.cfg, f"config.model.cfg ({model.name})")
        head = cfg.head.kind
        _check_tree(model, head, getattr(cfg.head, "tree", ""))
        return Network(cfg.table, **mode, any_size=True), head
    head = choose("model.name", model.name, NETWORKS).head
    for field in ("classes", "anchors") if head == "region" else ("classes",):
        if not getattr(model, field):
            raise ValueError(f"config.model.{field} is empty; a {head} head needs at least one.")
    _check_tree(model, head, model.tree_file)
    return build_network(model.name, _outputs(model, head), width=model.width, **mode), head


def _outputs(model: ModelConfig, head: str) -> int:
    """Return the number of outputs that the classes and boxes of `model` need."""
    boxes = len(model.anchors) if head == "region" else model.boxes
    return count_outputs(head, classes=len(model.classes), boxes=boxes, side=model.side)


def _check_outputs(model: ModelConfig, head: str, outputs: int) -> None:
    if outputs != _outputs(model, head):
        raise ValueError(
            f"config.model.cfg ends in {outputs} outputs, but {len(model.classes)} classes and the "
            f"boxes of config.model need {_outputs(model, head)}; change the classes in the .cfg "
            "and convert it again, or start from its layers with --config.init_from."
        )


def _check_tree(model: ModelConfig, head: str, file: str) -> None:
    """Raise ValueError if the tree, or the `file` of one, does not fit the model."""
    if file and not model.tree:
        raise ValueError(
            f"the classes of {model.name} form the tree in {file}, but config.model.tree is empty; "
            "read it with yolojax.wordtree.files.tree_fields."
        )
    if model.tree and head not in TREE_LOSS:
        raise ValueError(f"config.model.tree: the classes of {model.name} cannot form a tree.")
    if model.tree and model.class_activation != "softmax":
        raise ValueError(
            f"config.model.class_activation is {model.class_activation!r}, but the classes of "
            f"{model.name} form a tree, with a softmax for each set of siblings: set 'softmax'."
        )
    for field in ("tree", "class_names"):
        if getattr(model, field) and len(getattr(model, field)) != len(model.classes):
            raise ValueError(
                f"config.model.{field} has {len(getattr(model, field))} entries, but there are "
                f"{len(model.classes)} classes; each class has one."
            )


def check_eval_nodes(config: Config) -> None:
    """Raise ValueError if config.eval has nodes outside the tree."""
    count = len(config.model.tree)
    for field in ("nodes", "seen"):
        wrong = [node for node in getattr(config.eval, field) if not 0 <= node < count]
        if count and wrong:
            raise ValueError(
                f"config.eval.{field} holds {wrong[0]}, but the nodes of {config.model.name} are "
                f"0 to {count - 1}; do they belong to another tree?"
            )


def check_image_sizes(task: Task, sizes: Iterable[tuple[int, int]]) -> None:
    """Raise ValueError unless the network takes images of each (height, width) in `sizes`."""
    for size in sizes:
        check_image_size(size, task.model.table, any_size=task.model.any_size)


def for_inference(task: Task, variables: dict, platform: str) -> tuple[Task, dict]:
    """`task` and its `variables` in the form that is quickest at inference on `platform`.

    On "cpu" that is models.fast.folded, where the network has such a form; elsewhere nothing
    changes.
    """
    if platform != "cpu":
        return task, variables
    model, variables = fold(task.model, variables)
    return task._replace(model=model), variables


def forward_flops(task: Task, image_size: tuple[int, int]) -> float:
    """Count the operations on one image of (height, width): 2 for each product in a layer."""
    return 1e9 * totals(layer_table(task.model, image_size))["bflops_all"]


def on_tpu(task: Task, images: int, mesh: Mesh) -> Task:
    """Return `task` in the form that trains fastest on TPUs, with `images` in all on `mesh`."""
    return task._replace(model=task.model.clone(strips=strips_for(images // mesh.size), mesh=mesh))
