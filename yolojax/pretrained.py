"""Initialise a new run with the layers of a trained model, matched by name."""

from pathlib import Path
from typing import NamedTuple

import jax

from yolojax.config import Config
from yolojax.darknet.data_files import file_next_to
from yolojax.darknet.published_files import of_size
from yolojax.darknet.tree import from_darknet
from yolojax.darknet.weights import load_weights, prefix_of
from yolojax.loading import Loaded, describe, is_weights, load_model
from yolojax.tasks import Task
from yolojax.text_table import text_table
from yolojax.training.run_config import short
from yolojax.training.state import TrainState


class Match(NamedTuple):
    """The outcome of one layer."""

    layer: str
    outcome: str  # "loaded", "skipped" or "new"
    reason: str


def load_pretrained(path: str, state: TrainState, task: Task, config: Config) -> TrainState:
    """Replace the layers of `state` by those of the same name and shapes in `path`.

    The output layer is loaded only if both models have the same kind of head, the same class tree
    and, unless config.init_output is set, the same classes in the same order. A table of all layers
    is printed.

    Args:
        path: the workdir of a run (its best checkpoint), a .safetensors file, a published .weights
            file, or a .weights file with exactly the first layers of this network (Darknet's
            `partial`, such as darknet19_448.conv.23).
        state: a new state; its optimizer, step and seen do not change.
        task: of `state`.
        config: of `task`.

    Raises:
        FileNotFoundError: `path` does not exist.
        ValueError: `path` cannot be read, or no layer fits.
    """
    variables, difference = _load(Path(path), task, config)
    matches = match_layers(state, variables, difference)
    print(format_matches(path, matches, variables))
    loaded = {m.layer for m in matches if m.outcome == "loaded"}
    if not loaded:
        raise ValueError(f"config.init_from is {path}: no layer of it fits {config.model.name}.")
    params = _replace(state.params, variables["params"], loaded)
    stats = _replace(state.batch_stats, variables.get("batch_stats", {}), loaded)
    copy = {"params": params, "batch_stats": stats}
    ema = jax.tree.map(lambda x: x.copy(), copy) if state.ema is not None else None
    return state._replace(params=params, batch_stats=stats, ema=ema)


def _load(path: Path, task: Task, config: Config) -> tuple[dict, str]:
    """Return the variables in `path`, and why their output layer is not to be loaded, or ""."""
    if is_weights(path):
        size = config.data.image_size
        upto = prefix_of(path, task.model, image_size=size)
        if upto is not None:
            variables, _ = load_weights(path, task.model, image_size=size, upto=upto)
            variables = from_darknet(variables, task.model.table, config.model)
            whole = upto == len(task.model.table)
            return variables, _other_classes(_classes_of(path), config) if whole else ""
        if not (of_size(path.stat().st_size) or file_next_to(path, ".cfg")):
            raise ValueError(
                f"config.init_from is {path}, whose {path.stat().st_size} bytes are neither those "
                f"of the first layers of {config.model.name} nor of a published file; convert it "
                f"with `yolojax convert ITS.cfg {path} --to start.safetensors` and start from "
                "that."
            )
    other = load_model(path)
    return other.variables, _difference(other, task, config)


def _difference(other: Loaded, task: Task, config: Config) -> str:
    """Say how the outputs of two models differ in meaning; "" if they do not."""
    if other.task.head != task.head or other.config.model.tree != config.model.tree:
        return "another kind of head"
    return _other_classes(other.config.model.classes, config)


def _classes_of(path: Path) -> tuple[str, ...]:
    """Return the classes of whole .weights; () if they are not known."""
    try:
        return describe(path).model.classes
    except ValueError:  # not a published file, or one with a tree
        return ()


def _other_classes(theirs: tuple[str, ...], config: Config) -> str:
    """Say how the classes `theirs` differ from those of `config`; "" if the layer is to be loaded.

    Another class or order would make the layer detect one class as another.
    """
    ours = config.model.classes
    if theirs == ours or config.init_output:
        return ""
    there, here = short(theirs, ours)
    what = "are others" if sorted(theirs) != sorted(ours) else "have another order"
    what = f"{what}: {there} there, {here} here" if theirs else "are not known"
    return f"its classes {what}; --config.init_output=True loads it anyway"


def match_layers(state: TrainState, variables: dict, difference: str) -> list[Match]:
    """Return a Match for each layer of `state`; the output layer is skipped for a `difference`."""
    return [_match(layer, state, variables, difference) for layer in state.params]


def _match(layer: str, state: TrainState, variables: dict, difference: str) -> Match:
    if layer not in variables["params"]:
        return Match(layer, "new", "")
    if layer == "output" and difference:
        return Match(layer, "skipped", difference)
    ours = _shapes(state.params, state.batch_stats, layer)
    theirs = _shapes(variables["params"], variables.get("batch_stats", {}), layer)
    for leaf in ours | theirs:
        if ours.get(leaf) != theirs.get(leaf):
            shapes = f"{theirs.get(leaf, 'nothing')} there, {ours.get(leaf, 'nothing')} here"
            return Match(layer, "skipped", f"{leaf}: {shapes}")
    return Match(layer, "loaded", "")


def _shapes(params: dict, batch_stats: dict, layer: str) -> dict[str, tuple[int, ...]]:
    leaves = params[layer] | batch_stats.get(layer, {})
    return {name: tuple(leaf.shape) for name, leaf in leaves.items()}


def _replace(tree: dict, values: dict, layers: set[str]) -> dict:
    """Replace `layers` of `tree` by those of `values`, with the shardings of `tree`."""
    return {
        layer: {
            name: jax.device_put(values[layer][name], leaf.sharding) for name, leaf in old.items()
        }
        if layer in layers
        else old
        for layer, old in tree.items()
    }


def format_matches(path: str, matches: list[Match], variables: dict) -> str:
    """Format the outcome of each layer, and the layers of `variables` that are not used."""
    table = text_table((), ([f"  {m.layer}", m.outcome, m.reason] for m in matches), "<")
    counts = ", ".join(
        f"{sum(m.outcome == outcome for m in matches)} {outcome}"
        for outcome in ("loaded", "skipped", "new")
    )
    unused = sorted(set(variables["params"]) - {m.layer for m in matches})
    rest = f"; not used: {', '.join(unused)}" if unused else ""
    return "\n".join([f"layers from {path}:", table, f"  {counts}{rest}"])
