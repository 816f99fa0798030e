"""Compile every program of a run before its first step, and count later compilations."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import monitoring
from jax.sharding import Mesh

from yolojax.config import Config
from yolojax.distributed.sharding import abstract, batch_sharding
from yolojax.progress import progress
from yolojax.training.state import TrainState

EVENT = "/jax/core/compile/backend_compile_duration"


class Compilation(NamedTuple):
    """A program that XLA has compiled, or has read from the cache on disk."""

    name: str  # jit(train_step)
    seconds: float


@contextmanager
def record_compilations() -> Iterator[list[Compilation]]:
    """Yield a list to which every compilation inside the block is appended."""
    compiled: list[Compilation] = []

    def listen(event: str, seconds: float, **values) -> None:
        if event == EVENT:
            compiled.append(Compilation(str(values.get("fun_name", "unnamed")), seconds))

    monitoring.register_event_duration_secs_listener(listen)
    try:
        yield compiled
    finally:
        # monitoring.clear_event_listeners removes the listeners of everyone.
        with suppress(AssertionError, ValueError):
            monitoring.unregister_event_duration_listener(listen)


def compile_totals(compiled: list[Compilation]) -> dict[str, float]:
    """Return number and seconds of `compiled`; seconds of parallel compilations are added."""
    seconds = sum(compilation.seconds for compilation in compiled)
    return {"compilations": len(compiled), "compile_seconds": round(seconds, 3)}


def late_warning(compiled: list[Compilation], step: int) -> str:
    """Format the warning about programs `compiled` during the run, up to `step`."""
    names = ", ".join(dict.fromkeys(compilation.name for compilation in compiled))
    seconds = sum(compilation.seconds for compilation in compiled)
    return (
        f"warning: by step {step} {len(compiled)} more program(s) were compiled during the run, in "
        f"{seconds:.1f} s: {names}. A run compiles its programs before the first step; shapes or "
        "types that change from step to step cause this, most often in a custom loss."
    )


def train_sizes(config: Config) -> list[tuple[int, int]]:
    """Return every (height, width) that a training batch of `config` can have."""
    sides = config.data.multiscale
    return [(s, s) for s in sorted(set(sides))] if sides else [tuple(config.data.image_size)]


def abstract_batch(config: Config, head: str, size: tuple[int, int], mesh: Mesh) -> dict:
    """Return shapes and shardings of a training batch with images of `size` for `head`."""
    b, m = config.optimizer.batch_size, config.data.max_boxes
    ground_truth = {
        "boxes": ((b, m, 4), jnp.float32),
        "labels": ((b, m), jnp.int32),
        "mask": ((b, m), jnp.bool_),
    }
    shapes = {"image": ((b, *size, 3), jnp.uint8), "image_id": ((b,), jnp.int32)}
    shapes |= {} if head == "classes" else ground_truth
    if head == "classes" or config.data.labelled:
        shapes["label"] = ((b,), jnp.int32)
    sharding = batch_sharding(mesh)
    return {k: jax.ShapeDtypeStruct(s, d, sharding=sharding) for k, (s, d) in shapes.items()}


def compile_train_steps(
    jitted: Callable, state: TrainState, config: Config, head: str, mesh: Mesh
) -> dict[tuple[int, int], Callable]:
    """Compile the train step for each image size: {(height, width): program}.

    One size is traced while the previous one is compiled or read from the cache.
    """
    sizes, programs = train_sizes(config), {}
    with (
        progress(total=len(sizes), desc="compiling", unit="size") as bar,
        ThreadPoolExecutor(max_workers=1) as executor,
    ):
        for size in sizes:
            bar.set_postfix_str(f"train step {size[0]}x{size[1]}")
            lowered = jitted.lower(abstract(state), abstract_batch(config, head, size, mesh))
            programs[size] = executor.submit(lowered.compile)
            programs[size].add_done_callback(lambda _: bar.update())
    return {size: program.result() for size, program in programs.items()}
