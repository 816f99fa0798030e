"""Sources and loaders as a `Config` describes them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import jax

from yolojax.config import Config, DataConfig
from yolojax.data import classification, joint
from yolojax.data.inspect.box_shapes import grid_shapes
from yolojax.data.joint import JointSource
from yolojax.data.loader import Batch, handler
from yolojax.data.pipeline import Sample, eval_loader, train_loader, train_sample
from yolojax.data.records import Source, trained_boxes
from yolojax.data.sources.load import ConcatenatedSource, load_source
from yolojax.data.tree_labels import MappedSource, to_nodes
from yolojax.ops.anchors import kmeans
from yolojax.wordtree.files import find_map, read_map, tree_fields

TREE_FIELDS = {  # fields that have no effect without a tree
    "data": ("map", "val_map", "labelled_map"),
    "loss": ("image_semantics",),
    "eval": ("nodes", "seen", "seen_map", "tree_threshold", "tree_semantics", "max_tree_boxes"),
}


def with_tree(config: Config) -> Config:
    """Replace model.tree_file and eval.seen_map by the tree and the nodes that they hold.

    The config of a run then resumes without these files.

    Raises:
        FileNotFoundError: there is no such tree or map.
        ValueError: one of them or the names are malformed, or a field of a tree is set without one.
    """
    if config.model.tree_file:
        fields = tree_fields(config.model.tree_file)
        config = replace(config, model=replace(config.model, tree_file="", **fields))
    _check_tree_fields(config)
    if config.eval.seen_map:
        nodes = read_map(find_map(config.eval.seen_map), len(config.model.tree))
        seen = tuple(sorted(set(nodes)))
        config = replace(config, eval=replace(config.eval, seen_map="", seen=seen))
    return config


def _check_tree_fields(config: Config) -> None:
    """Raise ValueError if a field of TREE_FIELDS is set but there is no tree."""
    if config.model.tree:
        return
    defaults = Config()
    for part, names in TREE_FIELDS.items():
        for name in names:
            value, default = (getattr(getattr(c, part), name) for c in (config, defaults))
            if value != default:
                raise ValueError(
                    f"config.{part}.{name} is {value!r}, but the classes of {config.model.name} "
                    f"form no tree: set --config.model.tree_file, or leave it {default!r}."
                )


def open_source(spec: str, config: Config) -> Source:
    """Open a SOURCE with the labels of config.model.classes; raises as `load_source` does.

    With a tree, the classes of the source are mapped to nodes by config.data.map, or for a source
    other than config.data.train by val_map; raises as `to_nodes` does too.
    """
    data = config.data
    if spec == data.train:
        return _open(spec, config, data.map, "map")
    return _open(spec, config, data.map if data.val_map is None else data.val_map, "val_map")


def data_priors(config: Config, k: int) -> tuple[tuple[float, float], ...]:
    """Cluster the boxes of config.data.train into `k` anchors (w, h) in cells (paper, section 2).

    k-means with the IoU as distance, as in `yolojax anchors`; deterministic.

    Raises:
        ValueError: there are fewer than `k` shapes of boxes; and as `open_source`.
        FileNotFoundError, BadRecord: as `open_source`.
    """
    data = config.data
    source = open_source(data.train, config)
    on_bad = handler(source, data.on_bad_record)
    shapes = grid_shapes(source, data.image_size, letterbox=data.letterbox, on_bad=on_bad)
    anchors = kmeans(shapes, k)
    return tuple((float(width), float(height)) for width, height in anchors.round(4))


def open_train_source(config: Config, head: str) -> Source | JointSource:
    """Open config.data.train and, if set, config.data.labelled, for a network with this `head`.

    Raises:
        ValueError: `labelled` is set, but there is no tree or the network predicts no boxes.
        FileNotFoundError, BadRecord: as `open_source`.
    """
    data, source = config.data, open_source(config.data.train, config)
    if head != "classes" and (note := boxes_beyond(source, data.max_boxes)):
        print(f"{source.name}: {note}")
    if not data.labelled:
        return source
    if head != "region" or not config.model.tree:
        raise ValueError(
            f"config.data.labelled is {data.labelled!r}, but only a YOLOv2 or YOLO9000 with a "
            f"config.model.tree trains on both kinds of picture; {config.model.name} here does not."
        )
    return JointSource(
        source, _open(data.labelled, config, data.labelled_map, "labelled_map"), data.mix
    )


def boxes_beyond(source: Source, max_boxes: int) -> str:
    """Say how many boxes are beyond `max_boxes` of their picture and not trained on; "": none.

    Counts records that are in memory; others are not read for it.
    """
    counts = _box_counts(source)
    crowded = [count for count in counts if count > max_boxes]
    if not crowded:
        return ""
    beyond = sum(crowded) - max_boxes * len(crowded)
    return (
        f"{beyond} of {sum(counts)} ground-truth boxes are not trained on: {len(crowded)} pictures "
        f"have more than config.data.max_boxes={max_boxes}, one has {max(crowded)}; set "
        f"--config.data.max_boxes={max(crowded)} for all of them."
    )


def _box_counts(source: Source) -> Sequence[int]:
    if isinstance(source, MappedSource):
        return _box_counts(source.source)
    if isinstance(source, ConcatenatedSource):
        return [count for part in source.parts for count in _box_counts(part)]
    if isinstance(getattr(source, "records", None), list):
        return [trained_boxes(record) for record in source.records]
    return getattr(source, "box_counts", ())


def _open(spec: str, config: Config, map_file: str, field: str) -> Source:
    data, model = config.data, config.model
    own = () if model.tree else model.classes
    source = load_source(
        spec,
        dir=data.dir,
        on_bad_record=data.on_bad_record,
        classes=own,
        keep_classes=data.keep_classes,
        rename=data.rename,
        strict=spec == data.train,
    )
    skipped = f", {len(source.skipped)} records skipped" if source.skipped else ""
    print(f"{source.name}: {len(source)} pictures{skipped}")
    for note in source.notes:
        print(f"{source.name}: {note}")
    if not model.tree:
        return source
    return to_nodes(source, model.classes, model.shown, map_file, field)


def train_batches(
    source: Source | JointSource, config: Config, head: str, *, start_batch: int
) -> Iterator[Batch]:
    """Yield this host's training batches from number `start_batch` on.

    See `pipeline.train_loader`; the batches hold rows of the `train_sample` of `pipeline`, of
    `classification` (for the head "classes") or of `joint` (for a JointSource).
    """
    data, settings = config.data, config.optimizer
    return train_loader(
        source,
        _sample(source, config, head),
        image_size=data.image_size,
        batch_size=settings.batch_size,
        seed=config.seed,
        sizes=data.multiscale,
        sizes_every=data.multiscale_every,
        sizes_last=data.multiscale_last,
        total_batches=settings.images // settings.batch_size,
        start_batch=start_batch,
        **_host_options(config),
    )


def _host_options(config: Config) -> dict:
    return {
        "host": jax.process_index(),
        "hosts": jax.process_count(),
        "threads": config.data.threads,
        "on_bad_record": config.data.on_bad_record,
    }


def _sample(source: Source | JointSource, config: Config, head: str) -> Sample:
    """Choose the function that makes a row of the training."""
    data = config.data
    if head == "classes":
        classification.check_labelled(source)
        return partial(classification.train_sample, augment=data.classifier)
    sample = joint.train_sample if isinstance(source, JointSource) else train_sample
    return partial(sample, augment=data.augment, max_boxes=data.max_boxes)


def eval_batches(source: Source, config: Config, batch_size: int) -> Iterator[Batch]:
    """Yield this host's part of every picture of `source`; see `pipeline.eval_loader`."""
    return eval_loader(
        source,
        image_size=config.data.image_size,
        letterbox=config.data.letterbox,
        resize=config.data.resize,
        batch_size=batch_size,
        **_host_options(config),
    )


def eval_label_batches(source: Source, config: Config, batch_size: int) -> Iterator[Batch]:
    """Yield the same for a classifier; see `classification.eval_loader`."""
    return classification.eval_loader(
        source,
        image_size=config.data.image_size,
        resize=config.data.resize,
        view=evaluation_view(config.data),
        batch_size=batch_size,
        **_host_options(config),
    )


def evaluation_view(data: DataConfig) -> str:
    """Return the view of a picture that a classifier is evaluated on, one of its VIEWS."""
    return data.classifier_view or "centre_crop"
