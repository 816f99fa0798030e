"""Load a model from any of its formats: its task, config, variables and number of images seen.

The formats are the workdir of a run, a .safetensors file, and Darknet .weights. The network of
.weights is described by a .cfg or a config; published files are recognised.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from yolojax.config import Config
from yolojax.darknet import published_files
from yolojax.darknet.cfg import parse_cfg
from yolojax.darknet.config import config_from_cfg, name_fields, names_of
from yolojax.darknet.data_files import file_next_to, read_names
from yolojax.darknet.header import VERSION, read_header
from yolojax.darknet.tree import from_darknet
from yolojax.darknet.weights import load_weights
from yolojax.export.safetensors import load_tensors, read_about
from yolojax.files import read_text, release_mapped
from yolojax.models import NETWORKS
from yolojax.models.network import check_image_size, variable_shapes
from yolojax.tasks import Task, build
from yolojax.training import checkpoint, run_config
from yolojax.training.state import inference_variables

TENSORS = ".safetensors"
File = str | Path


class Loaded(NamedTuple):
    """A model, ready for inference or for another format."""

    task: Task
    config: Config
    variables: dict[str, Any]  # {"params": {layer: {leaf: array}}, "batch_stats": likewise}
    seen: int  # images trained on
    version: tuple[int, int, int] = VERSION  # of the .weights header that was read
    source: dict[str, Any] | None = None  # what was loaded, ready for JSON; see `in_words`


def load_model(
    path: File,
    config: Config | None = None,
    *,
    cfg: File | None = None,
    names: File | None = None,
    upto: int | None = None,
) -> Loaded:
    """Load the model in `path`: a workdir, a .safetensors file or a .weights file.

    Args:
        path: the file or folder. Of a workdir, the best checkpoint is loaded, with averaged
            parameters if it has them.
        config: describes the network of .weights. For the other formats it replaces the config
            that is stored with the parameters; its model must be the same, see
            training.run_config.MODEL_FIELDS.
        cfg: the Darknet .cfg of .weights, instead of a config.
        names: a file with the class names of .weights, one per line; with a tree, of its nodes.
        upto: the .weights have only the layers before this Darknet index; the others are
            initialised from config.seed.

    Raises:
        FileNotFoundError: a file does not exist, or `path` has no config or no checkpoint.
        ValueError: arguments are missing, contradict each other or do not fit, or a file is
            damaged.
    """
    path = Path(path)
    if config is not None and (cfg or names):
        raise ValueError(f"{path}: a config has network and classes; leave cfg and names out.")
    if is_weights(path):
        model = _from_weights(path, config or describe(path, cfg=cfg, names=names), upto)
        return model._replace(source={"file": str(path)})
    _refuse(path, cfg=cfg, names=names, upto=upto)
    return (_from_run if path.is_dir() else _from_tensors)(path, config)


def describe(path: File, *, cfg: File | None = None, names: File | None = None) -> Config:
    """Return the config of the model in `path`; arguments as in `load_model`.

    That of a run is stored in its best checkpoint.

    Raises:
        FileNotFoundError: a file does not exist, or `path` has no config.
        ValueError: the network is not known, or a file is damaged.
    """
    path = Path(path)
    if is_weights(path):
        if cfg:
            return _from_cfg(cfg, names)
        return _from_files_next_to(path, names) or _from_published(path, names)
    _refuse(path, cfg=cfg, names=names)
    return checkpoint.best_config(path) if path.is_dir() else read_about(path)[0]


def in_words(source: dict[str, Any]) -> str:
    """Format Loaded.source: the file, or which checkpoint of the run was loaded."""
    if "file" in source:
        return source["file"]
    best = f"the best by {source.get('metric') or 'its score'}"
    best += f" on {source['data']}" if source.get("data") else ""
    choice = best if source["choice"] == "best" else "the last, as none was evaluated"
    averaged = "averaged parameters" if source["averaged"] else "parameters that are not averaged"
    return f"{source['workdir']}: checkpoint of step {source['step']}, {choice}; {averaged}"


def resized(model: Loaded, image_size: tuple[int, int]) -> Loaded:
    """Return `model` with input images of `image_size` (height, width).

    Raises:
        ValueError: the weights depend on the image size, or the stride does not divide it.
    """
    before, data = model.config.data.image_size, model.config.data
    if tuple(image_size) != tuple(before):
        # Where pools round up, a cell has other pixels than those of the training.
        check_image_size(image_size, model.task.model.table)
    if _shapes(variable_shapes(model.task.model, image_size)) != _shapes(model.variables):
        raise ValueError(
            f"image_size must be {tuple(before)}, got {tuple(image_size)}: this network has local "
            "or connected layers, whose weights fit one size only."
        )
    config = replace(model.config, data=replace(data, image_size=tuple(image_size)))
    return model._replace(config=config)


def on_device(variables: dict, place: Any = None) -> dict:
    """Put `variables` on the device or sharding `place`; default: JAX's default device.

    Leaves are copied one by one, so at most one leaf of a memory-mapped file is in memory.
    """

    def put(leaf):
        array = jax.block_until_ready(jax.device_put(leaf, place))
        release_mapped(leaf)
        return array

    return jax.tree.map(put, variables)


def is_weights(path: Path) -> bool:
    """Return whether `path` is a Darknet file: neither a folder nor a .safetensors file.

    Partial .weights have other suffixes (darknet19_448.conv.23).

    Raises:
        FileNotFoundError: `path` does not exist.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: not found; give a --workdir, a .weights file or a {TENSORS} file."
        )
    return not path.is_dir() and path.suffix != TENSORS


