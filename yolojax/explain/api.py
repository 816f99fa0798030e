"""Draw the loss of one picture, of a finished run or during training."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from yolojax.config import Config
from yolojax.data.from_config import open_source
from yolojax.data.loader import Batch
from yolojax.distributed.sharding import make_gather, make_mesh
from yolojax.explain.observe import make_programs, observe
from yolojax.explain.pictures import batch_of_one, find_record, one_of
from yolojax.loading import load_model, on_device
from yolojax.tasks import Task
from yolojax.training.compilation import abstract_batch, train_sizes
from yolojax.training.state import TrainState
from yolojax.visual.loss_figure import draw_loss


class Explained(NamedTuple):
    """A figure and the numbers in it."""

    image_id: str
    figure: np.ndarray  # uint8 RGB [h, w, 3]
    loss: float
    terms: dict[str, float]  # of the loss


def explain_picture(workdir: str | Path, picture: str, *, data: str = "") -> Explained:
    """Explain the loss of a training run on one picture, without augmentation.

    Args:
        workdir: folder of the run; its best checkpoint is used.
        picture: an image id, a file, or an index.
        data: the SOURCE of the picture; "" means config.data.train of the run.

    Raises:
        FileNotFoundError: the run or the data is missing.
        ValueError: the picture is unknown, or the model is a classifier.
        BadRecord: the picture cannot be read.
    """
    model = load_model(workdir)
    config, programs = model.config, make_programs(model.task, model.config)
    source = open_source(data or config.data.train, config)
    record = source[find_record(source, picture)]
    batch = batch_of_one(record, config)
    variables = on_device(model.variables, jax.local_devices()[0])
    loss, view = observe(programs, variables, batch, model.seen, config.model.shown)
    step = model.seen // config.optimizer.batch_size
    title = _title(Path(workdir), record.image_id, step, loss)
    notes = _left_out(len(record.boxes) - int(batch["mask"].sum()))
    figure = draw_loss(view._replace(title=title, notes=notes))
    return Explained(record.image_id, figure, loss, {k: v for k, (v, _) in view.terms.items()})


def make_watch(task: Task, config: Config, state: TrainState, workdir: Path) -> Callable | None:
    """Make (state, batch) -> figure (uint8 RGB) of the first picture of a batch that has boxes.

    None if config.explain_every is 0. The picture is augmented; the network is that of the state,
    with the running statistics of batch normalisation. All programs are compiled here.

    Raises:
        ValueError: the network is a classifier.
    """
    if not config.explain_every:
        return None
    programs, shown = make_programs(task, config), config.model.shown
    gather = make_gather(state.step.sharding.mesh)

    def explain(state: TrainState, one: Batch):
        variables = gather({"params": state.params, "batch_stats": state.batch_stats})
        here = jax.tree.map(lambda leaf: leaf.addressable_data(0), variables)
        return observe(programs, here, one, int(state.seen), shown)

    def watch(state: TrainState, batch: Batch) -> np.ndarray:
        one = one_of(batch)
        loss, view = explain(state, one)
        title = _title(workdir, f"picture {one['image_id'][0]}", int(state.step), loss)
        return draw_loss(view._replace(title=title))

    for size in train_sizes(config):
        explain(state, one_of(_blank(config, task.head, size)))
    return watch


def _blank(config: Config, head: str, size: tuple[int, int]) -> Batch:
    like = abstract_batch(config, head, size, make_mesh())
    return {name: np.zeros(leaf.shape, leaf.dtype) for name, leaf in like.items()}


def _title(workdir: Path, picture: str, step: int, loss: float) -> str:
    return f"{workdir.resolve().name} · {picture} · step {step} · loss {loss:.4g}"


def _left_out(count: int) -> tuple[str, ...]:
    why = "difficult, crowds, or beyond config.data.max_boxes"
    return (f"{count} more ground-truth boxes are not trained on: {why}",) if count else ()
