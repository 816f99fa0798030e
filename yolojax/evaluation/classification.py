"""A classifier and a source -> top-1 and top-5 accuracy, the middle of each picture being shown."""

import time
from contextlib import closing, nullcontext
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from yolojax.config import Config, EvalConfig
from yolojax.data.from_config import eval_label_batches
from yolojax.data.records import Source
from yolojax.data.tree_labels import classes_of
from yolojax.distributed.processes import meet
from yolojax.distributed.sharding import fetch, to_devices
from yolojax.evaluation import hierarchy
from yolojax.evaluation.detection import batch_size, blank_batch, decode_at
from yolojax.evaluation.writers import write_hits, write_result
from yolojax.files import ignore_full_disk
from yolojax.ops.images import to_float
from yolojax.progress import progress
from yolojax.tasks import Task

METRICS = ("top1", "top5")
TOP = 5  # as everyone counts on ImageNet


class Programs(NamedTuple):
    """The jitted function of a classifier."""

    top: object  # (variables, images [B, h, w, 3]) -> (probs [B, 5], labels int32 [B, 5])


def make_programs(task: Task, settings: EvalConfig, nodes: tuple[int, ...] = ()) -> Programs:
    """The program of `task`: the five likeliest classes of each image; see `detect` of `nodes`."""
    decode = decode_at(task, settings, nodes)

    def top(variables, image):
        probs = decode(task.model.apply(variables, to_float(image), train=False))
        return jax.lax.top_k(probs, min(TOP, probs.shape[-1]))

    return Programs(jax.jit(top))


def warm_up(programs: Programs, variables: dict, config: Config, mesh: Mesh) -> None:
    """Compile the program for the evaluation batches of `config`, by running it once."""
    rows = blank_batch(config, mesh, label=((), np.int32))
    _, top = jax.block_until_ready(programs.top(variables, rows.pop("image")))
    meet()
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
) -> dict:
    """Evaluate on every picture of `source` and print a table.

    Files: workdir/eval/<name>.json (the result), eval/<name>_hits.npz (for paired comparisons).
    With `lenient` a full disk costs them alone.

    Returns:
        metric, interval ([low, high] of it, or None), top1, top5, images, per_class {name: images,
        top1, top5}, protocol, source, skipped, speed (ms an image), settings (of config.eval); for
        a tree of classes, of which those of `source` are told apart, also `depths`
        (hierarchy.accuracy_by_depth).

    Raises:
        ValueError: `errors` is asked for: the kinds of error are those of boxes.
    """
    if errors:
        raise ValueError("--errors tells apart wrong boxes; a classifier has none, leave it out.")
    warm_up(programs, variables, config, mesh)
    begin = time.monotonic()
    ids, labels, found = _predict_all(programs, variables, source, config, mesh)
    speed = 1000 * (time.monotonic() - begin) / max(len(labels), 1)
    hits = found == labels[:, None]
    hits = np.stack([hits[:, 0], hits.any(1)], axis=1)  # [n, 2]: top-1, top-5
    height, width = config.data.image_size
    classes, more = config.model.classes, {}
    if config.model.tree:
        more["depths"] = hierarchy.accuracy_by_depth(found[:, 0], labels, config.model.tree)
        own = classes_of(source)
        labels, classes = hierarchy.places(labels, tuple(own)), tuple(own.values())
    result = accuracies(hits, labels, classes, config.eval) | more
    result["protocol"] = {"input": f"centre crop of {height}x{width}, shorter side made to fit"}
    result |= {"source": source.name, "skipped": list(source.skipped), "speed": {"all": speed}}
    result["settings"] = {"metric": config.eval.metric}
    print(format_table(result))
    folder = workdir / "eval"
    told = dict(zip(METRICS, hits.T, strict=True))
    with ignore_full_disk() if lenient else nullcontext():
        write_hits(folder / f"{name}_hits.npz", ids, classes, labels, told)
        write_result(folder / f"{name}.json", result)
    meet()
    return result


def accuracies(hits: np.ndarray, labels: np.ndarray, classes, settings: EvalConfig) -> dict:
    """Numbers from `hits` bool [n, 2] (top-1, top-5) and the true `labels` [n]."""
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
    """The two numbers and the interval of the headline, for the console; of a tree each depth."""
    low, high = result["interval"] or (float("nan"),) * 2
    depths = ", ".join(
        f"{i}: {100 * row['top1']:.2f}" for i, row in enumerate(result.get("depths", ()))
    )
    return (
        f"{result['source']}: top-1 {100 * (result['top1'] or 0):.2f}, "
        f"top-5 {100 * (result['top5'] or 0):.2f} on {result['images']} images; 95 % interval of "
        f"{result['metric']} [{100 * low:.2f}, {100 * high:.2f}]; "
        f"{result['protocol']['input']}; {result['speed']['all']:.1f} ms an image"
        f"{depths and f'; the path is right at depth {depths}'}"
    )


def _predict_all(programs, variables, source, config, mesh) -> tuple[np.ndarray, ...]:
    """Places in the source [n], labels [n] and the classes found, int [n, 5], likeliest first."""
    ids, labels, found = [], [], []
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
            found.append(top[real])
            bar.update(int(real.sum()))
    return tuple(map(np.concatenate, (ids, labels, found)))
