"""How far the outputs of two forms of one network lie apart."""

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.export
import numpy as np

from yolojax.config import Config
from yolojax.export.onnx import export_onnx
from yolojax.export.onnx_layers import layer_names
from yolojax.export.stablehlo import export_stablehlo, import_flatbuffers, outputs_of
from yolojax.ops.images import to_float
from yolojax.tasks import Task, build
from yolojax.text_table import text_table

Model = tuple  # (task, config, variables, ...)
LIMIT = 1e-3  # largest difference of two forms, in standard deviations of the layer


class Mode(NamedTuple):
    """How a network computes, whatever its variables are."""

    dtype: str
    epsilon: str

    @classmethod
    def of(cls, config: Config) -> "Mode":
        """That of the network in `config`."""
        return cls(config.model.dtype, config.model.epsilon)


def in_mode(model: Model, mode: Mode) -> Model:
    """`model`, computing in `mode`."""
    _, config, variables, *_ = model
    config = replace(config, model=replace(config.model, **mode._asdict()))
    return build(config), config, variables


class Difference(NamedTuple):
    """One array of two programs."""

    name: str
    shape: tuple[int, ...]
    largest: float  # of the absolute differences
    relative: float  # that over the array's standard deviation


def difference(name: str, ours, theirs) -> Difference:
    """How far `theirs` is from `ours`; arrays of other shapes are infinitely far."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if ours.shape != theirs.shape:
        return Difference(name, theirs.shape, np.inf, np.inf)
    largest = float(np.abs(ours - theirs).max(initial=0))
    deviation = float(ours.std())
    relative = largest / deviation if deviation else largest
    return Difference(name, ours.shape, largest, relative)


def worst(rows: Iterable[Difference]) -> float:
    """The largest relative difference; NaN where there is one."""
    return float(np.max([row.relative for row in rows]))


def format_differences(rows: list[Difference]) -> str:
    """Format `rows` as a table: the output, its shape and how far the two forms differ."""
    cells = (
        [row.name, " x ".join(map(str, row.shape)), f"{row.largest:.2e}", f"{row.relative:.2e}"]
        for row in rows
    )
    return text_table(["output", "shape", "max abs", "/ std"], cells)


def format_mode(model: Model, mode: Mode, image: np.ndarray) -> str:
    """What `mode` alone changes of the outputs of `model` for `image` [1, H, W, 3], in a line."""
    rows = compare_layers(model, in_mode(model, mode), image)
    largest = max(rows, key=lambda row: row.relative)
    own = Mode.of(model[1])
    names = [f"{name} {getattr(mode, name)}" for name in mode._fields]
    changed = [n for n, was, new in zip(names, own, mode, strict=True) if was != new]
    return (
        f"compared in {' and '.join(changed)}, which by itself changes {largest.name} by "
        f"{largest.relative:.2g} standard deviations, and no other layer by more"
    )


def compare_layers(ours: Model, theirs: Model, image: np.ndarray) -> list[Difference]:
    """Each layer of two (task, config, variables, ...) for one `image` [1, H, W, 3]."""
    one, other = (
        layer_outputs(task, variables, image) for task, _, variables, *_ in (ours, theirs)
    )
    return [difference(name, one[name], other.get(name, ())) for name in one]


def compare_onnx(model: Model, image: np.ndarray, *, nms: bool) -> list[Difference]:
    """Each layer and output of `model` and of its .onnx file, made anew with all layers."""
    task, config, variables, *_ = model
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "all_layers.onnx"
        export_onnx(path, task, config, variables, nms=nms, all_layers=True)
        theirs = run_onnx(path, image)
    ours = layer_outputs(task, variables, image) | _outputs(model, image, nms)
    return [difference(name, ours[name], theirs.get(name, ())) for name in ours]


def compare_stablehlo(path: Path | None, model: Model, image: np.ndarray, *, nms: bool):
    """Each output of `model` and of its .stablehlo file, which knows no layers.

    Without `path` the file is made anew from `model`.
    """
    import_flatbuffers()
    task, config, variables, *_ = model
    with tempfile.TemporaryDirectory() as folder:
        if path is None:
            path = Path(folder) / "anew.stablehlo"
            export_stablehlo(path, task, config, variables, nms=nms)
        exported = jax.export.deserialize(bytearray(path.read_bytes()))
    ours, theirs = _outputs(model, image, nms), exported.call(image)
    return [difference(name, ours[name], theirs.get(name, ())) for name in ours]


def layer_outputs(task: Task, variables: dict, image: np.ndarray) -> dict[str, np.ndarray]:
    """The output of every layer for `image` [1, H, W, 3], as layer07_conv: Darknet's index."""
    run = jax.jit(lambda v, x: task.model.apply(v, to_float(x), all_outputs=True))
    outputs = jax.device_get(run(variables, image))
    return dict(zip(layer_names(task.model.table), outputs, strict=True))


def run_onnx(path: Path, image: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs of an .onnx file for `image` [1, H, W, 3], maps as [1, H, W, C].

    Raises:
        ValueError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(
            "to verify an .onnx file, install onnxruntime: pip install -e '.[export]'."
        ) from error
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    planar = np.asarray(to_float(image), np.float32).transpose(0, 3, 1, 2)
    found = session.run(names, {session.get_inputs()[0].name: planar})
    maps = (array.transpose(0, 2, 3, 1) if array.ndim == 4 else array for array in found)
    return dict(zip(names, maps, strict=True))


def _outputs(model, image, nms):
    task, config, variables, *_ = model
    return jax.device_get(jax.jit(outputs_of(task, config, variables, nms=nms))(image))