def _shapes(variables: dict) -> dict:
    return jax.tree.map(lambda leaf: tuple(leaf.shape), dict(variables["params"]))


def _refuse(path: Path, **options) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise ValueError(
            f"{path}: {' and '.join(given)} are for .weights files; this one has its own config, "
            "leave them out."
        )


def _from_cfg(cfg: File, names: File | None) -> Config:
    classes = read_names(names) if names else None
    text = read_text(cfg, "a .cfg")
    parsed = parse_cfg(text, str(cfg))
    if parsed.note:
        print(parsed.note, file=sys.stderr)
    path = Path(cfg)
    return config_from_cfg(parsed, name=path.stem, classes=classes, text=text, folder=path.parent)


def _from_files_next_to(path: Path, names: File | None) -> Config | None:
    """Return the config by the X.cfg and X.names of `file_next_to`, or None without X.cfg."""
    cfg, own_names = file_next_to(path, ".cfg"), file_next_to(path, ".names")
    if cfg is None:
        return None
    read_header(path)
    used = [cfg.name]
    if names is None and own_names is not None:
        names = own_names
        used.append(names.name)
    print(f"{path}: its network is that of {' and '.join(used)} next to it", file=sys.stderr)
    config = _from_cfg(cfg, names)
    return config if names else _with_published_names(path, config)


def _with_published_names(path: Path, config: Config) -> Config:
    """Return `config` with the class names of the published file that `path` is, if it is one."""
    entries = published_files.of_size(path.stat().st_size)
    entry = next((e for e in entries if published_files.has_its_name(path, e)), None)
    names = published_files.class_names(entry) if entry else None
    if not names or len(names) != len(config.model.classes):
        return config
    return replace(config, model=replace(config.model, **name_fields(names)))


def _from_published(path: Path, names: File | None) -> Config:
    read_header(path)
    entry = published_files.recognise(path)
    note = published_files.explain(path, entry)
    if entry is None:
        raise ValueError(note)
    if note:
        print(note, file=sys.stderr)
    if entry.upto:
        raise ValueError(
            f"{path} is {entry.name}, only the layers before {entry.upto} of a network; "
            f"complete it with `yolojax convert WHOLE.cfg {path} --upto {entry.upto} --to RUN`."
        )
    config = published_files.config_of(entry)
    return _renamed(config, names) if names else config


def _renamed(config: Config, names: File) -> Config:
    """Return `config` with the class names in the file `names`."""
    model, is_classifier = config.model, NETWORKS[config.model.name].head == "classes"
    shown = names_of(read_names(names), len(model.classes), str(names), longer=is_classifier)
    return replace(config, model=replace(model, **name_fields(shown)))


def _from_run(workdir: Path, config: Config | None) -> Loaded:
    restored = checkpoint.restore_best(workdir)
    variables, seen = inference_variables(restored.state), int(restored.state.seen)
    return Loaded(
        *_described(workdir, restored.config, config),
        variables,
        seen,
        source={"workdir": str(workdir)} | restored.about,
    )


def _from_tensors(path: Path, config: Config | None) -> Loaded:
    saved, variables, seen = load_tensors(path)
    return Loaded(*_described(path, saved, config), variables, seen, source={"file": str(path)})


def _described(path: Path, saved: Config, config: Config | None) -> tuple[Task, Config]:
    """Return task and config: `config` if it is given, which must have the model of `saved`."""
    changes = run_config.model_changes(saved, config) if config else []
    if changes:
        raise ValueError(
            f"{path} was trained with {run_config.in_words(changes)}; they give its outputs their "
            "meaning and cannot be changed afterwards."
        )
    return build(config or saved), config or saved


def _from_weights(path: Path, config: Config, upto: int | None) -> Loaded:
    task, size = build(config), config.data.image_size
    variables, seen = load_weights(path, task.model, image_size=size, upto=upto)
    variables = from_darknet(variables, task.model.table, config.model)
    if upto is not None:
        variables = _completed(variables, task, config)
    return Loaded(task, config, variables, seen, read_header(path).version)


def _completed(variables: dict, task: Task, config: Config) -> dict:
    """Add the initial variables of the layers that `variables` does not have."""
    image = jnp.zeros((1, *config.data.image_size, 3))

    def missing(key):  # XLA drops the layers that are not returned
        start = task.model.init(key, image)
        return {
            collection: {k: v for k, v in layers.items() if k not in variables["params"]}
            for collection, layers in start.items()
        }

    new = jax.jit(missing)(jax.random.key(config.seed))
    return {name: {**variables.get(name, {}), **new[name]} for name in new}
