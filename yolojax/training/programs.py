"""Every program of a run, compiled before the first step."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from yolojax.config import Config
from yolojax.distributed.sharding import split
from yolojax.progress import progress
from yolojax.training.state import TrainState


def train_sizes(config: Config) -> list[tuple[int, int]]:
    """Every (height, width) that a training batch of `config` can have."""
    sides = config.data.multiscale
    return [(s, s) for s in sorted(set(sides))] if sides else [tuple(config.data.image_size)]


def abstract_batch(config: Config, head: str, size: tuple[int, int], mesh: Mesh) -> dict:
    """Shapes and places of a training batch with images of `size`, for a network with `head`."""
    b, m = config.optimizer.batch_size, config.data.max_boxes
    truths = {
        "boxes": ((b, m, 4), jnp.float32),
        "labels": ((b, m), jnp.int32),
        "mask": ((b, m), jnp.bool_),
    }
    shapes = {"image": ((b, *size, 3), jnp.uint8), "image_id": ((b,), jnp.int32)}
    shapes |= {} if head == "classes" else truths
    if head == "classes" or config.data.labelled:
        shapes["label"] = ((b,), jnp.int32)
    place = split(mesh)
    return {k: jax.ShapeDtypeStruct(s, d, sharding=place) for k, (s, d) in shapes.items()}


def compile_train_steps(
    jitted: Callable, state: TrainState, config: Config, head: str, mesh: Mesh
) -> dict[tuple[int, int], Callable]:
    """The train step compiled for each image size, so that nothing compiles during the run.

    While one is compiled, or read from the cache, the next one is traced.
    """
    sizes = train_sizes(config)
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )
    programs = {}
    with (
        progress(total=len(sizes), desc="compiling", unit="size") as bar,
        ThreadPoolExecutor(max_workers=1) as beside,
    ):
        for size in sizes:
            bar.set_postfix_str(f"train step {size[0]}x{size[1]}")
            lowered = jitted.lower(like, abstract_batch(config, head, size, mesh))
            programs[size] = beside.submit(lowered.compile)
            programs[size].add_done_callback(lambda _: bar.update())
    return {size: program.result() for size, program in programs.items()}
