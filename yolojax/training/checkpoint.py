"""The run folder on disk: config, environment and Orbax checkpoints of the state."""

import contextlib
import dataclasses
import logging
import os
import platform
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from yolojax.config import Config, MeshConfig, from_dict, to_dict
from yolojax.distributed.processes import all_agree, from_main, is_main
from yolojax.distributed.sharding import abstract, make_mesh
from yolojax.files import shorten, write_text
from yolojax.json_files import parse_json, to_json
from yolojax.tasks import Task, build
from yolojax.training import checksums, ranking, run_config
from yolojax.training import state as state_module
from yolojax.training.optimizer import make_optimizer
from yolojax.training.ranking import UNSCORED, BestOfEachRanking
from yolojax.training.state import TrainState

PACKAGES = ("yolojax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
UNFINISHED = "*.orbax-checkpoint-tmp*"  # folders that a killed process leaves
RETRY = 10.0  # seconds between two attempts of the last save of a process
GIVE_UP = 600.0  # seconds after which it is not attempted again
wait = time.sleep
_checksum_threads: list[threading.Thread] = []
# Orbax logs what it also raises, and what is normal while a run saves and another process reads.
logging.getLogger("absl").addFilter(lambda record: "/orbax/" not in record.pathname)


def save_config(workdir: Path, config: Config) -> None:
    """Write workdir/config.json and workdir/env.json (versions, machine, devices, command)."""
    write_text(workdir / "config.json", to_json(to_dict(config), indent=2) + "\n")
    environment = {
        "command": sys.argv,
        "python": platform.python_version(),
        "machine": platform.platform(),
        "cpus": os.cpu_count(),
        "devices": [str(d) for d in jax.devices()],
        "packages": {name: metadata.version(name) for name in PACKAGES},
    }
    write_text(workdir / "env.json", to_json(environment, indent=2) + "\n")


def load_config(workdir: Path) -> Config:
    """Load the config saved in `workdir`.

    Raises:
        FileNotFoundError: there is no config.json.
        ValueError: the file is not JSON, or does not fit the dataclasses.
    """
    path = Path(workdir) / "config.json"
    if not path.exists():
        raise FileNotFoundError(f"{path}: not found; is {workdir} the --workdir of a training run?")
    try:
        return from_dict(parse_json(path.read_bytes(), "it"))
    except ValueError as error:
        reason = shorten(str(error), 500)
        raise ValueError(f"{path}: not a config of this version of yolojax: {reason}") from error


def print_restart(workdir: Path, now: Config) -> None:
    """Print what differs from the config of a run that was ended before its first checkpoint."""
    try:
        before = load_config(workdir)
    except (OSError, ValueError):  # there is none, or a damaged one, which is replaced
        return
    if changes := run_config.differences(before, now):
        head = f"{workdir}: has no checkpoint; it starts again, with another config than before"
        print("\n".join([head, *(f"  {change}" for change in changes)]))


def open_manager(workdir: Path, keep: int) -> ocp.CheckpointManager:
    """Open workdir/checkpoints: the `keep` newest checkpoints and the best one of each ranking.

    Raises:
        ValueError: the metrics of a checkpoint are damaged.
    """
    preservation = [policies.LatestN(keep), BestOfEachRanking()]
    options = ocp.CheckpointManagerOptions(
        save_decision_policy=policies.SpecificStepsPolicy(()),  # the loop decides, saves are forced
        preservation_policy=policies.AnyPreservationPolicy(preservation),
        best_fn=lambda metrics: metrics["score"],  # without it Orbax writes no metrics
    )
    folder = _folder(workdir).absolute()
    try:
        return ocp.CheckpointManager(folder, options=options)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{folder}/*/metrics: those of a checkpoint are damaged ({error}); remove its folder, "
            "or restore a copy of it."
        ) from error


@contextlib.contextmanager
def open_newest(workdir: Path, keep: int) -> Iterator[tuple[ocp.CheckpointManager, int | None]]:
    """Open the checkpoints to resume from -> the manager, and the step of the newest intact one.

    The step is None if there are none. Damaged ones are moved to WORKDIR/damaged.

    Raises:
        ValueError: all checkpoints are damaged.
    """
    step = from_main(lambda: _newest_intact(_folder(workdir)))
    with open_manager(workdir, keep) as manager:
        yield manager, None if step < 0 else step


def _folder(workdir: Path) -> Path:
    return Path(workdir) / "checkpoints"


def save(
    manager: ocp.CheckpointManager,
    state: TrainState,
    config: Config,
    score: float | None = None,
    ranked: dict | None = None,
) -> None:
    """Save `state` and `config` together in the background.

    `score` is the headline metric, which is compared with those of the same ranking `ranked`.
    A failure, such as a full disk, is reported by the next call of `save` or `finish`. Earlier
    checkpoints stay, and the run may continue.
    """
    wait_for_save(manager)
    manager.save(
        int(state.step),
        args=ocp.args.Composite(
            state=ocp.args.StandardSave(state), config=ocp.args.JsonSave(to_dict(config))
        ),
        metrics={"score": UNSCORED} if score is None else {"score": score, "ranking": ranked or {}},
        force=True,
    )
    if is_main():
        thread = threading.Thread(target=_write_checksums_when_saved, args=(manager,))
        thread.start()
        _checksum_threads.append(thread)


def finish(
    manager: ocp.CheckpointManager,
    state: TrainState,
    config: Config,
    score: float | None = None,
    ranked: dict | None = None,
) -> None:
    """Save as `save` does and wait for it; try again if it fails, because the process will end.

    Raises:
        OSError: all attempts for GIVE_UP seconds have failed.
    """
    begin = time.monotonic()
    save(manager, state, config, score, ranked)
    while not wait_for_save(manager):
        if time.monotonic() - begin > GIVE_UP:
            raise OSError(
                f"{manager.directory}: step {int(state.step)} could not be saved for "
                f"{GIVE_UP / 60:.0f} minutes and is lost; free some room and run the same command "
                "to resume from the newest checkpoint."
            )
        print(f"trying again in {RETRY:.0f} s, for {GIVE_UP / 60:.0f} minutes", file=sys.stderr)
        wait(RETRY)
        save(manager, state, config, score, ranked)


def wait_for_save(manager: ocp.CheckpointManager) -> bool:
    """Wait for the current save -> whether it succeeded in all processes; report a failure."""
    saved = all_agree(_wait_for_save(manager))
    if not saved:
        manager.reload()  # processes may disagree about which checkpoints exist
    return saved


def _wait_for_save(manager: ocp.CheckpointManager) -> bool:
    try:
        manager.wait_until_finished()
        while _checksum_threads:
            _checksum_threads.pop().join()
        if is_main():
            _write_all_checksums(manager)
    except (OSError, ValueError, RuntimeError) as error:
        free = shutil.disk_usage(manager.directory).free / 1e6
        reason = str(error).partition(":")[0].partition("[")[0]
        print(
            f"{manager.directory}: a checkpoint could not be saved ({reason}; {free:,.0f} MB are "
            f"free there). The newest complete one is {manager.latest_step()}; free some room.",
            file=sys.stderr,
        )
        _remove_unfinished(Path(manager.directory))
        return False
    return True


def _write_checksums_when_saved(manager: ocp.CheckpointManager) -> None:
    """Write checksums as soon as Orbax is done; `wait_for_save` reports failures."""
    while manager.is_saving_in_progress():
        time.sleep(0.2)
    with contextlib.suppress(OSError):
        _write_all_checksums(manager)


def _write_all_checksums(manager: ocp.CheckpointManager) -> None:
    for step in manager.all_steps():
        checksums.write_checksums(Path(manager.directory) / str(step))


def _remove_unfinished(directory: Path) -> list[str]:
    """Remove the folders of unfinished saves -> their names."""
    unfinished = sorted(directory.glob(UNFINISHED)) if is_main() else []
    for path in unfinished:
        shutil.rmtree(path, ignore_errors=True)
    return [path.name for path in unfinished]


def restore(manager: ocp.CheckpointManager, state: TrainState, step: int) -> TrainState:
    """Restore checkpoint `step` with the shapes and shardings of `state`.

    Raises:
        ValueError: the checkpoint is damaged, or has another tree or other shapes than `state`.
    """
    item = ocp.args.Composite(state=ocp.args.StandardRestore(abstract(state)))
    return _restored(manager, step, item)["state"]


def config_of(manager: ocp.CheckpointManager, step: int) -> Config:
    """Return the config that is stored in checkpoint `step`.

    Raises:
        ValueError: the checkpoint is damaged, or of another version of yolojax.
    """
    item = ocp.args.Composite(config=ocp.args.JsonRestore())
    fields = _restored(manager, step, item)["config"]
    try:
        return from_dict(fields)
    except ValueError as error:
        place = f"{manager.directory}/{step}/config"
        raise ValueError(f"{place}: not a config of this version of yolojax: {error}") from error


def _restored(manager: ocp.CheckpointManager, step: int, items: ocp.args.Composite):
    try:
        return manager.restore(step, args=items)
    except Exception as error:  # Orbax raises anything for bytes that it did not write
        sys.unraisablehook = partial(_print_unraisable, sys.unraisablehook)
        folder = f"{manager.directory}/{step}"
        reason = str(error).strip().partition("\n")[0][:200]
        raise ValueError(
            f"{folder} is damaged, or not of the network that its config describes ({reason}). "
            "Use another --workdir, or restore a copy of it."
        ) from error


def _print_unraisable(print_other: Callable, unraisable) -> None:
    """Leave out what TensorStore's threads raise when Orbax has stopped to wait for them."""
    if str(unraisable.exc_value) != "Event loop is closed":
        print_other(unraisable)


def _newest_intact(directory: Path) -> int:
    """Return the newest step in `directory` whose files are intact; -1 if there are no steps."""
    for name in _remove_unfinished(directory):
        print(f"{directory}/{name}: unfinished, removed")
    steps = sorted(int(p.name) for p in directory.glob("[0-9]*") if p.name.isdecimal())
    for step in reversed(steps):
        problem = checksums.find_damage(directory / str(step))
        if problem is None:
            return step
        moved = directory.parent / "damaged" / f"{step}_{time.time():.0f}"
        moved.parent.mkdir(exist_ok=True)
        (directory / str(step)).rename(moved)
        print(f"checkpoint {step} is damaged: {problem}. It is now in {moved}.", file=sys.stderr)
    if steps:
        raise ValueError(
            f"{directory}: all checkpoints ({', '.join(map(str, steps))}) are damaged; use a new "
            "--workdir, or restore a copy of one."
        )
    return -1


class Chosen(NamedTuple):
    """A checkpoint that was chosen for evaluation or prediction."""

    step: int
    scored: ranking.Scored | None  # None: no checkpoint was evaluated, it is the last one

    def about(self, state: TrainState) -> dict:
        """Return what names the checkpoint in a result, ready for JSON."""
        about = {"step": self.step, "choice": "best" if self.scored else "last"}
        about["averaged"] = state.ema is not None
        if self.scored:
            about["score"] = self.scored.score
            about["metric"] = self.scored.ranking.get("eval.metric")
            about["data"] = self.scored.ranking.get("data.val")
        return about


def best(manager: ocp.CheckpointManager) -> ranking.Scored | None:
    """Return the best checkpoint of the newest ranking; None if none was evaluated."""
    found = (ranking.scored(step, manager.metrics(step)) for step in manager.all_steps())
    return ranking.best([_with_ranking(manager, one) for one in found if one])


def _with_ranking(manager: ocp.CheckpointManager, one: ranking.Scored) -> ranking.Scored:
    """Add the ranking of a checkpoint of an older version, which has it in its config alone."""
    if one.ranking:
        return one
    try:
        return one._replace(ranking=ranking.ranking_of(config_of(manager, one.step)))
    except ValueError:  # damaged
        return one


def ranking_notes(manager: ocp.CheckpointManager, ranked: dict) -> list[str]:
    """Say so if the next score starts a new ranking `ranked`."""
    scored = best(manager)
    if scored is None or ranking.is_same(scored.ranking, ranked):
        return []
    pairs = ranking.differences(scored.ranking, ranked)
    changes = "; ".join(str(run_config.Change(*pair)) for pair in pairs)
    return [
        f"the next evaluation begins a new ranking of checkpoints ({changes}); until then the best "
        f"one is that of step {scored.step}"
    ]


def choose(manager: ocp.CheckpointManager) -> Chosen | None:
    """Choose the best checkpoint; the last if none was evaluated, None if there is none."""
    scored, last = best(manager), manager.latest_step()
    step = scored.step if scored else last
    return None if step is None else Chosen(step, scored)


class Restored(NamedTuple):
    """A checkpoint in memory."""

    config: Config  # that is stored in the checkpoint
    state: TrainState
    about: dict  # see Chosen


def best_config(workdir: Path) -> Config:
    """Return the config stored in the best checkpoint, or config.json if there is none yet.

    Raises:
        FileNotFoundError: no config.json.
        ValueError: the checkpoint or config.json is damaged.
    """
    if not _folder(workdir).is_dir():
        return load_config(workdir)
    with open_manager(workdir, keep=1) as manager:
        chosen = choose(manager)
        return config_of(manager, chosen.step) if chosen else load_config(workdir)


def restore_best(workdir: Path) -> Restored:
    """Restore the best checkpoint in `workdir`, with the config that is stored in it.

    Raises:
        FileNotFoundError: no run, or no checkpoint.
        ValueError: the checkpoint is damaged.
    """
    if not _folder(workdir).is_dir():
        load_config(workdir)
        raise FileNotFoundError(f"{_folder(workdir)}: no checkpoint has been saved yet.")
    with open_manager(workdir, keep=1) as manager:
        while chosen := choose(manager):
            try:
                return _restore_chosen(manager, chosen)
            except (ValueError, FileNotFoundError):
                if (Path(manager.directory) / str(chosen.step)).is_dir():
                    raise
                manager.reload()  # a training run has just removed it: there is a better one
    raise FileNotFoundError(f"{_folder(workdir)}: no checkpoint has been saved yet.")


def _restore_chosen(manager: ocp.CheckpointManager, chosen: Chosen) -> Restored:
    step = chosen.step
    if problem := checksums.find_damage(Path(manager.directory) / str(step)):
        raise ValueError(
            f"checkpoint {step} is damaged: {problem}. Resume the training, which falls back to "
            f"an older one, or remove {manager.directory}/{step}."
        )
    config = config_of(manager, step)
    try:
        abstract = abstract_state(build(config), config)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{manager.directory}/{step}/config: {error}") from error
    state = restore(manager, abstract, step)
    return Restored(config, state, chosen.about(state))


def abstract_state(task: Task, config: Config) -> TrainState:
    """Return shapes and shardings of the state of `config`, replicated on all devices."""
    config = dataclasses.replace(config, mesh=MeshConfig())
    return state_module.abstract_state(task, make_optimizer(config.optimizer), config, make_mesh())
