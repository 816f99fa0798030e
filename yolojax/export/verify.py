"""Compare the outputs of a network in two formats."""

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
LIMIT = 1e-3  # largest accepted difference, in standard deviations of the layer


class Mode(NamedTuple):
    """The settings of a network that affect its numerics."""

    dtype: str
    epsilon: str

    @classmethod
    def of(cls, config: Config) -> "Mode":
        """Return the mode of the network in `config`."""
        return cls(config.model.dtype, config.model.epsilon)


def in_mode(model: Model, mode: Mode) -> Model:
    """Rebuild `model` with `mode`."""
    _, config, variables, *_ = model
    config = replace(config, model=replace(config.model, **mode._asdict()))
    return build(config), config, variables


class Difference(NamedTuple):
    """The difference of one array in two programs."""

    name: str
    shape: tuple[int, ...]
    largest: float  # of the absolute differences
    relative: float  # that over the array's standard deviation


def difference(name: str, ours, theirs) -> Difference:
    """Compute the difference of two arrays; infinite if their shapes differ."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if ours.shape != theirs.shape:
        return Difference(name, theirs.shape, np.inf, np.inf)
    largest = float(np.abs(ours - theirs).max(initial=0))
    deviation = float(ours.std())
    relative = largest / deviation if deviation else largest
    return Difference(name, ours.shape, largest, relative)


def worst(rows: Iterable[Difference]) -> float:
    """Return the largest relative difference; NaN if any is NaN."""
    return float(np.max([row.relative for row in rows]))


def format_differences(rows: list[Difference]) -> str:
    """Format `rows` as a table."""
    cells = (
        [row.name, " x ".join(map(str, row.shape)), f"{row.largest:.2e}", f"{row.relative:.2e}"]
        for row in rows
    )
    return text_table(["output", "shape", "max abs", "/ std"], cells)


def format_mode(model: Model, mode: Mode, image: np.ndarray) -> str:
    """Format the effect of `mode` on the outputs of `model` for `image` [1, H, W, 3] in a line."""
    rows = compare_layers(model, in_mode(model, mode), image)
    largest = max(rows, key=lambda row: row.relative)
    own = Mode.of(model[1])
    names = [f"{name} {getattr(mode, name)}" for name in mode._fields]
    changed = [n for n, was, new in zip(names, own, mode, strict=True) if was != new]
    return (
        f"compared in {' and '.join(changed)}; this alone changes the layers by up to "
        f"{largest.relative:.2g} standard deviations ({largest.name})"
    )


def compare_layers(ours: Model, theirs: Model, image: np.ndarray) -> list[Difference]:
    """Compare each layer of two models for one `image` [1, H, W, 3]."""
    one, other = (
        layer_outputs(task, variables, image) for task, _, variables, *_ in (ours, theirs)
    )
    return [difference(name, one[name], other.get(name, ())) for name in one]


def compare_onnx(model: Model, image: np.ndarray, *, nms: bool) -> list[Difference]:
    """Compare each layer and output of `model` with a new .onnx export that has all layers."""
    task, config, variables, *_ = model
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "all_layers.onnx"
        export_onnx(path, task, config, variables, nms=nms, all_layers=True)
        theirs = run_onnx(path, image)
    ours = layer_outputs(task, variables, image) | _outputs(model, image, nms)
    return [difference(name, ours[name], theirs.get(name, ())) for name in ours]


def compare_stablehlo(path: Path | None, model: Model, image: np.ndarray, *, nms: bool):
    """Compare each output of `model` with its .stablehlo file, or with a new export if None."""
    import_flatbuffers()
    task, config, variables, *_ = model
    with tempfile.TemporaryDirectory() as folder:
        if path is None:
            path = Path(folder) / "new.stablehlo"
            export_stablehlo(path, task, config, variables, nms=nms)
        exported = jax.export.deserialize(bytearray(path.read_bytes()))
    ours, theirs = _outputs(model, image, nms), exported.call(image)
    return [difference(name, ours[name], theirs.get(name, ())) for name in ours]


def layer_outputs(task: Task, variables: dict, image: np.ndarray) -> dict[str, np.ndarray]:
    """Return {name: output} of every layer for `image` [1, H, W, 3], as layer07_conv."""
    run = jax.jit(lambda v, x: task.model.apply(v, to_float(x), all_outputs=True))
    outputs = jax.device_get(run(variables, image))
    return dict(zip(layer_names(task.model.table), outputs, strict=True))


def run_onnx(path: Path, image: np.ndarray) -> dict[str, np.ndarray]:
    """Run an .onnx file on `image` [1, H, W, 3] -> its outputs, maps as [1, H, W, C].

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
    arrays = session.run(names, {session.get_inputs()[0].name: planar})
    maps = (array.transpose(0, 2, 3, 1) if array.ndim == 4 else array for array in arrays)
    return dict(zip(names, maps, strict=True))


def _outputs(model, image, nms):
    task, config, variables, *_ = model
    return jax.device_get(jax.jit(outputs_of(task, config, variables, nms=nms))(image))
