"""The one place where the names in a config become functions."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.sharding import Mesh

from yolojax.config import Config, LossConfig, ModelConfig
from yolojax.darknet.cfg import count_last, parse_cfg
from yolojax.heads import classes as classes_head
from yolojax.heads import yolo9000, yolov1, yolov2
from yolojax.losses import custom
from yolojax.losses.classification import classification_loss
from yolojax.losses.region import region_loss
from yolojax.losses.tree_classification import tree_classification_loss
from yolojax.losses.yolov1 import yolov1_loss
from yolojax.models import NETWORKS, build_network, count_outputs
from yolojax.models.fast.folded import fold
from yolojax.models.fast.strips import strips_for
from yolojax.models.functional import ROOTS
from yolojax.models.network import Network
from yolojax.models.summary import layer_table, totals
from yolojax.suggestions import choose, did_you_mean

DECODERS = {"region": yolov2.decode, "yolov1": yolov1.decode, "classes": classes_head.decode}
TREE_DECODERS = {"region": yolo9000.decode, "classes": yolo9000.decode_classes}
LOSSES = {
    "region": region_loss,
    "yolov1": yolov1_loss,
    "classification": classification_loss,
    "tree_classification": tree_classification_loss,
}
OWN_LOSS = {"region": "region", "yolov1": "yolov1", "classes": "classification"}  # of each head
TREE_LOSS = {"region": "region", "classes": "tree_classification"}  # the same with a tree
# Fields of config.loss that a loss may do without: the schedule comes with the data.
NOT_OF_A_LOSS = ("name", "arguments", "warmup_images")
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
# Names of jax.default_matmul_precision. XLA's own choice: TPUs multiply bfloat16, GPUs TF32.
PRECISIONS = {"default": None, "tensorfloat32": "tensorfloat32", "float32": "float32"}


class Task(NamedTuple):
    """A network and what its raw output means."""

    model: Any  # linen module: images [B, h, w, 3] in 0..1 -> raw
    decode: Callable  # raw -> Predictions; of a classifier: class probabilities [B, C]
    loss: Callable  # (raw, batch, seen) -> (scalar, {name: scalar})
    head: str = "region"  # what raw means: a key of DECODERS
    has_tree: bool = False  # whether the classes form a WordTree

    @property
    def is_classifier(self) -> bool:
        """Whether raw has class logits and no boxes."""
        return self.head == "classes"


def build(config: Config) -> Task:
    """The task that `config` describes.

    Decoders take from config.model and config.eval the arguments that they name, losses from
    config.model and config.loss. With config.model.tree both are those of a WordTree.

    Raises:
        ValueError: a name is unknown, the model lacks its classes or anchors, its tree does not fit
            it, or config.eval names nodes that are not of the tree; or as `make_loss`.
    """
    network, head = build_model(config.model)
    check_eval_nodes(config)
    _check_outputs(config.model, head, count_last(network.table))
    model = vars(config.model)
    decode = (TREE_DECODERS if config.model.tree else DECODERS)[head]
    return Task(
        model=network,
        decode=partial(decode, **_arguments(decode, model | vars(config.eval))),
        loss=make_loss(config, head),
        head=head,
        has_tree=bool(config.model.tree),
    )


def make_loss(config: Config, head: str) -> Callable:
    """The loss of `config`, (raw, batch, seen) -> (scalar, {name: scalar}), for its `head`.

    If the file of a user's loss is not there, a loss that raises FileNotFoundError.

    Raises:
        ValueError: there is no such loss, it has no use for a setting of config.loss that is not
            the default, or an argument of it has no value.
    """
    name = config.loss.name or (TREE_LOSS if config.model.tree else OWN_LOSS)[head]
    if not custom.is_in_file(name):
        make = choose("loss.name", name, LOSSES)
        return make(**_loss_arguments(make, name, config))
    try:
        make = custom.load_maker(name)
    except FileNotFoundError as error:
        return custom.absent(error)
    return custom.checked(make(**_loss_arguments(make, name, config)), name)


def build_model(model: ModelConfig) -> tuple[Network, str]:
    """The network of config.model, and the head (a key of DECODERS) that reads its output.

    Raises:
        ValueError: as `build`.
    """
    choose("model.epsilon", model.epsilon, ROOTS)
    choose("model.location", model.location, yolov2.LOCATIONS)
    choose("model.class_activation", model.class_activation, yolov2.ACTIVATIONS)
    mode = {"dtype": choose("model.dtype", model.dtype, DTYPES), "epsilon": model.epsilon}
    mode["precision"] = choose("model.precision", model.precision, PRECISIONS)
    if model.cfg:
        cfg = parse_cfg(model.cfg, f"config.model.cfg ({model.name})")
        head = cfg.head.kind
        _check_tree(model, head, getattr(cfg.head, "tree", ""))
        return Network(cfg.table, **mode), head
    head = choose("model.name", model.name, NETWORKS).head
    for field in ("classes", "anchors") if head == "region" else ("classes",):
        if not getattr(model, field):
            raise ValueError(f"config.model.{field} is empty; a {head} head needs at least one.")
    _check_tree(model, head, model.tree_file)
    return build_network(model.name, _outputs(model, head), width=model.width, **mode), head


def _outputs(model: ModelConfig, head: str) -> int:
    """What the last layer must have for the classes and boxes of `model`."""
    boxes = len(model.anchors) if head == "region" else model.boxes
    return count_outputs(head, classes=len(model.classes), boxes=boxes, side=model.side)


def _check_outputs(model: ModelConfig, head: str, found: int) -> None:
    if found != _outputs(model, head):
        raise ValueError(
            f"config.model.cfg ends in {found} outputs, but {len(model.classes)} classes and the "
            f"boxes of config.model need {_outputs(model, head)}; change the classes in the .cfg "
            "and convert it again, or start from its layers with --config.init_from."
        )


def _check_tree(model: ModelConfig, head: str, file: str) -> None:
    """Raises ValueError unless the tree, if there is one or a `file` of one, fits the model."""
    if file and not model.tree:
        raise ValueError(
            f"the classes of {model.name} form the tree in {file}, but config.model.tree is empty; "
            "read it with yolojax.wordtree.files.tree_fields."
        )
    if model.tree and head not in TREE_DECODERS:
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
    """Raises ValueError unless the nodes in config.eval are nodes of the tree, if there is one."""
    count = len(config.model.tree)
    for field in ("nodes", "seen"):
        wrong = [node for node in getattr(config.eval, field) if not 0 <= node < count]
        if count and wrong:
            raise ValueError(
                f"config.eval.{field} holds {wrong[0]}, but the nodes of {config.model.name} are "
                f"0 to {count - 1}; do they belong to another tree?"
            )


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
    """Operations of the network on one image of (height, width): 2 for each product in a layer."""
    return 1e9 * totals(layer_table(task.model, image_size))["bflops_all"]


def on_tpu(task: Task, images: int, mesh: Mesh) -> Task:
    """`task` in the form that trains faster with `images` at a time on all TPUs of `mesh`."""
    return task._replace(model=task.model.clone(strips=strips_for(images // mesh.size), mesh=mesh))


def _arguments(function: Callable, settings: dict) -> dict:
    """What `function` names of `settings`; what is None there keeps the function's own default."""
    names = inspect.signature(function).parameters
    return {k: settings[k] for k in names if settings.get(k) is not None}


