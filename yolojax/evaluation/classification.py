"""Evaluate a classifier: top-1 and top-5 accuracy on one view of every image."""

import time
from contextlib import closing, nullcontext
from pathlib import Path
from typing import NamedTuple

import chex
import jax
import numpy as np
from jax.sharding import Mesh

from yolojax.config import Config, DataConfig, EvalConfig
from yolojax.data.from_config import eval_label_batches, evaluation_view
from yolojax.data.records import Source
from yolojax.data.tree_labels import classes_of
from yolojax.distributed.processes import barrier
from yolojax.distributed.sharding import fetch, to_devices
from yolojax.evaluation import hierarchy
from yolojax.evaluation.detection import batch_size, blank_batch, decoder
from yolojax.evaluation.evaluator import unreadable_ground_truth
from yolojax.evaluation.writers import format_left_out, write_hits, write_result
from yolojax.files import ignore_full_disk
from yolojax.ops.images import to_float
from yolojax.progress import progress
from yolojax.tasks import Task

METRICS = ("top1", "top5")
TOP = 5  # the convention on ImageNet


class Programs(NamedTuple):
    """The jitted function of a classifier."""

    top: object  # (variables, images [B, h, w, 3]) -> (probs [B, 5], labels int32 [B, 5])


def make_programs(task: Task, settings: EvalConfig, nodes: tuple[int, ...] = ()) -> Programs:
    """Build the program that returns the five most probable classes of each image.

    `nodes` as in `detection.make_programs`.
    """
    decode = decoder(task, settings, nodes)

    def top(variables, image):
        chex.assert_shape(image, (None, None, None, 3))
        probs = decode(task.model.apply(variables, to_float(image), train=False))
        chex.assert_shape(probs, (len(image), None))
        return jax.lax.top_k(probs, min(TOP, probs.shape[-1]))

    return Programs(jax.jit(top))


def warm_up(programs: Programs, variables: dict, config: Config, mesh: Mesh) -> None:
    """Compile the program for the evaluation batches of `config` by running it once."""
    rows = blank_batch(config, mesh, label=((), np.int32), readable=((), np.bool_))
    _, top = jax.block_until_ready(programs.top(variables, rows.pop("image")))
    barrier()
    fetch((rows, top), mesh)


def evaluate_source(
    programs: Programs,
    variables: dict,
    source: Source,
    config: Config,
    mesh: Mesh,
    workdir: Path,
    name: str = "val",
    *,
    errors: bool = False,
    lenient: bool = False,
    checkpoint: dict | None = None,
) -> dict:
    """Evaluate every image of `source`, print the accuracy and write the files.

    Files: workdir/eval/<name>.json (the result), eval/<name>_hits.npz (for paired comparisons).
    With `lenient`, they are skipped if the disk is full.

    Returns:
        metric, interval ([low, high] of it, or None), top1, top5, images, per_class {name: images,
        top1, top5}, protocol, source, skipped (messages of records with bad annotations),
        unreadable (pictures, which count as wrong), speed (ms per image), settings (of
        config.eval), checkpoint (what was evaluated, as given); with a tree, where the classes are
        those of `source`, also `depths` (hierarchy.accuracy_by_depth).

    Raises:
        ValueError: `errors` is set; the error analysis needs boxes.
        BadRecord: a picture cannot be read, and config.data.on_bad_record is "error".
    """
    if errors:
        raise ValueError("--errors analyses boxes, which a classifier does not have; leave it out.")
    warm_up(programs, variables, config, mesh)
    begin = time.monotonic()
    ids, labels, predicted, readable = _predict_all(programs, variables, source, config, mesh)
    speed = 1000 * (time.monotonic() - begin) / max(len(labels), 1)
    hits = (predicted == labels[:, None]) & readable[:, None]
    hits = np.stack([hits[:, 0], hits.any(1)], axis=1)  # [n, 2]: top-1, top-5
    classes, more = config.model.classes, {}
    if config.model.tree:
        chosen = np.where(readable, predicted[:, 0], -1)
        more["depths"] = hierarchy.accuracy_by_depth(chosen, labels, config.model.tree)
        own = classes_of(source)
        labels = np.where(labels < 0, -1, hierarchy.indices_in(tuple(own), labels))
        classes = tuple(own.values())
    result = accuracies(hits, labels, classes, config.eval) | more
    result["protocol"] = {"input": _input(config.data)}
    result |= {"source": source.name, "skipped": list(source.skipped), "speed": {"all": speed}}
    result["unreadable"] = [
        unreadable_ground_truth(source, int(index))[1] for index in ids[~readable]
    ]
    result |= {"settings": {"metric": config.eval.metric}, "checkpoint": checkpoint}
    print(format_table(result))
    if left_out := format_left_out(result):
        print(left_out)
    folder = workdir / "eval"
    columns = dict(zip(METRICS, hits.T, strict=True))
    with ignore_full_disk() if lenient else nullcontext():
        write_hits(folder / f"{name}_hits.npz", ids, classes, labels, columns)
        write_result(folder / f"{name}.json", result)
    barrier()
    return result


