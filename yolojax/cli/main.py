"""The `yolojax` command: chooses a subcommand; its module is imported only then.

A subcommand is a module of this package with `add_arguments(parser)` and `run(args)`, which returns
the exit status; its docstring is the text of its --help. Bad input is one line on stderr and status
1 (errors of the library) or 2 (misuse; a subcommand raises argparse.ArgumentError).
"""

import argparse
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from importlib import metadata

from yolojax.suggestions import did_you_mean

COMMANDS = {
    "train": "train a config, or resume a run",
    "eval": "evaluate a run, or Darknet weights",
    "predict": "detect objects in pictures, or classify them: drawings, JSON, CSV or text",
    "configs": "list the configs that come with yolojax, or print one",
    "init": "write a config for a data set of your own",
    "check-data": "find what is wrong with a data set, and count what is in it",
    "anchors": "cluster the box shapes of a data set; compare with the published anchors",
    "prepare": "prepare a data set for training",
    "summary": "list the layers of a network: shapes, parameters, operations",
    "convert": "convert a model: runs, Darknet, safetensors, ONNX, StableHLO",
    "compare": "compare runs: paired differences with intervals, errors, configs, curves",
    "ablate": "train a row of configs with several seeds, and measure what each step brings",
    "explain": "draw what the loss does to one picture: cells, anchors, targets, each term",
    "check-loss": "test a loss, ours or your own, for what every loss must satisfy",
    "bench": "time the train step, the evaluation and the input of a config on this machine",
    "compile": "compile a config for a TPU that is not there: does it fit, how fast is it?",
    "tree": "build, show and map WordTrees",
}
ALIASES = {"val": "eval", "test": "eval", "detect": "predict"}  # of other programs
OVERVIEW = """usage: yolojax COMMAND ...

{commands}

`yolojax COMMAND --help` shows the options of a command, with examples."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (without the program's name) -> exit status.

    Without `argv` this is the program itself: it takes sys.argv.
    """
    if argv is None:
        # Objects made by imports and tracing live until the end; scanning them again and again
        # takes a tenth of the start.
        gc.set_threshold(1_000_000, 50, 100)
        # OpenCV's own lines about a damaged picture; ours name its file.
        os.environ.setdefault("OPENCV_LOG_LEVEL", "FATAL")
        if sys.stdout and sys.stdout.errors == "strict":  # the name of a file need not be UTF-8
            sys.stdout.reconfigure(errors="backslashreplace")
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help", "help"):
        commands = "\n".join(f"  {name:<11} {text}" for name, text in COMMANDS.items())
        print(OVERVIEW.format(commands=commands), file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    if argv[0] == "--version":
        print(f"yolojax {metadata.version('yolojax')}")
        return 0
    if argv[0] not in COMMANDS:
        print(f"yolojax: {unknown(argv[0])}", file=sys.stderr)
        return 2
    return run_command(argv[0], argv[1:])


def unknown(name: str) -> str:
    """Return the error for a command that does not exist."""
    if name in ALIASES:
        return f"there is no command {name!r}. Did you mean {ALIASES[name]!r}?"
    known = ", ".join(COMMANDS)
    return f"there is no command {name!r}; known: {known}.{did_you_mean(name, COMMANDS)}"


def run_command(name: str, argv: list[str]) -> int:
    """Parse `argv` with the arguments of the command `name` and run it -> exit status."""
    from yolojax.cli.flags import BAD_INPUT, parse

    module = importlib.import_module(f"yolojax.cli.{name.replace('-', '_')}")
    parser = argparse.ArgumentParser(
        prog=f"yolojax {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    args = parse(parser, argv)
    try:
        return module.run(args)
    except argparse.ArgumentError as error:
        print(f"yolojax {name}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        sys.stderr.close()
        return 0
    except BAD_INPUT as error:
        print(f"yolojax {name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130  # 128 + SIGINT, as shells report it
