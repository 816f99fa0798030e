"""The run folder on disk: config, environment and Orbax checkpoints of the state."""

import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from yolojax.config import Config, from_dict, to_dict
from yolojax.files import write_text
from yolojax.sharding import make_mesh, replicated
from yolojax.tasks import Task, build
from yolojax.training.optimizer import make_optimizer
from yolojax.training.state import TrainState, create_state

PACKAGES = ("yolojax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
UNSCORED = -1.0  # metric of a checkpoint made between two evaluations: never the best


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
    """Save `state` and `config` together in the background; `score` is the headline metric."""
    manager.save(
        int(state.step),
        args=ocp.args.Composite(
            state=ocp.args.StandardSave(state), config=ocp.args.JsonSave(to_dict(config))
        ),
        metrics={"score": UNSCORED if score is None else score},
        force=True,
    )


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
    """The newest checkpoint, or `state` where there is none."""
    step = manager.latest_step()
    if step is None:
        return state
    print(f"resuming from {manager.directory}/{step}")
    return restore(manager, state, step)


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
        item = ocp.args.Composite(config=ocp.args.JsonRestore())
        of_step = from_dict(manager.restore(step, args=item)["config"])
        task = build(of_step)
        return task, restore(manager, abstract_state(task, of_step), step)


def abstract_state(task: Task, config: Config) -> TrainState:
    """Shapes and places of the state of `config` on all devices; nothing is computed."""
    mesh, optimizer = make_mesh(), make_optimizer(config.optimizer)
    shapes = jax.eval_shape(lambda: create_state(task, optimizer, config, mesh))
    place = replicated(mesh)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), shapes)
