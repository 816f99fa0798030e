"""Write data sets in another layout: VOC, COCO, YOLO, or ArrayRecord shards that tfds reads.

Each SOURCE becomes a split of the new set; the SOURCE to read it is printed. Encoded pictures stay
as they are, under names that are safe and unique; boxes are those of the upright pictures. What a
layout cannot hold (difficult boxes, crowds, areas of masks) is counted. OUT appears once it is
complete.

  arrayrecord  shards with the pictures, for pods and buckets
  voc          Annotations/, JPEGImages/, ImageSets/Main/SPLIT.txt, labels.txt; whole pixels
  coco         annotations/instances_SPLIT.json, SPLIT/; the ids of a COCO source are kept
  yolo         data.yaml, images/SPLIT/, labels/SPLIT/; the splits are train, val and test

examples:
  yolojax prepare train=voc:bccd:train val=voc:bccd:val --out prepared/bccd
  yolojax prepare coco:annotations/train.json:train2017 --dir coco --out prepared/coco --shards 64
  yolojax prepare train=voc:bccd:train val=voc:bccd:val --out bccd-yolo --to yolo --pictures link
  yolojax prepare coco:val.json:val2017 --out people --to voc --keep-classes person
"""

import re
from argparse import ArgumentParser, Namespace
from pathlib import Path

TARGETS = ("arrayrecord", "voc", "coco", "yolo")  # data.prepare.TARGETS, which is slow to import


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of `yolojax prepare`."""
    from yolojax.cli.flags import add_selection

    parser.add_argument(
        "sources",
        nargs="+",
        metavar="[SPLIT=]SOURCE",
        help="e.g. train=voc:bccd:train val=voc:bccd:val; SPLIT is train by default",
    )
    parser.add_argument("--out", required=True, help="folder of the new data set")
    text = "layout of the new data set (default: %(default)s)"
    parser.add_argument("--to", choices=TARGETS, default=TARGETS[0], help=text)
    text = (
        "how pictures get into voc, coco and yolo: copies, or hard links, which take no space but "
        "change with the originals; symbolic links from another disk (default: %(default)s)"
    )
    parser.add_argument("--pictures", choices=("copy", "link"), default="copy", help=text)
    parser.add_argument("--dir", default="", help="where relative paths in a SOURCE start")
    add_selection(parser)
    text = "files for each split of arrayrecord (default: by size)"
    parser.add_argument("--shards", type=int, help=text)
    parser.add_argument("--on-bad-record", choices=("error", "skip"), default="error")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier set at OUT")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def run(args: Namespace) -> int:
    """Write the data set and print how to read it."""
    from yolojax.data.prepare import prepare_dataset
    from yolojax.json_files import to_json

    names = ("to", "pictures", "shards", "overwrite", "on_bad_record")
    options = {name: getattr(args, name) for name in names}
    written = prepare_dataset(load_splits(args), Path(args.out), **options)
    report = {split: done._asdict() for split, done in written.items()}
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
    """Format one line per split, and one per skipped record and note."""
    lines = []
    for row in report.values():
        lines += [f"skipped: {message}" for message in row["skipped"]]
        lines += row["notes"]
        lines += [f"{row['source']}  {row['images']} images, {len(row['skipped'])} skipped"]
    return "\n".join(lines)


def split_and_source(item: str) -> tuple[str, str]:
    """Parse [SPLIT=]SOURCE -> split, SOURCE."""
    match = re.fullmatch(r"(?:(\w+)=)?(.+)", item)
    if not match:
        raise ValueError(f"must be [SPLIT=]SOURCE, got {item!r}.")
    return match[1] or "train", match[2]
