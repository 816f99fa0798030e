"""Write a config for a data set: classes, anchors, image size, max_boxes and a schedule.

SOURCE is what the config trains on, such as voc:DIR:train (see README.md). The config is a Python
file, made to be edited: each line has a comment that says where its value comes from. Without --out
it is printed.

examples:
  yolojax init voc:photos:train --out my.py
  yolojax init coco:train.json:images --val=coco:val.json:images --dir /data --out my.py
  yolojax init shapes:train
"""

import argparse
import math
import sys
from pathlib import Path
from typing import NamedTuple

from yolojax.json_files import to_json

ANCHORS = 5  # YOLO9000, section 2: the trade-off between recall and complexity
LONGER_SIDE = 416  # pixels of the input; smaller pictures get a smaller one
CELL = 32
SMALL = 2000  # pictures below which a narrow network in small batches does as well
OTHER_SPLITS = {"train": ("val", "valid", "validation", "test"), "trainval": ("test",)}
TEMPLATE = '''\
"""{title}

    yolojax train --config={file} --workdir=runs/{stem}
    yolojax eval --workdir=runs/{stem}

{file}:smoke is a run of a few steps on small images, to see that everything works.
"""

from yolojax.config import Config, is_smoke

EPOCH = {pictures}  # pictures of config.data.train


def get_config(arg: str | None = None) -> Config:
    config = Config()
    config.model.name = "yolov2"  # Darknet-19 with passthrough; `yolojax summary` lists others
    config.model.width = {width}  # of the published number of filters: {why_width}
    config.model.classes = (  # of the data, in the order of its labels
{classes}
    )
    config.model.anchors = (  # (w, h) in cells of 32 pixels: k-means of {boxes} boxes
{anchors}
    )

    config.data.train = {train}
    config.data.val = {val}  # {why_val}
    config.data.dir = {dir}  # where relative paths of the sources start; "" = current folder
{selection}\
    config.data.image_size = {size}  # (height, width): the aspect of the median picture
    config.data.max_boxes = {max_boxes}  # the fullest picture has {fullest}
    config.data.augment.geometry = "crop"  # moves and scales the objects
    config.data.augment.jitter = 0.15  # cuts up to this part off each edge

    # One epoch is EPOCH images, so {epochs} epochs are {batches:,} batches.
    config.optimizer.batch_size = {batch}  # {why_batch}
    config.optimizer.images = {epochs} * EPOCH  # {why_epochs}
    config.optimizer.learning_rate = {rate}  # from nothing; with init_from a tenth is enough
    config.optimizer.burn_in_images = {burn_in} * EPOCH  # the rate grows up to here
    config.optimizer.step_images = ({first_step} * EPOCH, {second_step} * EPOCH)
    config.optimizer.step_scales = (0.1, 0.1)  # the rate is multiplied by these at the two steps
    config.optimizer.clip_norm = 20.0  # the first gradients of crowded pictures are large
    config.optimizer.ema_decay = 0.998  # evaluates an average of the last parameters
    config.loss.warmup_images = {burn_in} * EPOCH  # boxes are drawn to the anchors up to here
    config.eval.every_images = {evaluate} * EPOCH  # the best checkpoint is kept
    config.checkpoint.every_images = {save} * EPOCH
    # config.init_from = "darknet19_448.conv.23"  # start from a classifier; needs width 1.0
    if is_smoke(arg):
        config.model.width = 0.125
        config.data.image_size = {smoke_size}
        config.optimizer.batch_size, config.optimizer.images = 8, 32
        config.optimizer.burn_in_images = 8
        config.eval.every_images = 0
    return config
'''


