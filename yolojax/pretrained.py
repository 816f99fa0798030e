"""Where a new run starts: the layers of another one, or of a Darknet file, by their names."""

from pathlib import Path
from typing import NamedTuple

import jax

from yolojax.config import Config
from yolojax.darknet.published_files import of_size
from yolojax.darknet.tree import from_darknet
from yolojax.darknet.weights import load_weights, prefix_of
from yolojax.loading import is_weights, load_model
from yolojax.tasks import Task
from yolojax.text_table import text_table
from yolojax.training.state import TrainState


class Match(NamedTuple):
    """What became of one layer."""

    layer: str
    fate: str  # "loaded", "skipped" or "new"
    reason: str


def load_pretrained(path: str, state: TrainState, task: Task, config: Config) -> TrainState:
    """`state` with the layers that `path` has of it; the others stay as they are.

    Layers are matched by name, and loaded if all their shapes fit; the output layer only if both
    outputs mean the same kind of thing. A table of what was loaded is printed.

    Args:
        path: a --workdir (its best checkpoint), a .safetensors, a published .weights, or a .weights
            that holds exactly the first layers of this network (Darknet's `partial`, as
            darknet19_448.conv.23).
        state: a new one; its optimizer, step and seen are kept.
        task: that of `state`.
        config: that of `task`.

    Raises:
        FileNotFoundError: `path` does not exist.
        ValueError: it cannot be read, or not one layer fits.
    """
    variables, same_head = _load(Path(path), task, config)
    matches = match_layers(state, variables, same_head)
    print(format_matches(path, matches, variables))
    loaded = {m.layer for m in matches if m.fate == "loaded"}
    if not loaded:
        raise ValueError(f"config.init_from is {path}: no layer of it fits {config.model.name}.")
    params = _replace(state.params, variables["params"], loaded)
    stats = _replace(state.batch_stats, variables.get("batch_stats", {}), loaded)
    copy = {"params": params, "batch_stats": stats}
    ema = jax.tree.map(lambda x: x.copy(), copy) if state.ema is not None else None
    return state._replace(params=params, batch_stats=stats, ema=ema)


def _load(path: Path, task: Task, config: Config) -> tuple[dict, bool]:
    """The variables in `path`, and whether its output means what that of `task` does."""
    if is_weights(path):
        size = config.data.image_size
        upto = prefix_of(path, task.model, image_size=size)
        if upto is not None:
            variables, _ = load_weights(path, task.model, image_size=size, upto=upto)
            return from_darknet(variables, task.model.table, config.model), True
        if not of_size(path.stat().st_size):
            raise ValueError(
                f"config.init_from is {path}, whose {path.stat().st_size} bytes are neither those "
                f"of the first layers of {config.model.name} nor of a published file; name its "
                f"network: `yolojax convert ITS.cfg {path} --to start.safetensors`, and start "
                "from that."
            )
    other = load_model(path)
    same_tree = other.config.model.tree == config.model.tree
    return other.variables, same_tree and other.task.head == task.head


def match_layers(state: TrainState, variables: dict, same_head: bool) -> list[Match]:
    """One Match for each layer of `state`, in its order."""
    return [_match(layer, state, variables, same_head) for layer in state.params]


def _match(layer: str, state: TrainState, variables: dict, same_head: bool) -> Match:
    if layer not in variables["params"]:
        return Match(layer, "new", "")
    if layer == "output" and not same_head:
        return Match(layer, "skipped", "its output is of another kind")
    wanted = _shapes(state.params, state.batch_stats, layer)
    found = _shapes(variables["params"], variables.get("batch_stats", {}), layer)
    for leaf in wanted | found:
        if wanted.get(leaf) != found.get(leaf):
            shapes = f"{found.get(leaf, 'nothing')} there, {wanted.get(leaf, 'nothing')} here"
            return Match(layer, "skipped", f"{leaf}: {shapes}")
    return Match(layer, "loaded", "")


def _shapes(params: dict, batch_stats: dict, layer: str) -> dict[str, tuple[int, ...]]:
    leaves = params[layer] | batch_stats.get(layer, {})
    return {name: tuple(leaf.shape) for name, leaf in leaves.items()}


def _replace(tree: dict, values: dict, layers: set[str]) -> dict:
    """`tree` with those `layers` of `values`, laid out on devices as they are in `tree`."""
    return {
        layer: {
            name: jax.device_put(values[layer][name], leaf.sharding) for name, leaf in old.items()
        }
        if layer in layers
        else old
        for layer, old in tree.items()
    }


def format_matches(path: str, matches: list[Match], variables: dict) -> str:
    """What was loaded, layer by layer, and what of `variables` was not asked for."""
    table = text_table((), ([f"  {m.layer}", m.fate, m.reason] for m in matches), "<")
    counts = ", ".join(
        f"{sum(m.fate == fate for m in matches)} {fate}" for fate in ("loaded", "skipped", "new")
    )
    unused = sorted(set(variables["params"]) - {m.layer for m in matches})
    rest = f"; not used: {', '.join(unused)}" if unused else ""
    return "\n".join([f"layers from {path}:", table, f"  {counts}{rest}"])
