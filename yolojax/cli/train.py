"""Train a config, from the newest checkpoint in --workdir if there is one.

The same command on the same --workdir resumes, and there --config may be left out. Any field of the
config is set by --config.FIELD=VALUE. SIGTERM and Ctrl-C save a checkpoint and end the run with
status 0.

examples:
  yolojax train --config=quickstart --workdir=runs/quickstart
  yolojax train --config=my.py:smoke --workdir=/tmp/w --config.optimizer.batch_size=8
  yolojax train --workdir=runs/quickstart
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `yolojax train`."""
    from yolojax.cli.flags import add_config, add_distributed

    add_config(parser, default="the config of the run in --workdir")
    add = parser.add_argument
    add("--workdir", required=True, help="folder of this run; created if it does not exist")
    profile = "trace these steps, both included, into WORKDIR/profile, for XProf"
    add("--profile-steps", metavar="FIRST:LAST", help=profile)
    add_distributed(parser)


def run(args) -> int:
    """Train what `args` describe."""
    from yolojax.cli.flags import config_of, on_devices
    from yolojax.distributed.sharding import make_mesh
    from yolojax.train import train
    from yolojax.training.checkpoint import load_config
    from yolojax.training.profiling import parse_steps

    with on_devices(args.distributed):
        config = config_of(args, saved=lambda: load_config(args.workdir))
        train(config, Path(args.workdir), make_mesh(), parse_steps(args.profile_steps))
    return 0
