"""Compile the programs of a config for TPUs, without having one: do they fit, what do they cost?

The TPU compiler compiles the train step of every image size and the programs of the evaluation on
this machine's CPU. The report lists memory per chip, operations, bytes, collectives, cycles and the
resulting images per second. All are estimates; nothing runs on hardware. A step takes minutes to
compile; results are cached in ~/.cache/yolojax/compile. The exit status is 1 if a program does not
fit.

TOPOLOGY is KIND:SHAPE or KIND:CHIPS; several of one kind are joined: v5e:1,16,256. libtpu must be
installed (pip install 'yolojax[tpu]') and not in use by another process.

examples:
  yolojax compile --config yolov2_voc --topology v5e:4x4 --batch-per-device 64
  yolojax compile --config yolov2_voc --topology v5e:1,4,16,64,256 \\
      --batch-per-device 64 --sizes 416 --programs train
  yolojax compile --config yolov2_voc --topology v5e:16 v6e:16 --sizes 608 \\
      --batch-per-device 128 --config.mesh.shard_state=True --json
"""

import argparse
import re

from yolojax.json_files import to_json

PARTS = ("train", "eval")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `yolojax compile`."""
    from yolojax.cli.flags import add_config

    add = parser.add_argument
    add_config(parser)
    add("--topology", required=True, nargs="+", metavar="TOPOLOGY", help="as v5e:4x4 or v5e:16")
    batch = "default: config.optimizer.batch_size split over the chips"
    add("--batch-per-device", type=_positive, metavar="N", help=f"images of an update; {batch}")
    sizes = "of training images, H,... or HxW,... (default: all that the config trains at)"
    add("--sizes", type=_sizes, metavar="SIZES", help=sizes)
    add("--programs", nargs="+", choices=PARTS, default=PARTS, help="default: both")
    add("--json", action="store_true", help="print JSON instead of tables")
    add("--force", action="store_true", help="compile again instead of reading the cache")


def run(args) -> int:
    """Print the report; return 1 if a program does not fit."""
    from yolojax.aot import report, topologies
    from yolojax.aot.check import advice, check, for_topology
    from yolojax.aot.compiler import cache_dir
    from yolojax.cli.flags import config_of
    from yolojax.training.compilation import train_sizes

    try:
        names = [name for text in args.topology for name in topologies.expand(text)]
    except ValueError as error:
        raise argparse.ArgumentError(None, str(error)) from error
    config, rows = config_of(args), []
    topologies.prepare()
    for name in names:
        topology = topologies.describe(name)
        rows += check(
            for_topology(config, topology, args.batch_per_device),
            topology,
            parts=args.programs,
            sizes=args.sizes or train_sizes(config),
            cache=cache_dir(),
            force=args.force,
        )
    print(to_json(report.as_json(rows), indent=2) if args.json else report.as_text(rows))
    if problems := [advice(row) for row in rows if not row.fits]:
        raise ValueError("\n".join(problems))
    return 0


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more; got {text}")
    return int(text)


def _sizes(text: str) -> list[tuple[int, int]]:
    """ "416,320x608" -> [(416, 416), (320, 608)]."""
    if not re.fullmatch(r"\d+(x\d+)?(,\d+(x\d+)?)*", text):
        raise argparse.ArgumentTypeError(f"must be sides or HxW, as 416,320x608; got {text}")
    sides = [part.split("x") for part in text.split(",")]
    return [(int(side[0]), int(side[-1])) for side in sides]
