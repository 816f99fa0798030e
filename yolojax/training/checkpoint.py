"""The run folder on disk: config, environment and Orbax checkpoints of the state."""

import contextlib
import dataclasses
import os
import platform
import shutil
import sys
import threading
import time
from importlib import metadata
from pathlib import Path

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from yolojax.config import Config, MeshConfig, from_dict, to_dict
from yolojax.distributed.processes import all_agree, from_main, is_main
from yolojax.distributed.sharding import abstract, make_mesh
from yolojax.files import parse_json, shorten, to_json, write_text
from yolojax.tasks import Task, build
from yolojax.training import checksums
from yolojax.training import state as state_module
from yolojax.training.optimizer import make_optimizer
from yolojax.training.state import TrainState

PACKAGES = ("yolojax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
UNSCORED = -1.0  # metric of a checkpoint saved between two evaluations: never the best
UNFINISHED = "*.orbax-checkpoint-tmp*"  # folders that a killed process leaves
RETRY = 10.0  # seconds between two attempts of the last save of a process
GIVE_UP = 600.0  # seconds after which it is not attempted again
wait = time.sleep
_checksum_threads: list[threading.Thread] = []


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


def open_manager(workdir: Path, keep: int) -> ocp.CheckpointManager:
    """Open workdir/checkpoints, which holds the `keep` newest checkpoints and the best one."""
    preservation = [
        policies.LatestN(keep),
        policies.BestN(n=1, get_metric_fn=lambda metrics: metrics["score"], reverse=False),
    ]
    options = ocp.CheckpointManagerOptions(
        save_decision_policy=policies.SpecificStepsPolicy(()),  # the loop decides, saves are forced
        preservation_policy=policies.AnyPreservationPolicy(preservation),
        best_fn=lambda metrics: metrics["score"],  # without it Orbax writes no metrics
    )
    return ocp.CheckpointManager((Path(workdir) / "checkpoints").absolute(), options=options)


def save(
    manager: ocp.CheckpointManager, state: TrainState, config: Config, score: float | None = None
) -> None:
    """Save `state` and `config` together in the background; `score` is the headline metric.

    A failure, such as a full disk, is reported by the next call of `save` or `finish`. Earlier
    checkpoints stay, and the run may continue.
    """
    wait_for_save(manager)
    manager.save(
        int(state.step),
        args=ocp.args.Composite(
            state=ocp.args.StandardSave(state), config=ocp.args.JsonSave(to_dict(config))
        ),
        metrics={"score": UNSCORED if score is None else score},
        force=True,
    )
    if is_main():
        thread = threading.Thread(target=_write_checksums_when_saved, args=(manager,))
        thread.start()
        _checksum_threads.append(thread)


def finish(
    manager: ocp.CheckpointManager, state: TrainState, config: Config, score: float | None = None
) -> None:
    """Save as `save` does and wait for it; try again if it fails, because the process will end.

    Raises:
        OSError: all attempts for GIVE_UP seconds have failed.
    """
    begin = time.monotonic()
    save(manager, state, config, score)
    while not wait_for_save(manager):
        if time.monotonic() - begin > GIVE_UP:
            raise OSError(
                f"{manager.directory}: step {int(state.step)} could not be saved for "
                f"{GIVE_UP / 60:.0f} minutes and is lost; free some room and run the same command "
                "to resume from the newest checkpoint."
            )
        print(f"trying again in {RETRY:.0f} s, for {GIVE_UP / 60:.0f} minutes", file=sys.stderr)
        wait(RETRY)
        save(manager, state, config, score)


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
        ValueError: the checkpoint has another tree or other shapes than `state`.
    """
    item = ocp.args.Composite(state=ocp.args.StandardRestore(abstract(state)))
    try:
        return manager.restore(step, args=item)["state"]
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"{manager.directory}/{step} is damaged, or does not fit the network that the config "
            f"describes ({error}). Use a new --workdir, or the config of that run."
        ) from error


def resume(manager: ocp.CheckpointManager, state: TrainState) -> TrainState:
    """Restore the newest intact checkpoint, or return `state` if there are no checkpoints.

    Damaged checkpoints are moved to WORKDIR/damaged.

    Raises:
        ValueError: all checkpoints are damaged, or as `restore`.
    """
    step = from_main(lambda: _newest_intact(Path(manager.directory)))
    manager.reload()
    if step < 0:
        return state
    print(f"resuming from {manager.directory}/{step}")
    return restore(manager, state, step)


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


def best_step(manager: ocp.CheckpointManager) -> int | None:
    """Return the step with the highest score; the newest if none was evaluated, None if no step."""
    steps = manager.all_steps()
    return max(steps, key=lambda step: (_score(manager, step), step), default=None)


def _score(manager, step) -> float:
    metrics = manager.metrics(step)
    return metrics["score"] if metrics else UNSCORED


def restore_best(workdir: Path) -> tuple[Task, TrainState]:
    """Restore the task and the state of the best checkpoint in `workdir`.

    Raises:
        FileNotFoundError: no config.json or no checkpoint.
        ValueError: the checkpoint is damaged.
    """
    saved = load_config(workdir)
    with open_manager(Path(workdir), saved.checkpoint.keep) as manager:
        step = best_step(manager)
        if step is None:
            raise FileNotFoundError(f"{workdir}/checkpoints: no checkpoint has been saved yet.")
        if problem := checksums.find_damage(Path(manager.directory) / str(step)):
            raise ValueError(
                f"checkpoint {step} is damaged: {problem}. Resume the training, which falls back "
                f"to an older one, or remove {manager.directory}/{step}."
            )
        item = ocp.args.Composite(config=ocp.args.JsonRestore())
        config = from_dict(manager.restore(step, args=item)["config"])
        task = build(config)
        return task, restore(manager, abstract_state(task, config), step)


def abstract_state(task: Task, config: Config) -> TrainState:
    """Return shapes and shardings of the state of `config`, replicated on all devices."""
    config = dataclasses.replace(config, mesh=MeshConfig())
    return state_module.abstract_state(task, make_optimizer(config.optimizer), config, make_mesh())