def _loss_arguments(make: Callable, name: str, config: Config) -> dict:
    """What the loss `name` takes from `config`; ValueError as in `make_loss`."""
    settings, more = vars(config.model) | vars(config.loss), dict(config.loss.arguments)
    parameters = inspect.signature(make).parameters
    _check_settings(config.loss, name, parameters)
    _check_more(more, name, parameters, settings)
    given = _arguments(make, settings | more)
    for argument, parameter in parameters.items():
        if argument not in given and parameter.default is parameter.empty:
            raise ValueError(
                f"the loss {name} needs {argument!r}: set it in config.loss.arguments, or give it "
                "a default."
            )
    return given


def _check_settings(loss: LossConfig, name: str, known) -> None:
    """Raises ValueError where a setting would do nothing: research on it would be on noise."""
    usual = vars(LossConfig())
    for field, value in vars(loss).items():
        if field not in (*NOT_OF_A_LOSS, *known) and value != usual[field]:
            raise ValueError(
                f"config.loss.{field} is {value!r}, but the loss {name} has no such setting; "
                f"leave it at {usual[field]!r} or choose another loss."
            )


def _check_more(more: dict, name: str, known, settings: dict) -> None:
    """Raises ValueError unless the loss knows config.loss.arguments, and the config does not."""
    for argument in more:
        if argument in settings:
            raise ValueError(
                f"config.loss.arguments has {argument!r}, which is a field of config.model or "
                "config.loss; set that."
            )
        if argument not in known:
            raise ValueError(
                f"config.loss.arguments has {argument!r}, but the loss {name} takes "
                f"{', '.join(known) or 'nothing'}.{did_you_mean(argument, known)}"
            )
