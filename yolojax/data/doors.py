"""Where the config enters the data: sources and loaders as a `Config` describes them."""

from collections.abc import Iterator

import jax

from yolojax.config import Config
from yolojax.data.pipeline import eval_loader, train_loader
from yolojax.data.reading import Batch
from yolojax.data.records import Source
from yolojax.data.sources import load_source


def open_source(spec: str, config: Config) -> Source:
    """The SOURCE `spec` with the labels of config.model.classes; raises as `load_source`."""
    data = config.data
    source = load_source(
        spec, dir=data.dir, on_bad_record=data.on_bad_record, classes=config.model.classes
    )
    left_out = f", {len(source.skipped)} records left out" if source.skipped else ""
    print(f"{source.name}: {len(source)} pictures{left_out}")
    return source


def train_batches(source: Source, config: Config, *, start_batch: int) -> Iterator[Batch]:
    """This host's training batches from number `start_batch` on; see `pipeline.train_loader`."""
    data, settings = config.data, config.optimizer
    return train_loader(
        source,
        image_size=data.image_size,
        batch_size=settings.batch_size,
        seed=config.seed,
        augment=data.augment,
        max_boxes=data.max_boxes,
        sizes=data.multiscale,
        sizes_every=data.multiscale_every,
        sizes_last=data.multiscale_last,
        total_batches=settings.images // settings.batch_size,
        start_batch=start_batch,
        host=jax.process_index(),
        hosts=jax.process_count(),
        threads=data.threads,
        on_bad_record=data.on_bad_record,
    )


def eval_batches(source: Source, config: Config, batch_size: int) -> Iterator[Batch]:
    """Every picture of `source` once; see `pipeline.eval_loader`."""
    return eval_loader(
        source,
        image_size=config.data.image_size,
        letterbox=config.data.letterbox,
        batch_size=batch_size,
        threads=config.data.threads,
        on_bad_record=config.data.on_bad_record,
    )
