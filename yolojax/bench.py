"""Time the programs of a config on the present devices, with random pictures.

rows = bench(config, make_mesh(), calls=20)
print(format_rows(rows, peak=None))
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from yolojax.config import Config
from yolojax.data.from_config import open_train_source, train_batches
from yolojax.data.sources.shapes import SHAPES
from yolojax.distributed.sharding import check_batch_size, shardings_of, to_devices
from yolojax.evaluation.detection import batch_size, blank_batch
from yolojax.evaluation.dispatch import evaluation_of
from yolojax.tasks import Task, build, forward_flops
from yolojax.text_table import text_table
from yolojax.training.compilation import abstract_batch, compile_train_steps, train_sizes
from yolojax.training.optimizer import make_optimizer
from yolojax.training.profiling import BACKWARD, planned_bytes
from yolojax.training.state import create_state, inference_variables
from yolojax.training.step import jit_train_step, make_train_step

BOXES = 8  # ground-truth boxes of each random picture
THRESHOLDS = (0.005, 0.45)  # score and IoU; shapes, and so times, do not depend on them


class Row(NamedTuple):
    """One program, or the input pipeline."""

    name: str
    size: tuple[int, int]  # (height, width) of the images
    images: int  # per call, on all devices
    ms: tuple[float, ...]  # of each call
    images_per_sec: float
    compile_seconds: float | None = None  # None for the input
    planned_bytes: int | None = None  # per device, if the compiler reports it
    flops: float = 0.0  # per image; 0 if not counted


def bench(config: Config, mesh: Mesh, *, calls: int) -> Iterator[Row]:
    """Compile and time the train step at each size, the evaluation's programs, and the input.

    Each call is timed until its result is ready, after one warm-up call.

    Raises:
        ValueError: the config is inconsistent, or its batch size does not suit the devices.
    """
    check_batch_size(config.optimizer.batch_size, config.optimizer.subdivisions, mesh)
    task, optimizer = build(config), make_optimizer(config.optimizer)
    state = create_state(task, optimizer, config, mesh)
    step = make_train_step(config, task, optimizer, mesh)
    jitted = jit_train_step(step, mesh, shardings_of(state))
    for size in train_sizes(config):
        state, row = _train_row(jitted, state, task, at_size(config, size), mesh, calls)
        yield row
    yield from _evaluation_rows(task, inference_variables(state), config, mesh, calls)
    yield _input_row(at_size(config, config.data.image_size), task.head, calls)


def at_size(config: Config, size: tuple[int, int]) -> Config:
    """Return `config` with images of (height, width) and no other sizes."""
    return replace(config, data=replace(config.data, image_size=tuple(size), multiscale=()))


def _train_row(jitted, state, task: Task, config: Config, mesh: Mesh, calls: int):
    """Time updates and return the new state and the row; `state` is donated."""
    size, images = config.data.image_size, config.optimizer.batch_size
    begin = time.monotonic()
    program = compile_train_steps(jitted, state, config, task.head, mesh)[size]
    compile_seconds = time.monotonic() - begin
    like = abstract_batch(config, task.head, size, mesh)
    batch = to_devices(random_batch(like, len(config.model.classes)), mesh)

    def update():
        nonlocal state
        state, numbers = program(state, batch)
        return state, numbers

    flops = (1 + BACKWARD) * forward_flops(task, size)
    row = _row("train step", size, images, update, calls, compile_seconds, program, flops)
    return state, row


def random_batch(like: dict, classes: int) -> dict[str, np.ndarray]:
    """A batch shaped as `like`: noise, with BOXES boxes a picture."""
    draw = np.random.default_rng(0)
    rows, *size = like["image"].shape
    most = like["boxes"].shape[1] if "boxes" in like else 1
    corner = draw.uniform(0, 0.6, (rows, most, 2))
    batch = {
        "image": draw.integers(0, 256, (rows, *size), np.uint8),
        "image_id": np.arange(rows),
        "boxes": np.concatenate([corner, corner + draw.uniform(0.05, 0.4, corner.shape)], -1),
        "labels": draw.integers(0, classes, (rows, most)),
        "mask": np.tile(np.arange(most) < BOXES, (rows, 1)),
        "label": draw.integers(0, classes, rows),
    }
    return {name: batch[name].astype(leaf.dtype) for name, leaf in like.items()}


def _evaluation_rows(task: Task, variables, config: Config, mesh: Mesh, calls: int):
    """The network and what follows it, at the size and batch of the evaluation."""
    size, images = tuple(config.data.image_size), batch_size(config, mesh)
    programs = evaluation_of(task).make_programs(task, config.eval)
    image = blank_batch(config, mesh)["image"]
    flops = forward_flops(task, size)
    if task.is_classifier:
        yield _aot_row(
            "network + top 5", size, images, programs.top, (variables, image), calls, flops
        )
        return
    yield _aot_row("network", size, images, programs.network, (variables, image), calls, flops)
    raw = programs.network(variables, image)
    yield _aot_row("decode + NMS", size, images, programs.detect, (raw, *THRESHOLDS), calls, 0.0)


def _aot_row(name, size, images, jitted: Callable, arguments: tuple, calls: int, flops) -> Row:
    begin = time.monotonic()
    program = jitted.lower(*arguments).compile()
    seconds = time.monotonic() - begin
    return _row(name, size, images, lambda: program(*arguments), calls, seconds, program, flops)


def _row(name, size, images, call, calls, compile_seconds, program, flops) -> Row:
    ms = time_calls(call, calls)
    rate = 1000 * images / statistics.median(ms)
    return Row(name, size, images, ms, rate, compile_seconds, planned_bytes(program), flops)


def time_calls(call: Callable[[], Any], calls: int) -> tuple[float, ...]:
    """Milliseconds of each of `calls` calls until its result is ready, after one warm-up call."""
    jax.block_until_ready(call())
    times = []
    for _ in range(calls):
        begin = time.monotonic()
        jax.block_until_ready(call())
        times.append(1000 * (time.monotonic() - begin))
    return tuple(times)


def _input_row(config: Config, head: str, calls: int) -> Row:
    """Time batches of config.data.train, or of drawn shapes if that data is absent."""
    images = config.optimizer.batch_size
    name, source, config = _source(config, head)
    with closing(train_batches(source, config, head, start_batch=0)) as batches:
        ms = time_calls(lambda: next(batches), calls)
    # The mean, since batches are prefetched: some are ready at once and others late.
    rate = 1000 * images / statistics.mean(ms)
    return Row(f"{name}, {config.data.threads} threads", config.data.image_size, images, ms, rate)


def _source(config: Config, head: str):
    """Return the name of the training data, the source, and the config to read it with."""
    try:
        return f"input {config.data.train}", open_train_source(config, head), config
    except FileNotFoundError:  # the data is not on this machine
        data = replace(config.data, train="shapes:single", labelled="", map="")
        model = replace(config.model, classes=SHAPES, class_names=(), tree=())
        drawn = replace(config, data=data, model=model)
        return "input, drawn as data.train is absent", open_train_source(drawn, head), drawn


def as_dict(row: Row, peak: float | None) -> dict:
    """Convert `row` for JSON; `peak` is operations per second of all devices, or None."""
    found = {
        "program": row.name,
        "image_size": list(row.size),
        "images": row.images,
        "compile_seconds": row.compile_seconds,
        "ms": {"median": statistics.median(row.ms), "min": min(row.ms), "max": max(row.ms)},
        "images_per_sec": row.images_per_sec,
        "planned_bytes": row.planned_bytes,
        "mfu": row.flops * row.images_per_sec / peak if peak and row.flops else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def format_rows(rows: list[Row], peak: float | None) -> str:
    """Format `rows` as a table, with a column for MFU if the `peak` of the devices is known."""
    header = ["program", "h x w", "images", "compile s", "GB", "ms", "[min, max]", "images/s"]
    cells = (_cells(as_dict(row, peak))[: 9 if peak else 8] for row in rows)
    return text_table(header + ["MFU"] * bool(peak), cells, "<>>>>><>")


def _cells(row: dict) -> list[str]:
    height, width = row["image_size"]
    low, high = row["ms"]["min"], row["ms"]["max"]
    return [
        row["program"],
        f"{height} x {width}",
        str(row["images"]),
        f"{row['compile_seconds']:.1f}" if "compile_seconds" in row else "",
        f"{row['planned_bytes'] / 1e9:.3f}" if "planned_bytes" in row else "",
        f"{row['ms']['median']:.1f}",
        f"[{low:.1f}, {high:.1f}]",
        f"{row['images_per_sec']:.1f}",
        f"{row['mfu']:.1%}" if "mfu" in row else "",
    ]
