"""Save and load .safetensors files with the variables, the config and the images seen.

Tensors are float32 and named COLLECTION/LAYER/LEAF, as params/stage1_conv1/kernel. The metadata has
"format", "config" (JSON) and "seen".
"""

import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from yolojax.config import Config, from_dict, to_dict
from yolojax.files import open_atomic
from yolojax.json_files import parse_json, to_json
from yolojax.models.network import variable_shapes
from yolojax.tasks import build

FORMAT = "yolojax 1"


def save_tensors(path: str | Path, config: Config, variables: dict, seen: int) -> None:
    """Write the `variables` of the model of `config`, trained on `seen` images."""
    # Leaves that are views of a .weights file are not contiguous; safetensors writes raw memory.
    tensors = {
        name: np.ascontiguousarray(leaf, np.float32) for name, leaf in flat(variables).items()
    }
    about = {"format": FORMAT, "config": to_json(to_dict(config)), "seen": str(int(seen))}
    with open_atomic(path) as file:
        mode = os.fstat(file.fileno()).st_mode
        save_file(tensors, file.name, about)
        os.chmod(file.name, mode)  # save_file makes a new file that only the owner may read


def load_tensors(path: str | Path) -> tuple[Config, dict, int]:
    """Load a file of `save_tensors` -> (config, variables as NumPy arrays, seen).

    Raises:
        FileNotFoundError: `path` does not exist.
        ValueError: the file is damaged, from another program, or does not fit its config.
    """
    config, seen = read_about(path)
    try:
        expected = flat(variable_shapes(build(config).model, config.data.image_size))
    except ValueError as error:
        raise ValueError(f"{path}: its config is damaged: {error}") from error
    with _opened(path) as file:
        check_names(path, set(file.keys()), set(expected))
        tensors = {name: file.get_tensor(name) for name in expected}
    for name, leaf in tensors.items():
        check_leaf(path, name, leaf, expected[name].shape)
    return config, nested(tensors), seen


def read_about(path: str | Path) -> tuple[Config, int]:
    """Return the config and `seen` of a file of `save_tensors`; raises as in `load_tensors`."""
    with _opened(path) as file:
        about = file.metadata() or {}
    if about.get("format") != FORMAT:
        raise ValueError(
            f"{path}: its format is {about.get('format')!r}, not {FORMAT!r}; only files written by "
            "`yolojax convert` describe their network."
        )
    try:
        fields = parse_json(about["config"], "its config")
        return from_dict(fields), int(about["seen"])
    except (KeyError, ValueError, AttributeError) as error:  # AttributeError: a list, not a dict
        raise ValueError(f"{path}: its metadata is damaged: {error}") from error


def flat(variables: dict) -> dict:
    """Flatten {collection: {layer: {leaf: x}}} to {"collection/layer/leaf": x}."""
    return {
        f"{collection}/{layer}/{leaf}": value
        for collection, layers in variables.items()
        for layer, leaves in layers.items()
        for leaf, value in leaves.items()
    }


def nested(tensors: dict) -> dict:
    """Invert `flat`."""
    variables: dict = {"params": {}, "batch_stats": {}}
    for name, value in tensors.items():
        collection, layer, leaf = name.split("/")
        variables.setdefault(collection, {}).setdefault(layer, {})[leaf] = value
    return variables


def check_names(path, names: set[str], expected: set[str]) -> None:
    """Raise ValueError unless `names` are the `expected` names."""
    problems = {"has no": sorted(expected - names), "has unknown": sorted(names - expected)}
    words = [f"{verb} {', '.join(some[:3])}" for verb, some in problems.items() if some]
    if words:
        raise ValueError(
            f"{path}: {' and '.join(words)}; its config describes {len(expected)} tensors. Convert "
            "it again."
        )


def check_leaf(path, name: str, leaf: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless `leaf` is finite float32 of `shape`."""
    if leaf.dtype != np.float32 or leaf.shape != shape:
        raise ValueError(
            f"{path}: {name} must be float32 {list(shape)}, got {leaf.dtype} {list(leaf.shape)}; "
            "convert it again."
        )
    if not np.isfinite(leaf).all():
        raise ValueError(f"{path}: {name} has values that are not finite; its training diverged.")


def _opened(path):
    """Open the file memory-mapped; tensors are read on access."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: not found; give a .safetensors file.")
    try:
        return safe_open(path, framework="numpy")
    except SafetensorError as error:
        raise ValueError(f"{path}: not a .safetensors file, or truncated: {error}") from error
