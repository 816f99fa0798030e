"""Time the programs of a config on the present devices and print a table of step times.

The train step at each image size and the programs of the evaluation are timed on random pictures,
the input pipeline on config.data.train or, if that is not on this machine, on drawn shapes. GB is
the memory per device that the compiler plans. MFU is the share of the peak rate that the layers
need, for known chips. Each call is timed until its result is ready; a training run, which does not
wait, can be slightly faster. Programs are read from the cache ($JAX_COMPILATION_CACHE_DIR,
~/.cache/yolojax) if they are there.

examples:
  yolojax bench --config=yolov2_voc
  yolojax bench --config=yolov2_voc --batch-size 128 --image-size 416 416
  yolojax bench --config=quickstart:smoke --steps 5 --json
"""

import argparse
import sys
from contextlib import redirect_stdout

from yolojax.json_files import to_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `yolojax bench`."""
    from yolojax.cli.flags import add_config

    add = parser.add_argument
    add_config(parser)
    add("--batch-size", type=int, metavar="N", help="of training and evaluation, on all devices")
    add("--image-size", type=int, nargs=2, metavar=("H", "W"), help="only this one")
    add("--steps", type=int, default=20, metavar="N", help="timed calls of each program (20)")
    add("--json", action="store_true", help="print JSON instead of text")


def run(args) -> int:
    """Measure and print the table."""
    from yolojax.bench import as_dict, bench, format_rows
    from yolojax.distributed import xla_flags
    from yolojax.distributed.chips import chip_of
    from yolojax.distributed.sharding import make_mesh
    from yolojax.training.profiling import peak_of

    if args.steps < 1:
        raise argparse.ArgumentError(None, f"--steps must be 1 or more, got {args.steps}.")
    xla_flags.set_up()
    config, mesh = _config(args), make_mesh()
    with redirect_stdout(sys.stderr):  # what the data say of themselves
        rows = list(bench(config, mesh, calls=args.steps))
    peak, kind = peak_of(mesh, config.model.dtype), mesh.devices.flat[0].device_kind
    chip = chip_of(kind)
    if args.json:
        about = {"config": args.config, "devices": mesh.size, "kind": kind}
        about |= {"chip": chip.name if chip else None, "dtype": config.model.dtype}
        print(to_json(about | {"rows": [as_dict(row, peak) for row in rows]}, indent=2))
    else:
        known = "" if chip else " (peak not known: no MFU)"
        print(f"{args.config}: {config.model.name}, {config.model.dtype}")
        print(f"{mesh.size} x {kind}{known}\n\n{format_rows(rows, peak)}")
    return 0


def _config(args):
    """The config that `args` describe."""
    from yolojax.bench import at_size
    from yolojax.cli.flags import config_of

    config = config_of(args)
    if args.batch_size is not None:
        config.optimizer.batch_size = config.eval.batch_size = args.batch_size
    return at_size(config, args.image_size) if args.image_size else config
