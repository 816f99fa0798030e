"""Options that several commands share: --config, --config.FIELD=VALUE and --distributed."""

import argparse
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from yolojax.config import Config, checked, read_config, with_overrides

BAD_INPUT = (ValueError, OSError, FloatingPointError)  # reported in one line, without a traceback
CONFIG_METAVAR = "NAME|FILE.py[:smoke]"


def add_config(parser: argparse.ArgumentParser, *, default: str = "") -> None:
    """Add --config, required unless there is a `default`, and let it be overridden."""
    text = "a config of `yolojax configs` or a file of your own"
    text += f" (default: {default})" if default else ""
    parser.add_argument("--config", required=not default, metavar=CONFIG_METAVAR, help=text)
    allow_overrides(parser)


def allow_overrides(parser: argparse.ArgumentParser) -> None:
    """Accept --config.FIELD=VALUE; `args.overrides` holds each as FIELD=VALUE."""
    parser.set_defaults(overrides=[])
    parser.epilog = "Any field of the config is set by --config.FIELD=VALUE (docs/config.md)."


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add --keep-classes and --rename."""
    add = parser.add_argument
    text = "leave out the boxes of other classes; the order is that of the labels"
    add("--keep-classes", nargs="+", default=[], metavar="NAME", help=text)
    text = "give classes other names, before --keep-classes; several may get the same one"
    add("--rename", nargs="+", default=[], metavar="CLASS=NAME", help=text)


def selection_of(args: argparse.Namespace) -> dict[str, tuple]:
    """Return the arguments `keep_classes` and `rename` of `load_source`.

    Raises:
        argparse.ArgumentError: a --rename has no "=".
    """
    for pair in args.rename:
        if "=" not in pair:
            raise argparse.ArgumentError(None, f"--rename must be CLASS=NAME, got {pair!r}.")
    rename = tuple(tuple(pair.split("=", 1)) for pair in args.rename)
    return {"keep_classes": tuple(args.keep_classes), "rename": rename}


def check_cfg_suffix(name: str) -> None:
    """Raise argparse.ArgumentError if `name` is a Darknet .cfg with another suffix, as .cfg.txt."""
    path = Path(name)
    if not path.is_file():
        return
    with path.open("rb") as file:
        lines = file.read(4096).splitlines()
    if any(line.strip() in (b"[net]", b"[network]") for line in lines):
        problem = f"{name}: is a Darknet .cfg, whose name must end in .cfg; rename the file."
        raise argparse.ArgumentError(None, problem)


def add_distributed(parser: argparse.ArgumentParser) -> None:
    """Add --distributed and --no-distributed."""
    text = "join the processes of the other hosts (default: if there are any)"
    action = argparse.BooleanOptionalAction
    parser.add_argument("--distributed", action=action, default=None, help=text)


def parse(parser: argparse.ArgumentParser, argv: list[str]) -> argparse.Namespace:
    """Parse `argv`, whose --config.FIELD=VALUE go into `args.overrides`."""
    overrides = [word for word in argv if word.startswith("--config.")]
    args = parser.parse_args([word for word in argv if not word.startswith("--config.")])
    if overrides and not hasattr(args, "overrides"):
        parser.error(f"this command has no config, got {overrides[0]}")
    if overrides:
        args.overrides = [word.removeprefix("--config.") for word in overrides]
    return args


def overridden(config: Config, args: argparse.Namespace) -> Config:
    """Apply the overrides of the command line to `config`.

    Raises:
        argparse.ArgumentError: as `with_overrides` raises ValueError.
    """
    try:
        return with_overrides(config, args.overrides)
    except ValueError as error:
        raise argparse.ArgumentError(None, str(error)) from error


def config_of(
    args: argparse.Namespace, saved: Callable[[], Config] | None = None, *, training: bool = True
) -> Config:
    """Return the config that the command line describes, checked and with its tree read.

    Args:
        args: with `config` and `overrides`.
        saved: returns the config to use without --config.
        training: as `checked`.
    """
    from yolojax.data.from_config import with_tree

    config = read_config(args.config) if args.config or saved is None else saved()
    return with_tree(checked(overridden(config, args), training=training))


@contextmanager
def on_devices(distributed: bool | None) -> Iterator[None]:
    """Set up XLA and join the other processes of the run; an error in one ends them all."""
    import cv2
    from absl import logging

    from yolojax.distributed import heartbeat, processes, xla_flags

    cv2.setNumThreads(0)  # pictures are decoded in parallel, not the parts of one
    logging.set_verbosity(logging.WARNING)  # Orbax logs every file otherwise
    xla_flags.set_up()
    processes.start(distributed)
    try:
        yield
        heartbeat.shutdown()
    except BaseException as error:
        if heartbeat.is_multiprocess():
            if isinstance(error, (*BAD_INPUT, argparse.ArgumentError)):
                print(f"{sys.argv[0]}: {error}", file=sys.stderr)
            else:
                heartbeat.wait_for_lost_process(error)
                traceback.print_exc()
            heartbeat.exit_with_error(error)
        raise
