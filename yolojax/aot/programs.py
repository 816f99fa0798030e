"""The programs of training and evaluation, ready to be compiled for any mesh."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from yolojax.config import Config
from yolojax.data.transforms import blank
from yolojax.distributed.sharding import batch_sharding, check_batch_size, shardings_of
from yolojax.evaluation.detection import batch_size
from yolojax.evaluation.dispatch import evaluation_of
from yolojax.tasks import Task, forward_flops
from yolojax.training.compilation import abstract_batch
from yolojax.training.optimizer import make_optimizer
from yolojax.training.profiling import BACKWARD
from yolojax.training.state import TrainState, abstract_state, inference_variables
from yolojax.training.step import jit_train_step, make_train_step

Size = tuple[int, int]
ON_IMAGES = ("network", "top")  # the other programs of an evaluation take `raw`


class Program(NamedTuple):
    """One program of a run."""

    name: str  # "train 416x416"
    lower: Callable[[], jax.stages.Lowered]
    images: int  # per device and run
    model_flops: float  # of the network on these images: products and sums of its layers


def state_on(config: Config, task: Task, mesh: Mesh) -> TrainState:
    """Shapes and shardings of the train state for `config` on `mesh`."""
    return abstract_state(task, make_optimizer(config.optimizer), config, mesh)


def train_programs(
    config: Config, task: Task, mesh: Mesh, sizes: Sequence[Size]
) -> Iterator[Program]:
    """Yield the train step for each image size.

    Raises:
        ValueError: the batch does not suit the mesh, or a size the network.
    """
    check_batch_size(config.optimizer.batch_size, config.optimizer.subdivisions, mesh)
    state = state_on(config, task, mesh)
    step = make_train_step(config, task, make_optimizer(config.optimizer), mesh)
    step = jit_train_step(step, mesh, shardings_of(state))
    images = config.optimizer.batch_size // mesh.size
    for size in sizes:
        batch = abstract_batch(config, task.head, size, mesh)
        flops = (1 + BACKWARD) * images * forward_flops(task, size)
        yield Program(f"train {named(size)}", partial(step.lower, state, batch), images, flops)


def eval_programs(config: Config, task: Task, mesh: Mesh) -> Iterator[Program]:
    """Yield the programs of an evaluation: `network` and `detect`, or `top` of a classifier.

    For a WordTree this is the program that descends the tree, since the nodes of a data set are not
    known here. `raw` is sharded like the images.
    """
    programs = evaluation_of(task).make_programs(task, config.eval)._asdict()
    size, place = tuple(config.data.image_size), batch_sharding(mesh)
    shape = (batch_size(config, mesh), *size, 3)
    image = jax.ShapeDtypeStruct(shape, blank(config.data.resize, ()).dtype, sharding=place)
    variables = inference_variables(state_on(config, task, mesh))
    raw = jax.eval_shape(partial(task.model.apply, train=False), variables, _as_float(image))
    raw = jax.ShapeDtypeStruct(raw.shape, raw.dtype, sharding=place)
    images = len(image) // mesh.size
    for name, program in programs.items():
        if program is None:
            continue
        on_images = name in ON_IMAGES
        arguments = (variables, image) if on_images else (raw, 0.5, 0.5)  # thresholds
        flops = images * forward_flops(task, size) if on_images else 0.0
        lower = partial(program.lower, *arguments)
        yield Program(f"eval {name} {named(size)}", lower, images, flops)


def _as_float(image: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(image.shape, jnp.float32)


def named(size: Size) -> str:
    """(416, 416) -> "416x416": height, then width."""
    return f"{size[0]}x{size[1]}"
