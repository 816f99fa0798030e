"""A config file for `--config`: gives back the config that is known of a model on disk."""

import json

from yolojax.config import Config
from yolojax.loading import describe

FLAGS = ("workdir", "weights", "cfg", "names")  # of eval.py, that say which model it is


def get_config(given: str) -> Config:
    """The config of the model that `given` names, JSON of {flag: value} for some of FLAGS.

    Raises as `loading.describe`.
    """
    files = json.loads(given)
    path = files.get("weights") or files["workdir"]
    return describe(path, cfg=files.get("cfg"), names=files.get("names"))


def with_saved_config(argv: list[str]) -> list[str]:
    """`argv` with --config naming this file, where it names a model but no --config.

    So every override on the command line has a config that it is checked against.

    Raises:
        SystemExit: there is no such config, or --cfg or --names stand beside --config.
    """
    given = {name: flag_value(argv, name) for name in ("config", *FLAGS)}
    files = json.dumps({k: v for k, v in given.items() if v is not None})
    try:
        if given["config"] is not None:
            return _without_names(argv, given)
        if given["workdir"] is None and given["weights"] is None:
            return argv
        get_config(files)  # ml_collections would tell of its errors by their whole trace
    except (ValueError, OSError) as error:
        raise SystemExit(f"{argv[0]}: {error}") from error
    return [argv[0], f"--config={__file__}:{files}", *argv[1:]]


def _without_names(argv: list[str], given: dict[str, str | None]) -> list[str]:
    if given["cfg"] is not None or given["names"] is not None:
        raise ValueError("--config names network and classes; leave --cfg and --names out.")
    return argv


def flag_value(argv: list[str], name: str) -> str | None:
    """The value of --name in `argv`, given as --name=value or --name value; None without it."""
    words = [word.lstrip("-") if word.startswith("-") else None for word in argv]
    for word, following in zip(words, [*argv[1:], None], strict=True):
        if word is not None and word.startswith(f"{name}="):
            return word.removeprefix(f"{name}=")
        if word == name:
            return following
    return None
