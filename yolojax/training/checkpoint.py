"""The run folder on disk: config, environment and Orbax checkpoints of the state."""

import contextlib
import dataclasses
import json
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
from yolojax.distributed.sharding import make_mesh
from yolojax.files import write_text
from yolojax.tasks import Task, build
from yolojax.training import checksums
from yolojax.training.optimizer import make_optimizer
from yolojax.training.state import TrainState
from yolojax.training.state import abstract_state as state_on

PACKAGES = ("yolojax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
UNSCORED = -1.0  # metric of a checkpoint made between two evaluations: never the best
UNFINISHED = "*.orbax-checkpoint-tmp*"  # what a killed process leaves of one, not loaded by anybody
wait = time.sleep
sealers: list[threading.Thread] = []  # at work beside the training
RETRY, GIVE_UP = 10.0, 600.0  # seconds between two tries to save at the end, and until the last


def save_config(workdir: Path, config: Config) -> None:
    """workdir/config.json and workdir/env.json (versions, machine, devices, command)."""
    write_text(workdir / "config.json", json.dumps(to_dict(config), indent=2) + "\n")
    environment = {
        "command": sys.argv,
        "python": platform.python_version(),
        "machine": platform.platform(),
        "cpus": os.cpu_count(),
        "devices": [str(d) for d in jax.devices()],
        "packages": {name: metadata.version(name) for name in PACKAGES},
    }
    write_text(workdir / "env.json", json.dumps(environment, indent=2) + "\n")


def load_config(workdir: Path) -> Config:
    """The config saved in `workdir`.

    Raises:
        FileNotFoundError: there is no config.json.
        ValueError: it is not JSON, or does not fit the dataclasses.
    """
    path = Path(workdir) / "config.json"
    if not path.exists():
        raise FileNotFoundError(f"{path}: not found; is {workdir} the --workdir of a training run?")
    try:
        return from_dict(json.loads(path.read_text()))
    except ValueError as error:
        raise ValueError(f"{path}: not a config of this version of yolojax: {error}") from error


def open_manager(workdir: Path, keep: int) -> ocp.CheckpointManager:
    """Asynchronous checkpoints in workdir/checkpoints: the `keep` newest and the best one."""
    preservation = [
        policies.LatestN(keep),
        policies.BestN(n=1, get_metric_fn=lambda metrics: metrics["score"], reverse=False),
    ]
    options = ocp.CheckpointManagerOptions(
        save_decision_policy=policies.SpecificStepsPolicy(()),  # the loop decides; saves are forced
        preservation_policy=policies.AnyPreservationPolicy(preservation),
        best_fn=lambda metrics: metrics["score"],  # without it no metrics are written
    )
    return ocp.CheckpointManager((Path(workdir) / "checkpoints").absolute(), options=options)


def save(
    manager: ocp.CheckpointManager, state: TrainState, config: Config, score: float | None = None
) -> None:
    """Save `state` and `config` together in the background; `score` is the headline metric.

    Where it fails, as on a full disk, that is reported by the next call of this or of `finish`:
    the checkpoints before it stay, and the run may go on.
    """
    settle(manager)
    manager.save(
        int(state.step),
        args=ocp.args.Composite(
            state=ocp.args.StandardSave(state), config=ocp.args.JsonSave(to_dict(config))
        ),
        metrics={"score": UNSCORED if score is None else score},
        force=True,
    )
    if is_main():
        sealers.append(threading.Thread(target=_seal_when_saved, args=(manager,)))
        sealers[-1].start()


def finish(
    manager: ocp.CheckpointManager, state: TrainState, config: Config, score: float | None = None
) -> None:
    """As `save`, and wait for it; where it fails, try again, for `state` is about to go.

    Raises:
        OSError: it cannot be saved, and could not for GIVE_UP seconds.
    """
    begin = time.monotonic()
    save(manager, state, config, score)
    while not settle(manager):
        if time.monotonic() - begin > GIVE_UP:
            raise OSError(
                f"{manager.directory}: step {int(state.step)} could not be saved for "
                f"{GIVE_UP / 60:.0f} minutes and is lost; the same command goes on from the newest "
                "checkpoint once there is room."
            )
        print(f"trying again in {RETRY:.0f} s, for {GIVE_UP / 60:.0f} minutes", file=sys.stderr)
        wait(RETRY)
        save(manager, state, config, score)


def settle(manager: ocp.CheckpointManager) -> bool:
    """Wait for the save under way -> whether it went well in all processes; else stderr is told."""
    settled = all_agree(_settle(manager))
    if not settled:
        manager.reload()  # some processes may count a checkpoint that others do not have
    return settled


def _settle(manager: ocp.CheckpointManager) -> bool:
    try:
        manager.wait_until_finished()
        while sealers:
            sealers.pop().join()
        if is_main():
            _seal_all(manager)
    except (OSError, ValueError, RuntimeError) as error:
        free = shutil.disk_usage(manager.directory).free / 1e6
        reason = str(error).partition(":")[0].partition("[")[0]
        print(
            f"{manager.directory}: a checkpoint could not be saved ({reason}; {free:,.0f} MB are "
            f"free there). The newest whole one is {manager.latest_step()}; free some room.",
            file=sys.stderr,
        )
        _remove_unfinished(Path(manager.directory))
        return False
    return True


def _seal_when_saved(manager: ocp.CheckpointManager) -> None:
    """At once, so that a killed process leaves none without; what fails here `settle` tells of."""
    while manager.is_saving_in_progress():
        time.sleep(0.2)
    with contextlib.suppress(OSError):
        _seal_all(manager)


def _seal_all(manager: ocp.CheckpointManager) -> None:
    for step in manager.all_steps():
        checksums.seal(Path(manager.directory) / str(step))


def _remove_unfinished(directory: Path) -> list[str]:
    """Take away what is left of saves that did not end -> its names."""
    unfinished = sorted(directory.glob(UNFINISHED)) if is_main() else []
    for path in unfinished:
        shutil.rmtree(path, ignore_errors=True)
    return [path.name for path in unfinished]


def restore(manager: ocp.CheckpointManager, state: TrainState, step: int) -> TrainState:
    """The state of checkpoint `step`, laid out on devices as `state` is.

    Raises:
        ValueError: the checkpoint's tree or shapes are not those of `state`.
    """
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )
    try:
        saved = manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(like)))
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"{manager.directory}/{step} is damaged, or does not fit the network that the config "
            f"describes ({error}). Use a new --workdir, or the config of that run."
        ) from error
    return saved["state"]