def _input(data: DataConfig) -> str:
    """Return a description of the network's input."""
    height, width = data.image_size
    if evaluation_view(data) == "letterbox":
        return f"letterbox of {height}x{width}"
    return f"centre crop of {height}x{width}, shorter side made to fit"


def accuracies(hits: np.ndarray, labels: np.ndarray, classes, settings: EvalConfig) -> dict:
    """Compute accuracies from `hits` bool [n, 2] (top-1, top-5) and the true `labels` [n]."""
    column = METRICS.index(settings.metric)
    draw = np.random.default_rng(0)
    interval = None
    if settings.bootstrap and len(hits):
        count = draw.binomial(len(hits), hits[:, column].mean(), size=settings.bootstrap)
        interval = np.percentile(count / len(hits), [2.5, 97.5]).tolist()
    return {
        "metric": settings.metric,
        "interval": interval,
        **_means(hits),
        "images": len(hits),
        "per_class": {
            name: _means(hits[labels == i]) | {"images": int((labels == i).sum())}
            for i, name in enumerate(classes)
        },
    }


def _means(hits) -> dict[str, float | None]:
    values = hits.mean(0) if len(hits) else (None, None)
    return {m: None if v is None else float(v) for m, v in zip(METRICS, values, strict=True)}


def format_table(result: dict) -> str:
    """Format the accuracies, the interval of the headline and, with a tree, each depth."""
    low, high = result["interval"] or (float("nan"),) * 2
    depths = ", ".join(
        f"{i}: {100 * row['top1']:.2f}" for i, row in enumerate(result.get("depths", ()))
    )
    return (
        f"{result['source']}: top-1 {100 * (result['top1'] or 0):.2f}, "
        f"top-5 {100 * (result['top5'] or 0):.2f} on {result['images']} images; 95 % interval of "
        f"{result['metric']} [{100 * low:.2f}, {100 * high:.2f}]; "
        f"{result['protocol']['input']}; {result['speed']['all']:.1f} ms per image"
        f"{depths and f'; the path is correct at depth {depths}'}"
    )


def _predict_all(programs, variables, source, config, mesh) -> tuple[np.ndarray, ...]:
    """Return columns of n pictures.

    Returns:
        (index in the source [n], label [n], predicted classes [n, 5], best first, readable [n]).
    """
    ids, labels, predicted, readable = [], [], [], []
    with (
        closing(eval_label_batches(source, config, batch_size(config, mesh))) as batches,
        progress(total=len(source), desc="evaluating", unit="image") as bar,
    ):
        for batch in batches:
            rows = to_devices(batch, mesh)
            _, top = programs.top(variables, rows.pop("image"))
            batch, top = fetch((rows, top), mesh)  # as in warm_up
            real = batch["image_id"] >= 0
            ids.append(batch["image_id"][real])
            labels.append(batch["label"][real])
            predicted.append(top[real])
            readable.append(batch["readable"][real])
            bar.update(int(real.sum()))
    return tuple(map(np.concatenate, (ids, labels, predicted, readable)))
