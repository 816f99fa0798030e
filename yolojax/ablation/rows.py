"""Read the rows of an ablation from a folder of overlays.

Files are sorted by name. The first defines `get_config(arg) -> Config`, where arg is that of
FOLDER:arg or None. Each later one defines `change(config) -> None`, which changes the config of the
previous row in place. The first line of a file's docstring is the label of the row. Files whose
names start with an underscore are ignored.
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

SAME = "the same as the previous row in this setting"


class Row(NamedTuple):
    """One row of an ablation."""

    name: str  # of the overlay without .py, and of the folder of its runs
    label: str
    config: Config
    not_run: str = ""  # why it is skipped, or ""


def read_rows(spec: str, prepare: Callable[[Config], Config] = copy.deepcopy) -> list[Row]:
    """Read the rows of FOLDER or FOLDER:arg.

    Args:
        spec: the folder of the overlays, optionally with an argument for the first one.
        prepare: applied to the config of the first overlay before the others change it.

    Returns:
        At least one row. A row with the same config as the previous one is not run.

    Raises:
        FileNotFoundError: there is no such folder, or it holds no overlay.
        ValueError: an overlay lacks its function, or the function returns the wrong type or sets
            an unknown field; the config cannot be trained or is evaluated differently from the
            first.
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
    """Return the folder `name`, or the shipped one of that name if there is no such folder."""
    shipped = CONFIGS / name
    return shipped if shipped.is_dir() and not Path(name).is_dir() else Path(name)


def _overlays(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: no such folder; give a folder of overlays such as configs/ablation."
        )
    found = sorted(p for p in folder.glob("*.py") if not p.name.startswith("_"))
    if not found:
        raise FileNotFoundError(f"{folder}: contains no overlay, which is a .py file.")
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
    """Return a changed copy of `config`."""
    change, config = getattr(module, "change", None), copy.deepcopy(config)
    if not change:
        raise ValueError(
            f"{path}: must have a function change(config); only the first overlay by name has "
            "get_config."
        )
    returned = change(config)
    if returned is not None:
        raise ValueError(
            f"{path}: change(config) must change its argument in place and return nothing, "
            f"got {type(returned).__name__}."
        )
    return config


def _resolved(path: Path, config: Config) -> Config:
    """Return `config` as its runs save it, after checking that it describes a task."""
    try:
        config = with_tree(checked(config))
        build(config)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if config.eval.every_images:
        raise ValueError(
            f"{path}: config.eval.every_images must be 0, got {config.eval.every_images}; a run is "
            "evaluated only at its end."
        )
    return config


def _check_comparable(path: Path, first: Config, config: Config) -> None:
    for field in ("eval.metric", "data.val"):
        wanted, found = (attrgetter(field)(one) for one in (first, config))
        if wanted != found:
            raise ValueError(
                f"{path}: config.{field} must equal that of the first row, {wanted!r}, got "
                f"{found!r}, so that rows are comparable."
            )
