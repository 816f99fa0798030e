"""The command line of train.py and eval.py: a mistyped override gets a suggestion, not a trace."""

import dataclasses
import sys
import traceback

import cv2
from absl import app, flags, logging

from yolojax.config import OLD_FIELDS, Config
from yolojax.distributed import heartbeat, processes, xla_flags
from yolojax.suggestions import did_you_mean

DISTRIBUTED = flags.DEFINE_bool(
    "distributed", None, "one of several processes, a command on each host; default: looks for them"
)


def field_names(schema: type = Config, prefix: str = "") -> list[str]:
    """Every overridable field of the config as a dotted name."""
    names = []
    for field in dataclasses.fields(schema):
        if dataclasses.is_dataclass(field.type):
            names += field_names(field.type, f"{prefix}{field.name}.")
        else:
            names.append(prefix + field.name)
    return names


def unknown_overrides(argv: list[str]) -> list[str]:
    """A sentence for each `--config.name` in `argv` that is no field of the config."""
    names = [arg.lstrip("-").split("=")[0] for arg in argv if arg.startswith("-")]
    given = [flag.removeprefix("config.") for flag in names if flag.startswith("config.")]
    known = field_names()
    return [_suggest(name, known) for name in given if name not in known]


def _suggest(name: str, known: list[str]) -> str:
    if name in OLD_FIELDS:
        return f"--config.{name} is now --config.{OLD_FIELDS[name]}."
    last = [field for field in known if field.split(".")[-1] == name.split(".")[-1]]
    hint = did_you_mean(last[0] if last else name, known, "--config.{}")
    return f"--config.{name}: there is no such field.{hint}"


def parse_flags(argv: list[str]) -> list[str]:
    """absl's parser; whatever is wrong with the command line is a line on stderr and status 2."""
    problems = unknown_overrides(argv[1:])
    try:
        rest = [] if problems else flags.FLAGS(argv)[1:]
        problems += [f"unknown argument {word!r}" for word in rest]
    except (flags.Error, FileNotFoundError, ValueError) as error:
        problems = [str(error)]
    if problems:
        print("\n".join(f"{argv[0]}: {problem}" for problem in problems), file=sys.stderr)
        sys.exit(2)
    return argv[:1]


def run_main(main) -> None:
    """Parse the flags and run `main()`; bad input is one line on stderr and status 1.

    Of several processes none is left alone: each ends when one of them fails, or all when all are
    done.
    """
    cv2.setNumThreads(0)  # of a single call: pictures are what runs side by side

    def guarded(argv):
        logging.set_verbosity(logging.WARNING)  # Orbax tells at length of every file otherwise
        try:
            xla_flags.set_up()
            processes.start(DISTRIBUTED.value)
            main()
            heartbeat.leave()
        except (ValueError, OSError, FloatingPointError) as error:
            print(f"{argv[0]}: {error}", file=sys.stderr)
            if heartbeat.several():
                heartbeat.fail(error)
            sys.exit(1)
        except BaseException as error:
            if heartbeat.several():
                heartbeat.find_out(error)
                traceback.print_exc()
                heartbeat.fail(error)
            raise

    # Overrides may stand in front of the config that they change; ml_collections reads sys.argv.
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: not word.startswith("--config="))
    app.run(guarded, flags_parser=parse_flags)
