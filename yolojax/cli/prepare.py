"""Write data sets as ArrayRecord shards that tfds reads, for pods and buckets.

Encoded pictures are written unchanged. Each source becomes a split of the new set, to be read as
tfds:OUT:SPLIT.

examples:
  yolojax prepare train=voc:bccd:train val=voc:bccd:val --out prepared/bccd
  yolojax prepare coco:annotations/train.json:train2017 --dir coco --out prepared/coco --shards 64
"""

import re
from argparse import ArgumentParser, Namespace
from pathlib import Path


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of `yolojax prepare`."""
    from yolojax.cli.flags import add_selection

    parser.add_argument(
        "sources",
        nargs="+",
        metavar="[SPLIT=]SOURCE",
        help="e.g. train=voc:bccd:train val=voc:bccd:val; SPLIT is train by default",
    )
    parser.add_argument("--out", required=True, help="folder of the new dataset, read as tfds:OUT")
    parser.add_argument("--dir", default="", help="where relative paths in a SOURCE start")
    add_selection(parser)
    parser.add_argument("--shards", type=int, help="files for each split (default: by size)")
    parser.add_argument("--on-bad-record", choices=("error", "skip"), default="error")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier set at OUT")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def run(args: Namespace) -> int:
    """Write the data set and print how to read it."""
    from yolojax.data.prepare import prepare_dataset
    from yolojax.files import to_json

    options = {"shards": args.shards, "overwrite": args.overwrite}
    options["on_bad_record"] = args.on_bad_record
    written = prepare_dataset(load_splits(args), Path(args.out), **options)
    report = {
        split: {"source": f"tfds:{args.out}:{split}"} | done._asdict()
        for split, done in written.items()
    }
    print(to_json(report, indent=2) if args.json else as_text(report))
    return 0


def load_splits(args: Namespace) -> dict:
    """Open the sources -> {split: Source}; all get the classes of the first one."""
    from yolojax.cli.flags import selection_of
    from yolojax.data.sources.load import load_source

    splits, classes, selection = {}, (), selection_of(args)
    for item in args.sources:
        split, spec = split_and_source(item)
        if split in splits:
            raise ValueError(f"split {split!r} is given twice; join sources with + instead.")
        options = {"dir": args.dir, "on_bad_record": args.on_bad_record, "classes": classes}
        splits[split] = load_source(spec, **options, **selection, strict=not splits)
        classes = splits[split].classes
    return splits


def as_text(report: dict) -> str:
    """Format one line per split, and one per skipped record."""
    lines = []
    for row in report.values():
        lines += [f"skipped: {message}" for message in row["skipped"]]
        lines += [f"{row['source']}  {row['images']} images, {len(row['skipped'])} skipped"]
    return "\n".join(lines)


def split_and_source(item: str) -> tuple[str, str]:
    """Parse [SPLIT=]SOURCE -> split, SOURCE."""
    match = re.fullmatch(r"(?:(\w+)=)?(.+)", item)
    if not match:
        raise ValueError(f"must be [SPLIT=]SOURCE, got {item!r}.")
    return match[1] or "train", match[2]
