"""The command line of train.py and eval.py: a mistyped override gets a suggestion, not a trace."""

import dataclasses
import difflib
import sys

from absl import app, logging

from yolojax.config import Config


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
    flags = [arg.lstrip("-").split("=")[0] for arg in argv if arg.startswith("-")]
    given = [flag.removeprefix("config.") for flag in flags if flag.startswith("config.")]
    known = field_names()
    return [_suggest(name, known) for name in given if name not in known]


def _suggest(name: str, known: list[str]) -> str:
    last = [field for field in known if field.split(".")[-1] == name.split(".")[-1]]
    near = last or difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f" Did you mean --config.{near[0]}?" if near else ""
    return f"--config.{name}: there is no such field.{hint}"


def parse_flags(argv: list[str]) -> list[str]:
    """absl's parser; an unknown override ends the program with a line and status 2."""
    if problems := unknown_overrides(argv[1:]):
        print("\n".join(problems), file=sys.stderr)
        sys.exit(2)
    return app.parse_flags_with_usage(argv)


def run_main(main) -> None:
    """Parse the flags and run `main(argv)`; bad input is one line on stderr and status 1."""

    def guarded(argv):
        if len(argv) > 1:
            raise app.UsageError(f"unknown arguments: {' '.join(argv[1:])}")
        logging.set_verbosity(logging.WARNING)  # Orbax tells at length of every file otherwise
        try:
            main()
        except (ValueError, FileNotFoundError, FloatingPointError) as error:
            print(f"{argv[0]}: {error}", file=sys.stderr)
            sys.exit(1)

    app.run(guarded, flags_parser=parse_flags)