class DataSet(NamedTuple):
    """What a config needs to know of a source."""

    pictures: int
    classes: tuple[str, ...]
    aspect: float  # median of width / height
    longer_side: int  # median, in pixels
    fullest: int  # boxes that are trained on in the picture that has most


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `yolojax init`."""
    from yolojax.cli.flags import add_selection

    add = parser.add_argument
    add("source", metavar="SOURCE", help="the data to train on")
    add("--val", metavar="SOURCE", help="the data to evaluate on (default: SOURCE's other split)")
    add("--dir", default="", help="folder that relative paths in SOURCE start from")
    add_selection(parser)
    add("--out", metavar="FILE.py", help="the file to write; it must not exist")


def run(args) -> int:
    """Read the data set and write its config."""
    from yolojax.cli.flags import selection_of
    from yolojax.data.inspect.box_shapes import grid_shapes
    from yolojax.data.sources.load import load_source
    from yolojax.files import write_text
    from yolojax.ops.anchors import count_shapes, kmeans

    out = Path(args.out or "my.py")
    if out.suffix != ".py":
        raise argparse.ArgumentError(None, f"--out must be a .py file, got {args.out}.")
    if args.out and out.exists():
        raise ValueError(f"{out}: exists already; choose another --out.")
    folder = str(Path(args.dir).expanduser().absolute()) if args.dir else ""
    selection = selection_of(args)
    source = load_source(args.source, dir=folder, **selection)
    for note in source.notes:
        print(f"{source.name}: {note}", file=sys.stderr)
    val, why_val = (args.val, "given") if args.val else other_split(args.source, folder)
    load_source(val, dir=folder, classes=source.classes, **selection, strict=False)
    data = describe(source)
    size = image_size(data)
    shapes = grid_shapes(source, size)
    anchors = kmeans(shapes, min(ANCHORS, count_shapes(shapes)))
    names = {"train": args.source, "val": val, "why_val": why_val, "dir": folder}
    names["selection"] = "".join(
        f"    config.data.{field} = {value!r}\n" for field, value in selection.items() if value
    )
    text = config_text(data, size, anchors.round(3).tolist(), len(shapes), out, **names)
    if args.out:
        write_text(out, text)
        print(f"written: {out}; try it with: yolojax train --config={out}:smoke --workdir=/tmp/w")
    else:
        print(text, end="")
    return 0


def other_split(source: str, folder: str) -> tuple[str, str]:
    """Find the SOURCE to evaluate on and say why it is chosen -> (SOURCE, reason)."""
    from yolojax.data.sources.load import load_source

    head, _, split = source.rpartition(":")
    for other in OTHER_SPLITS.get(split, ()):
        try:
            load_source(f"{head}:{other}", dir=folder)
        except (ValueError, OSError):
            continue
        return f"{head}:{other}", f"the split next to {split}"
    return source, "no other split found: name other pictures here"


def describe(source) -> DataSet:
    """Read the annotations of `source` and the sizes of its pictures."""
    import numpy as np

    from yolojax.data.records import header_of, trained_boxes
    from yolojax.progress import progress

    sizes, fullest = [], 0
    for index in progress(range(len(source)), desc="annotations", unit="picture"):
        record = source[index]
        sizes.append(header_of(record).size)
        fullest = max(fullest, trained_boxes(record))
    width, height = np.array(sizes).T
    return DataSet(
        pictures=len(source),
        classes=source.classes,
        aspect=float(np.median(width / height)),
        longer_side=int(np.median(np.maximum(width, height))),
        fullest=fullest,
    )


def image_size(data: DataSet) -> tuple[int, int]:
    """Choose (height, width) in multiples of 32 with the aspect of the pictures, none enlarged."""
    longer = min(LONGER_SIDE, max(96, CELL * math.ceil(data.longer_side / CELL)))
    shorter = max(96, CELL * round(longer * min(data.aspect, 1 / data.aspect) / CELL))
    return (shorter, longer) if data.aspect >= 1 else (longer, shorter)


def quoted(text: str) -> str:
    """Return `text` as a Python string in double quotes."""
    return to_json(text, ascii_only=False)


def config_text(data: DataSet, size, anchors, boxes: int, out: Path, **names) -> str:
    """Return the Python text of a config for `data`.

    Args:
        data: the training data.
        size: (height, width) of the images.
        anchors: [[w, h], ...] in cells.
        boxes: how many the anchors are clustered from.
        out: the file that is to hold it.
        names: train, val, why_val, dir, selection.
    """
    small = data.pictures < SMALL
    # 160 epochs are the recipe of YOLOv2's paper; few pictures need more of them to fill 3200
    # batches of 8, after which configs/quickstart.py and configs/bccd.py have converged.
    epochs = max(160, math.ceil(25_600 / data.pictures))
    batch = 8 if small else 64
    warmup = max(1, round(epochs / 50))
    return TEMPLATE.format(
        title=f"YOLOv2 for {data.pictures} pictures, from nothing; written by `yolojax init`.",
        file=out,
        stem=out.stem,
        pictures=data.pictures,
        boxes=boxes,
        width=0.25 if small else 1.0,
        why_width="enough for few pictures" if small else "all of them",
        classes="\n".join(f"        {quoted(name)}," for name in data.classes),
        anchors="\n".join(f"        ({w:.4g}, {h:.4g})," for w, h in anchors),
        size=size,
        smoke_size=tuple(max(64, side // 4 // CELL * CELL) for side in size),
        max_boxes=max(30, 10 * math.ceil(data.fullest / 10)),
        fullest=data.fullest,
        epochs=epochs,
        batches=epochs * data.pictures // batch,
        batch=batch,
        why_batch="small batches make more updates of few pictures" if small else "Darknet's",
        why_epochs="YOLO9000, section 2" if epochs == 160 else "the data are few",
        rate="4e-3" if small else "1e-3",
        burn_in=warmup,
        first_step=round(0.65 * epochs),
        second_step=round(0.85 * epochs),
        evaluate=max(1, epochs // 8),
        save=max(1, epochs // 16),
        why_val=names["why_val"],
        selection=names["selection"],
        **{name: quoted(names[name]) for name in ("train", "val", "dir")},
    )
