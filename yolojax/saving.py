"""Save a model in the format that the suffix of its file name selects."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from yolojax.darknet.cfg_writer import cfg_text
from yolojax.darknet.tree import to_darknet, tree_text_of
from yolojax.darknet.weights import save_weights
from yolojax.export.onnx import export_onnx
from yolojax.export.safetensors import save_tensors
from yolojax.export.stablehlo import export_stablehlo
from yolojax.files import atomic_paths, write_text
from yolojax.loading import Loaded, on_device
from yolojax.suggestions import did_you_mean
from yolojax.training import checkpoint
from yolojax.training.optimizer import make_optimizer
from yolojax.training.state import TrainState

RUN = "run"  # the workdir of a run
PARTIAL = re.compile(r".+\.conv\.([0-9]+)")  # Darknet's names for the first layers of a network
MAX_SEEN = np.iinfo(np.int32).max  # of TrainState.seen


def format_of(path: str | Path) -> str:
    """Return the key of WRITERS: the suffix of `path`, or RUN for a folder or no suffix.

    X.conv.23, the first layers of a network, is a .weights file.

    Raises:
        ValueError: the suffix is unknown.
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
            f".conv.N for the layers before N, or none (or a trailing /) for a run folder; got "
            f"{suffix!r}.{hint}"
        )
    return suffix


def upto_of(path: str | Path) -> int | None:
    """Return the N of X.conv.N, a file with the layers before N; None for other names."""
    match = PARTIAL.fullmatch(Path(path).name)
    return int(match[1]) if match else None


def files_of(path: str | Path, *, tree: bool = False) -> list[Path]:
    """Return the files that `save_model` writes for `path`; `tree`: the model has a class tree."""
    whole = format_of(path) == ".weights" and upto_of(path) is None
    path = Path(path)
    suffixes = [".cfg", ".names", *([".tree"] if tree else [])] if whole else []
    return [path, *(path.with_suffix(suffix) for suffix in suffixes)]


def check_free(path: str | Path, *, force: bool = False) -> None:
    """Raise ValueError if `save_model` cannot write `path`; `force` allows replacing files."""
    is_run = format_of(path) == RUN
    for file in files_of(path, tree=True):
        if file.is_dir() and any(file.iterdir()):
            raise ValueError(
                f"{file}: this folder is not empty, and is never overwritten; choose another."
            )
        if file.is_file() and is_run:
            raise ValueError(f"{file}: is a file, but a run is a folder; choose another name.")
        if file.is_file() and not force:
            raise ValueError(f"{file}: already exists; choose another name, or give --force.")


def save_model(path: str | Path, model: Loaded, **options) -> None:
    """Write `model` to `path` atomically, replacing existing files.

    Args:
        path: X.weights (with X.cfg, X.names and, for a class tree, X.tree next to it), X.conv.N
            (only the layers before N), X.safetensors, X.onnx, X.stablehlo, or the folder of a run,
            which must be new or empty.
        model: from `load_model`.
        options: `nms` for .onnx and .stablehlo; `version` for .weights (default: the model's).

    Raises:
        ValueError: the format does not support this model.
    """
    WRITERS[format_of(path)](Path(path), model, **options)


def save_run(workdir: Path, model: Loaded) -> None:
    """Write the workdir of a run for train.py, eval.py and `yolojax predict`.

    Training resumes its schedules and the position in the data at `seen`, with a new optimizer
    state.
    """
    if model.seen > MAX_SEEN:
        raise ValueError(
            f"{workdir}: a run counts up to {MAX_SEEN} images, but this model has seen "
            f"{model.seen}; write it as .weights or .safetensors, or convert it with --clear."
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
    """Return the state of a run at step 0 with the variables of `model`, on one device."""
    place, settings = SingleDeviceSharding(jax.local_devices()[0]), model.config.optimizer
    variables = on_device(jax.tree.map(np.asarray, model.variables), place)
    params, stats = variables["params"], variables.get("batch_stats", {})
    average = {"params": params, "batch_stats": stats}
    return TrainState(
        step=jax.device_put(jnp.int32(0), place),
        seen=jax.device_put(jnp.int32(model.seen), place),
        params=params,
        batch_stats=stats,
        opt_state=jax.jit(make_optimizer(settings).init, out_shardings=place)(params),
        ema=average if settings.ema_decay is not None else None,
    )


def _save_darknet(path: Path, model: Loaded, version: tuple[int, int, int] | None = None) -> None:
    description, network = model.config.model, model.task.model
    variables = to_darknet(model.variables, network.table, description)
    version, upto = version or model.version, upto_of(path)
    if upto is not None:
        # seen = 0, as `darknet partial` writes: a training from these layers starts at 0.
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
            f"{path}: ONNX export does not support the class tree of {model.config.model.name}; "
            "write it as .stablehlo, .safetensors or .weights."
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
