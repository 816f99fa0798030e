"""A folder of overlays -> the rows of an ablation.

The files are taken in the order of their names. The first has `get_config(arg) -> Config`, where
arg is None or what the folder was asked for with (FOLDER:arg); each later one
`change(config) -> None`, a few lines that change the config of the row before in place. The first
line of a file's docstring is the row's label. Names that start with an underscore are no overlays.
"""

import copy
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from yolojax.config import CONFIGS, Config, checked, run_file
from yolojax.data.from_config import with_tree
from yolojax.tasks import build

SAME = "the same as the row before in this setting"


class Row(NamedTuple):
    """One row of an ablation."""

    name: str  # of the overlay without .py, and of the folder of its runs
    label: str
    config: Config
    not_run: str = ""  # why it is not run; "" where it is


def read_rows(spec: str, prepare: Callable[[Config], Config] = copy.deepcopy) -> list[Row]:
    """The rows that FOLDER or FOLDER:arg stands for.

    Args:
        spec: the folder of the overlays, with or without an argument for its first one.
        prepare: from the config of the first overlay to the one that the others change.

    Returns:
        At least one; a row whose config equals that of the row before says so in `not_run`.

    Raises:
        FileNotFoundError: there is no such folder, or it holds no overlay.
        ValueError: an overlay lacks its function, that gives back the wrong thing or sets a field
            that there is not, or the config does not describe something that can be trained, or is
            evaluated otherwise than the first.
    """
    folder, argument = _cut_argument(spec)
    first, *others = _overlays(folder)
    module = run_file(first, levels=2)
    config = prepare(_base(first, module, argument))
    rows = [Row(first.stem, _label(first, module), _resolved(first, config))]
    for path in others:
        module = run_file(path, levels=2)
        config = _changed(path, module, config)
        row = Row(path.stem, _label(path, module), _resolved(path, config))
        _check_comparable(path, rows[0].config, row.config)
        rows.append(row._replace(not_run=SAME) if row.config == rows[-1].config else row)
    return rows


def _cut_argument(spec: str) -> tuple[Path, str | None]:
    head, colon, argument = spec.rpartition(":")
    if colon and not Path(spec).is_dir():
        return _folder(head), argument
    return _folder(spec), None


def _folder(name: str) -> Path:
    """The overlays of that name that come with yolojax, where no folder of the user has it."""
    shipped = CONFIGS / name
    return shipped if shipped.is_dir() and not Path(name).is_dir() else Path(name)


def _overlays(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: no such folder; give one that holds overlays, as configs/ablation does."
        )
    found = sorted(p for p in folder.glob("*.py") if not p.name.startswith("_"))
    if not found:
        raise FileNotFoundError(f"{folder}: holds no overlay, which is a .py file.")
    return found


def _label(path: Path, module: ModuleType) -> str:
    first, *_ = (module.__doc__ or "").strip().splitlines() or [path.stem]
    return first.strip().rstrip(".")


def _base(path: Path, module: ModuleType, argument: str | None) -> Config:
    get_config = getattr(module, "get_config", None)
    config = get_config(argument) if get_config else None
    if not isinstance(config, Config):
        raise ValueError(
            f"{path}: the first overlay must have a function get_config(arg) that returns a "
            "yolojax Config."
        )
    return config


def _changed(path: Path, module: ModuleType, config: Config) -> Config:
    """A copy of `config`, changed."""
    change, config = getattr(module, "change", None), copy.deepcopy(config)
    if not change:
        raise ValueError(
            f"{path}: must have a function change(config); only the first overlay of a folder, in "
            "the order of their names, has get_config."
        )
    returned = change(config)
    if returned is not None:
        raise ValueError(
            f"{path}: change(config) must change the config that it is given and return nothing, "
            f"got {type(returned).__name__}."
        )
    return config


def _resolved(path: Path, config: Config) -> Config:
    """`config` as its runs save it, known to describe a task."""
    try:
        config = with_tree(checked(config))
        build(config)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if config.eval.every_images:
        raise ValueError(
            f"{path}: config.eval.every_images must be 0, got {config.eval.every_images}; a run is "
            "evaluated at its end, so that a result is always that of a whole run."
        )
    return config


def _check_comparable(path: Path, first: Config, config: Config) -> None:
    for field in ("eval.metric", "data.val"):
        wanted, found = (attrgetter(field)(one) for one in (first, config))
        if wanted != found:
            raise ValueError(
                f"{path}: config.{field} must be that of the first row, {wanted!r}, got {found!r}; "
                "the rows could not be compared otherwise."
            )
