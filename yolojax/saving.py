"""A model -> one of its forms on disk, chosen by the suffix of its name."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from yolojax.darknet.cfg_writer import cfg_text
from yolojax.darknet.tree import to_darknet, tree_text_of
from yolojax.darknet.weights import save_weights
from yolojax.distributed.sharding import make_mesh, replicated
from yolojax.export.onnx import export_onnx
from yolojax.export.safetensors import save_tensors
from yolojax.export.stablehlo import export_stablehlo
from yolojax.files import atomic_paths, write_text
from yolojax.loading import Loaded, on_device
from yolojax.suggestions import did_you_mean
from yolojax.training import checkpoint
from yolojax.training.optimizer import make_optimizer
from yolojax.training.state import TrainState

RUN = "run"  # the form that is a folder
PARTIAL = re.compile(r".+\.conv\.([0-9]+)")  # how Darknet calls the first layers of a network
MAX_SEEN = np.iinfo(np.int32).max  # what a TrainState can count


def form_of(path: str | Path) -> str:
    """A key of WRITERS: the suffix of `path`, or RUN where it has none or is a folder.

    The first layers of a network, X.conv.23, have the form of .weights.

    Raises:
        ValueError: the suffix is none of ours.
    """
    suffix = Path(path).suffix
    if str(path).endswith(os.sep) or Path(path).is_dir():
        return RUN
    if upto_of(path) is not None:
        return ".weights"
    if not suffix[1:].isdigit() and not suffix[1:2].isalpha():
        return RUN
    if suffix not in WRITERS:
        hint = did_you_mean(suffix, [name for name in WRITERS if name != RUN])
        raise ValueError(
            f"{path}: the suffix must be one of {', '.join(sorted(WRITERS.keys() - {RUN}))}, "
            f".conv.N for the layers before N, or none (or a / at the end) for a run folder; got "
            f"{suffix!r}.{hint}"
        )
    return suffix


def upto_of(path: str | Path) -> int | None:
    """The N of X.conv.N, before which lie the layers it holds; None for every other name."""
    found = PARTIAL.fullmatch(Path(path).name)
    return int(found[1]) if found else None


def files_of(path: str | Path, *, tree: bool = False) -> list[Path]:
    """All that `save_model` makes for `path`, of a model whose classes form a tree or not."""
    whole = form_of(path) == ".weights" and upto_of(path) is None
    path = Path(path)
    beside = [".cfg", ".names"] if whole else []
    beside += [".tree"] if tree and beside else []
    return [path, *(path.with_suffix(suffix) for suffix in beside)]


def check_free(path: str | Path, *, force: bool = False) -> None:
    """Raises ValueError where something is in the way of `path`; `force` clears files for files."""
    is_run = form_of(path) == RUN
    for file in files_of(path, tree=True):
        if file.is_dir() and any(file.iterdir()):
            raise ValueError(
                f"{file}: this folder is not empty, and never overwritten; choose another."
            )
        if file.is_file() and is_run:
            raise ValueError(
                f"{file}: is a file, where the folder of a run is to be; choose another name."
            )
        if file.is_file() and not force:
            raise ValueError(f"{file}: exists already; choose another name, or give --force.")


def save_model(path: str | Path, model: Loaded, **options) -> None:
    """Write `model` as `path`, whole or not at all; what is there is replaced.

    Args:
        path: X.weights (with X.cfg, X.names and, for a tree, X.tree beside it), X.conv.N (the
            layers before N alone), X.safetensors, X.onnx, X.stablehlo or the folder of a run, which
            must be new or empty.
        model: what `load_model` returned.
        options: `nms` of .onnx and .stablehlo; `version` of .weights, by default the model's.

    Raises:
        ValueError: the form cannot hold this model.
    """
    WRITERS[form_of(path)](Path(path), model, **options)


def save_run(workdir: Path, model: Loaded) -> None:
    """A folder that train.py, eval.py and `yolojax predict` take, as after the last update.

    The optimizer starts anew; schedules and the position in the data go on from `seen`.
    """
    if model.seen > MAX_SEEN:
        raise ValueError(
            f"{workdir}: a run counts up to {MAX_SEEN} images, this model has seen {model.seen}; "
            "write it as .weights or .safetensors, or convert it with --clear."
        )
    temporary = workdir.with_name(f".{workdir.name}.{os.getpid()}")
    try:
        checkpoint.save_config(temporary, model.config)
        with checkpoint.open_manager(temporary, model.config.checkpoint.keep) as manager:
            checkpoint.save(manager, fresh_state(model), model.config)
        temporary.replace(workdir)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def fresh_state(model: Loaded) -> TrainState:
    """The state of a run that has made no update yet, with the variables of `model`."""
    place, settings = replicated(make_mesh()), model.config.optimizer
    variables = on_device(jax.tree.map(np.asarray, model.variables), place)
    params, stats = variables["params"], variables.get("batch_stats", {})
    average = {"params": params, "batch_stats": stats}
    return TrainState(
        step=jax.device_put(jnp.int32(0), place),
        seen=jax.device_put(jnp.int32(model.seen), place),
        params=params,
        batch_stats=stats,
        opt_state=jax.device_put(make_optimizer(settings).init(params), place),
        ema=average if settings.ema_decay is not None else None,
    )


def _save_darknet(path: Path, model: Loaded, version: tuple[int, int, int] | None = None) -> None:
    description, network = model.config.model, model.task.model
    variables = to_darknet(model.variables, network.table, description)
    version, upto = version or model.version, upto_of(path)
    if upto is not None:
        # Nothing seen, as `darknet partial` has it: who starts with these layers starts anew.
        return save_weights(path, network, variables, 0, version=version, upto=upto)
    tree = path.with_suffix(".tree")
    texts = {
        path.with_suffix(".cfg"): cfg_text(model.config, tree.name),
        path.with_suffix(".names"): "".join(f"{name}\n" for name in description.shown),
    }
    if description.tree:
        texts[tree] = tree_text_of(description, tree)
    with atomic_paths(path, *texts) as (weights, *others):
        save_weights(weights, network, variables, model.seen, version=version)
        for temporary, text in zip(others, texts.values(), strict=True):
            write_text(temporary, text)


def _save_tensors(path: Path, model: Loaded) -> None:
    save_tensors(path, model.config, model.variables, model.seen)


def _save_onnx(path: Path, model: Loaded, nms: bool = False) -> None:
    if model.config.model.tree:
        raise ValueError(
            f"{path}: the classes of {model.config.model.name} form a tree, for which there are no "
            "ONNX nodes here; write it as .stablehlo, .safetensors or .weights."
        )
    export_onnx(path, *model[:3], nms=nms)


def _save_stablehlo(path: Path, model: Loaded, nms: bool = False) -> None:
    export_stablehlo(path, *model[:3], nms=nms)


WRITERS: dict[str, Callable] = {
    RUN: save_run,
    ".weights": _save_darknet,
    ".safetensors": _save_tensors,
    ".onnx": _save_onnx,
    ".stablehlo": _save_stablehlo,
}
