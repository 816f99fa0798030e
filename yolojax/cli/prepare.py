"""`yolojax prepare`: write sources as ArrayRecord shards that tfds reads."""

import re
from argparse import ArgumentParser, Namespace
from pathlib import Path

from yolojax.data.prepare import prepare_dataset
from yolojax.data.records import Source
from yolojax.data.sources import load_source


def add_arguments(parser: ArgumentParser) -> None:
    """Add the flags of this command."""
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="[SPLIT=]SOURCE",
        help="e.g. train=voc:bccd:train val=voc:bccd:val; SPLIT is train if left out",
    )
    parser.add_argument("--out", required=True, help="folder of the new dataset, read as tfds:OUT")
    parser.add_argument("--dir", default="", help="where relative paths in a SOURCE start")
    parser.add_argument("--shards", type=int, help="files for each split (default: by size)")
    parser.add_argument("--on-bad-record", choices=("error", "skip"), default="error")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier set at OUT")


def run(args: Namespace) -> int:
    """Write the dataset and say how it is read; 0 when it is there."""
    splits: dict[str, Source] = {}
    classes: tuple[str, ...] = ()
    for item in args.sources:
        split, spec = split_and_source(item)
        if split in splits:
            raise ValueError(f"split {split!r} is given twice; join sources with + instead.")
        splits[split] = load_source(
            spec, dir=args.dir, on_bad_record=args.on_bad_record, classes=classes
        )
        classes = splits[split].classes
    counts = prepare_dataset(splits, Path(args.out), shards=args.shards, overwrite=args.overwrite)
    for split, count in counts.items():
        for message in splits[split].skipped:
            print(f"left out: {message}")
        print(f"tfds:{args.out}:{split}  {count} images, {len(splits[split].skipped)} left out")
    return 0


def split_and_source(item: str) -> tuple[str, str]:
    """[SPLIT=]SOURCE -> split, SOURCE."""
    match = re.fullmatch(r"(?:(\w+)=)?(.+)", item)
    if not match:
        raise ValueError(f"must be [SPLIT=]SOURCE, got {item!r}.")
    return match[1] or "train", match[2]
