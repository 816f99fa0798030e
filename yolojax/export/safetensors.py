"""Our .safetensors files: the variables by name, and beside them the config and `seen`.

Tensors are named COLLECTION/LAYER/LEAF, as params/stage1_conv1/kernel; all are float32. The
metadata are "format", "config" (its JSON) and "seen".
"""

import json
import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from yolojax.config import Config, from_dict, to_dict
from yolojax.files import open_atomic
from yolojax.models.network import variable_shapes
from yolojax.tasks import build

FORMAT = "yolojax 1"


def save_tensors(path: str | Path, config: Config, variables: dict, seen: int) -> None:
    """Write the `variables` of the model of `config`, trained on `seen` images."""
    # Leaves that are views of a .weights file lie in its order; safetensors writes memory as it is.
    tensors = {
        name: np.ascontiguousarray(leaf, np.float32) for name, leaf in flat(variables).items()
    }
    about = {"format": FORMAT, "config": json.dumps(to_dict(config)), "seen": str(int(seen))}
    with open_atomic(path) as file:
        mode = os.fstat(file.fileno()).st_mode
        save_file(tensors, file.name, about)
        os.chmod(file.name, mode)  # it makes a file of its own, that others may not read


def load_tensors(path: str | Path) -> tuple[Config, dict, int]:
    """What `save_tensors` wrote: config, variables (numpy), seen.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, of another program, or not what its config describes.
    """
    config, seen = read_about(path)
    model = build(config).model
    expected = flat(variable_shapes(model, config.data.image_size))
    with _opened(path) as file:
        check_names(path, set(file.keys()), set(expected))
        found = {name: file.get_tensor(name) for name in expected}
    for name, leaf in found.items():
        check_leaf(path, name, leaf, expected[name].shape)
    return config, nested(found), seen


def read_about(path: str | Path) -> tuple[Config, int]:
    """The config and `seen` of a file of `save_tensors`; raises as `load_tensors`."""
    with _opened(path) as file:
        about = file.metadata() or {}
    if about.get("format") != FORMAT:
        raise ValueError(
            f"{path}: its format is {about.get('format')!r}, not {FORMAT!r}; only files that "
            "`yolojax convert` wrote say which network they belong to."
        )
    try:
        return from_dict(json.loads(about["config"])), int(about["seen"])
    except (KeyError, ValueError, AttributeError) as error:  # that of a list for a dict
        raise ValueError(f"{path}: its metadata are damaged: {error}") from error


def flat(variables: dict) -> dict:
    """{collection: {layer: {leaf: x}}} -> {"collection/layer/leaf": x}."""
    return {
        f"{collection}/{layer}/{leaf}": value
        for collection, layers in variables.items()
        for layer, leaves in layers.items()
        for leaf, value in leaves.items()
    }


def nested(tensors: dict) -> dict:
    """The inverse of `flat`."""
    variables: dict = {"params": {}, "batch_stats": {}}
    for name, value in tensors.items():
        collection, layer, leaf = name.split("/")
        variables.setdefault(collection, {}).setdefault(layer, {})[leaf] = value
    return variables


def check_names(path, found: set[str], expected: set[str]) -> None:
    """Raises ValueError unless `found` are the `expected` names."""
    problems = {"lacks": sorted(expected - found), "has besides": sorted(found - expected)}
    words = [f"{verb} {', '.join(names[:3])}" for verb, names in problems.items() if names]
    if words:
        raise ValueError(
            f"{path}: {' and '.join(words)}, of {len(expected)} tensors that its config describes; "
            "convert it anew."
        )


def check_leaf(path, name: str, leaf: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raises ValueError unless `leaf` is finite float32 of `shape`."""
    if leaf.dtype != np.float32 or leaf.shape != shape:
        raise ValueError(
            f"{path}: {name} must be float32 {list(shape)}, is {leaf.dtype} {list(leaf.shape)}; "
            "convert it anew."
        )
    if not np.isfinite(leaf).all():
        raise ValueError(f"{path}: {name} holds values that are no numbers; its training diverged.")


def _opened(path):
    """The file, mapped; its tensors are read when they are asked for."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: not found; give a .safetensors file.")
    try:
        return safe_open(path, framework="numpy")
    except SafetensorError as error:
        raise ValueError(f"{path}: not a .safetensors file, or cut off: {error}") from error
