"""The `yolojax` command: picks the verb; its module is imported only then.

A verb is a module of this package with `add_arguments(parser)` and `run(args) -> exit status`; its
docstring is the text of its --help. Bad input is one line on stderr and status 1 (library errors)
or 2 (misuse; a verb raises argparse.ArgumentError).
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from importlib import metadata

from yolojax.suggestions import did_you_mean

VERBS = {
    "summary": "the layers of a network: shapes, parameters, operations",
    "predict": "detect objects in pictures, or classify them: drawings, JSON, CSV or text",
    "ablate": "train a row of configs with several seeds, tell what every step brings",
    "compare": "runs side by side: paired differences with intervals, errors, configs, curves",
    "explain": "what the loss does to one picture: cells, anchors, targets, each term",
    "anchors": "cluster the box shapes of a data set; whether own anchors pay",
    "bench": "how long the train step, the evaluation and the input of a config take here",
    "check-loss": "whether a loss, ours or your own, keeps what every loss must keep",
    "convert": "a model from one form to another: runs, Darknet, ONNX, StableHLO",
    "compile": "do training and evaluation fit a TPU, how fast can they be; no TPU is needed",
    "check-data": "what is wrong with a data set, what is in it, what a grid can find",
    "tree": "build, show and map WordTrees",
    "prepare": "get a data set ready for training",
}
SCRIPTS = {"train": "train.py", "eval": "eval.py", "val": "eval.py", "test": "eval.py"}
OVERVIEW = """usage: yolojax VERB ...

{verbs}

`yolojax VERB --help` shows the options of a verb, with examples.
Training and evaluation are scripts:
  python train.py --config=configs/NAME.py --workdir=RUN
  python eval.py --workdir=RUN"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (without the program's name) -> exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help", "help"):
        verbs = "\n".join(f"  {name:<11} {text}" for name, text in VERBS.items())
        print(OVERVIEW.format(verbs=verbs), file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    if argv[0] == "--version":
        print(f"yolojax {metadata.version('yolojax')}")
        return 0
    if argv[0] not in VERBS:
        print(f"yolojax: {unknown(argv[0])}", file=sys.stderr)
        return 2
    return run_verb(argv[0], argv[1:])


def unknown(verb: str) -> str:
    """What to say of a verb that does not exist."""
    if verb in SCRIPTS:
        return f"{verb!r} is a script: python {SCRIPTS[verb]} --help"
    hint = did_you_mean(verb, [*VERBS, *SCRIPTS])
    return f"there is no verb {verb!r}; known: {', '.join(VERBS)}.{hint}"


def run_verb(verb: str, argv: list[str]) -> int:
    """Parse `argv` with the arguments of `verb` and run it -> exit status."""
    module = importlib.import_module(f"yolojax.cli.{verb.replace('-', '_')}")
    parser = argparse.ArgumentParser(
        prog=f"yolojax {verb}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    args = parser.parse_args(argv)
    try:
        return module.run(args)
    except argparse.ArgumentError as error:
        print(f"yolojax {verb}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # what reads our output has seen enough, as `head` does
        sys.stderr.close()
        return 0
    except (ValueError, OSError) as error:
        print(f"yolojax {verb}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130  # 128 + SIGINT, as shells report it