def resume(manager: ocp.CheckpointManager, state: TrainState) -> TrainState:
    """The newest intact checkpoint, or `state` where there is none at all.

    Damaged ones are moved to WORKDIR/damaged, and the one before is taken.

    Raises:
        ValueError: all are damaged, or as `restore`.
    """
    step = from_main(lambda: _newest_intact(Path(manager.directory)))
    manager.reload()
    if step < 0:
        return state
    print(f"resuming from {manager.directory}/{step}")
    return restore(manager, state, step)


def _newest_intact(directory: Path) -> int:
    """The newest step below `directory` whose files are as they were saved; -1 if there is none."""
    for name in _remove_unfinished(directory):
        print(f"{directory}/{name}: was never finished, and is removed")
    steps = sorted(int(p.name) for p in directory.glob("[0-9]*") if p.name.isdecimal())
    for step in reversed(steps):
        problem = checksums.damage(directory / str(step))
        if problem is None:
            return step
        kept = directory.parent / "damaged" / f"{step}_{time.time():.0f}"
        kept.parent.mkdir(exist_ok=True)
        (directory / str(step)).rename(kept)
        print(f"checkpoint {step} is damaged: {problem}. It is now {kept}.", file=sys.stderr)
    if steps:
        raise ValueError(
            f"{directory}: all checkpoints ({', '.join(map(str, steps))}) are damaged; use a new "
            "--workdir, or put back a copy of one."
        )
    return -1


def best_step(manager: ocp.CheckpointManager) -> int | None:
    """The step with the highest score, the newest where none was evaluated, None without any."""
    steps = manager.all_steps()
    return max(steps, key=lambda step: (_score(manager, step), step), default=None)


def _score(manager, step) -> float:
    metrics = manager.metrics(step)
    return metrics["score"] if metrics else UNSCORED


def restore_best(workdir: Path) -> tuple[Task, TrainState]:
    """The task and the state of the best checkpoint in `workdir`.

    Raises:
        FileNotFoundError: no config.json or no checkpoint.
        ValueError: the checkpoint is damaged.
    """
    saved = load_config(workdir)
    with open_manager(Path(workdir), saved.checkpoint.keep) as manager:
        step = best_step(manager)
        if step is None:
            raise FileNotFoundError(f"{workdir}/checkpoints: no checkpoint has been saved yet.")
        if problem := checksums.damage(Path(manager.directory) / str(step)):
            raise ValueError(
                f"checkpoint {step} is damaged: {problem}. Go on with the training from the one "
                f"before, or take {manager.directory}/{step} away."
            )
        item = ocp.args.Composite(config=ocp.args.JsonRestore())
        of_step = from_dict(manager.restore(step, args=item)["config"])
        task = build(of_step)
        return task, restore(manager, abstract_state(task, of_step), step)


def abstract_state(task: Task, config: Config) -> TrainState:
    """Shapes and places of the state of `config`, whole on all devices; nothing is computed."""
    whole = dataclasses.replace(config, mesh=MeshConfig())
    return state_on(task, make_optimizer(config.optimizer), whole, make_mesh())
