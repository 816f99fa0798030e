"""A config file for `--config`: gives back the config that a run has saved in its workdir."""

from pathlib import Path

from yolojax.config import Config
from yolojax.training.checkpoint import load_config


def get_config(workdir: str) -> Config:
    """The config in `workdir`; raises as `checkpoint.load_config`."""
    return load_config(Path(workdir))


def with_saved_config(argv: list[str]) -> list[str]:
    """`argv` with --config naming this file, where it gives a --workdir but no --config.

    So every override on the command line has a config that it is checked against.
    """
    words = [word.lstrip("-") for word in argv]
    if any(word == "config" or word.startswith("config=") for word in words):
        return argv
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word.startswith("workdir=") or word == "workdir":
            workdir = word.removeprefix("workdir=") if "=" in word else following
            return [argv[0], f"--config={__file__}:{workdir}", *argv[1:]]
    return argv
