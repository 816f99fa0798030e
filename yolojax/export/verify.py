"""Compare the outputs of a network in two formats."""

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from yolojax.config import Config, EvalConfig
from yolojax.evaluation.matches import overlap
from yolojax.export.onnx import export_onnx
from yolojax.export.onnx_layers import layer_names
from yolojax.export.stablehlo import export_stablehlo, import_flatbuffers, outputs_of
from yolojax.heads.predictions import scores as class_scores
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
    return _compare(ours, theirs, config.eval, nms=nms)


def compare_stablehlo(path: Path | None, model: Model, image: np.ndarray, *, nms: bool):
    """Compare each output of `model` with its .stablehlo file, or with a new export if None."""
    import_flatbuffers()
    task, config, variables, *_ = model
    with tempfile.TemporaryDirectory() as folder:
        if path is None:
            path = Path(folder) / "new.stablehlo"
            export_stablehlo(path, task, config, variables, nms=nms)
        exported = jax.export.deserialize(bytearray(path.read_bytes()))
    return _compare(_outputs(model, image, nms), exported.call(image), config.eval, nms=nms)


def _compare(ours: dict, theirs: dict, settings: EvalConfig, *, nms: bool) -> list[Difference]:
    names = [name for name in ours if not nms or name.startswith("layer")]
    rows = [difference(name, ours[name], theirs.get(name, ())) for name in names]
    return rows + (compare_detections(ours, theirs, settings) if nms else [])


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
    """Return the arrays of `outputs_of` and, with `nms`, the `candidates` of NMS."""
    task, config, variables, *_ = model
    outputs = outputs_of(task, config, variables, nms=nms)

    def run(image):
        if not nms:
            return outputs(image)
        predicted = task.decode(task.model.apply(variables, to_float(image), train=False))
        values = class_scores(predicted)
        labels = jnp.arange(values.shape[-1]) if predicted.labels is None else predicted.labels
        labels = jnp.broadcast_to(labels, values.shape)
        return outputs(image) | {"candidates": (predicted.boxes[0], values[0], labels[0])}

    return jax.device_get(jax.jit(run)(image))


def compare_detections(ours: dict, theirs: dict, settings: EvalConfig) -> list[Difference]:
    """Compare the detections of one image, each with that of its class with the same box and score.

    Ranks are not compared, as rounding decides the order of equal scores. It also decides which of
    two overlapping boxes with equal scores suppresses the other, and whether a detection is above a
    threshold; such detections need no partner.

    Args:
        ours: the arrays of `outputs_of` with `nms`, and `candidates`: boxes [N, 4],
            scores [N, C] and labels [N, C] before NMS.
        theirs: the same of another program, without `candidates`.
        settings: config.eval.

    Returns:
        The differences of boxes (0..1) and scores of the pairs, which are not divided by a standard
        deviation, and one whose shape and size is the number of detections that have no partner.
    """
    (boxes, scores, labels), (others, other_scores, other_labels) = map(_valid, (ours, theirs))
    distance = _distance(boxes[:, None], others)
    equal = labels[:, None] == other_labels
    equal &= np.abs(scores[:, None] - other_scores) <= LIMIT
    pairs = _best_pairs(np.where(equal & (distance <= LIMIT), 1 - distance, 0))
    first, second = np.array(pairs, int).reshape(-1, 2).T
    candidates = ours["candidates"]
    rows = zip(others, other_scores, other_labels, strict=True)
    real = np.array([_is_candidate(*row, candidates) for row in rows], bool)
    iou = overlap(boxes, others, np.zeros(len(others), bool))
    explained = (iou > settings.iou_threshold) & equal  # one of them suppressed the other
    explained |= np.abs(iou - settings.iou_threshold) <= LIMIT
    explained &= real
    alone = (scores > _least(other_scores, settings)) & ~explained.any(axis=1)
    alone[first] = False
    more = ~real | ((other_scores > _least(scores, settings)) & ~explained.any(axis=0))
    more[second] = False
    count = int(alone.sum() + more.sum())
    moved = float(distance[first, second].max(initial=0))
    rescored = float(np.abs(scores[first] - other_scores[second]).max(initial=0))
    return [
        Difference("boxes", (len(pairs), 4), moved, moved),
        Difference("scores", (len(pairs),), rescored, rescored),
        Difference("without a partner", (count,), float(count), np.inf if count else 0.0),
    ]


def _valid(outputs: dict) -> tuple[np.ndarray, ...]:
    count = int(outputs["count"][0])
    return tuple(np.asarray(outputs[name][0])[:count] for name in ("boxes", "scores", "labels"))


def _distance(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the largest difference of the edges, over the longer side of a box larger than 1."""
    sides = np.abs(others[..., 2:] - others[..., :2]).max(axis=-1, initial=1)
    return np.abs(boxes - others).max(axis=-1, initial=0) / sides


def _best_pairs(values: np.ndarray) -> list[tuple[int, int]]:
    """Choose pairs (row, column) of the largest positive `values` [n, m], each of them once."""
    pairs, values = [], values.copy()
    while values.size and values.max() > 0:
        row, column = np.unravel_index(values.argmax(), values.shape)
        pairs.append((int(row), int(column)))
        values[row], values[:, column] = 0, 0
    return pairs


def _is_candidate(box, score, label, candidates) -> bool:
    """Check whether our network predicts this box as well, whatever NMS does with it."""
    boxes, scores, labels = candidates
    same = (labels == label) & (np.abs(scores - score) <= LIMIT)
    return bool((same.any(axis=1) & (_distance(boxes, box) <= LIMIT)).any())


def _least(others: np.ndarray, settings: EvalConfig) -> float:
    """Return the score up to which a detection may be missing among `others`, their scores [m]."""
    full = len(others) >= settings.max_detections
    return LIMIT + (others.min() if full else settings.score_threshold)
