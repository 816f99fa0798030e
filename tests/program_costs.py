"""Costs of the compiled programs of a narrow config, as the compiler reports them.

    python tests/program_costs.py    # record the costs for the installed version of JAX

tests/golden/program_costs.json has the costs for each version of JAX. They do not depend on the
speed or the number of cores of the machine.
"""

import json
import os
import platform
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

RECORD = Path(__file__).parent / "golden" / "program_costs.json"
TOLERANCES = {  # shares of the recorded value
    "flops": 0.02,
    "bytes_accessed": 0.04,
    "temporary_bytes": 0.04,
    "donated_bytes": 0.0,
}
PROGRAMS = ("train_step", "network", "detect")  # compiled before the first step of a run
ADVICE = """
If the change is intended (another network, loss or form whose gain was measured with benchmarks/,
or lower costs), run `python tests/program_costs.py` and explain the change in the commit. If not,
look for work that is done twice (a second forward pass or loss), an array in float64, a fusion lost
to a reshape, or a state that is no longer donated."""


def narrow_config():
    """Return a config of YOLOv2 with a sixteenth of the width, 20 classes, 4 images of 96x96."""
    from yolojax.config import Config

    config = Config()
    config.model.name, config.model.width = "yolov2", 0.0625
    config.model.classes = tuple(f"class{i}" for i in range(20))
    config.model.anchors = ((1.0, 1.0), (2.0, 1.0))
    config.data.image_size = (96, 96)
    config.optimizer.batch_size = config.eval.batch_size = 4
    return config


def costs(program) -> dict[str, int]:
    """Return operations, bytes accessed, temporary and donated memory of a compiled program.

    The body of a loop counts once.
    """
    counted, memory = program.cost_analysis(), program.memory_analysis()
    return {
        "flops": int(counted["flops"]),
        "bytes_accessed": int(counted["bytes accessed"]),
        "temporary_bytes": memory.temp_size_in_bytes,
        "donated_bytes": memory.alias_size_in_bytes,
    }


def compiled(function, *arguments):
    """Compile `function` for arguments of these shapes."""
    return jax.jit(function).lower(*arguments).compile()


def loss_and_gradient(loss):
    """Return the function (raw, batch, seen) -> (value, gradient) of a loss with metrics."""
    return jax.value_and_grad(lambda *arguments: loss(*arguments)[0])


def loss_arguments():
    """Return the shapes of raw, batch and seen for four images of 416x416."""
    shape = jax.ShapeDtypeStruct
    batch = {
        "boxes": shape((4, 30, 4), jnp.float32),
        "labels": shape((4, 30), jnp.int32),
        "mask": shape((4, 30), jnp.bool_),
    }
    return shape((4, 13, 13, 2 * 25), jnp.float32), batch, shape((), jnp.int32)


def nms_program():
    """Compile NMS of 8 images with 845 boxes and 20 classes."""
    from yolojax.ops.nms import nms

    shapes = [jax.ShapeDtypeStruct((8, 845, n), jnp.float32) for n in (4, 20)]
    options = {"iou_threshold": 0.45, "score_threshold": 0.005}
    return compiled(partial(nms, top_k=200, max_detections=100, **options), *shapes)


def measure() -> dict:
    """Return {"programs": {name: costs}, "compilations": {name: number}}."""
    from yolojax.aot.programs import eval_programs, train_programs
    from yolojax.distributed.sharding import make_mesh, replicated, to_devices
    from yolojax.evaluation.detection import make_programs, warm_up
    from yolojax.tasks import build
    from yolojax.training.compilation import record_compilations

    config, mesh = narrow_config(), make_mesh(jax.devices()[:1])
    task = build(config)
    size = config.data.image_size
    with record_compilations() as compilations:
        (train,) = train_programs(config, task, mesh, [size])
        lowered = train.lower()
        step = lowered.compile()
        inputs, _ = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), lowered.in_avals)
        state, batch = jax.device_put(inputs[0], replicated(mesh)), to_devices(inputs[1], mesh)
        for _ in range(2):
            state, _ = step(state, batch)
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        programs = make_programs(task, config.eval)
        warm_up(programs, variables, config, mesh)
        raw = programs.network(variables, batch["image"])
        for thresholds in ((0.2, 0.4), (0.01, 0.6)):
            jax.block_until_ready(programs.detect(raw, *thresholds))
    counts = Counter(compilation.name for compilation in compilations)
    evaluation = {
        program.name.split()[1]: costs(program.lower().compile())
        for program in eval_programs(config, task, mesh)
    }
    return {
        "programs": {
            "train": costs(step),
            **evaluation,
            "loss": costs(compiled(loss_and_gradient(task.loss), *loss_arguments())),
            "nms": costs(nms_program()),
        },
        "compilations": {name: counts[f"jit({name})"] for name in PROGRAMS},
    }


def version() -> str:
    """Return the key of the installed compiler in RECORD, as "jax 0.10.2, x86_64"."""
    return f"jax {jax.__version__}, {platform.machine()}"


def recorded() -> dict:
    """Return the recorded costs of the installed version, as `measure` returns them.

    Raises:
        LookupError: none are recorded.
    """
    records = json.loads(RECORD.read_text())
    if version() not in records:
        raise LookupError(
            f"{RECORD} has no costs for {version()}, only for {'; '.join(records)}; record them "
            "with `python tests/program_costs.py` on a commit whose costs are right."
        )
    return records[version()]


def differences(expected: dict[str, int], actual: dict[str, int]) -> list[str]:
    """Return a line for each cost that differs from the expected one by more than its tolerance."""
    return [
        f"{name}: {actual[name]:,}, recorded {expected[name]:,} "
        f"({actual[name] / max(expected[name], 1) - 1:+.1%}, allowed {tolerance:.0%})"
        for name, tolerance in TOLERANCES.items()
        if abs(actual[name] - expected[name]) > tolerance * expected[name]
    ]


def main() -> None:
    """Record the costs for the installed version and print what has changed."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)
    records = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    before = records.get(version(), {"programs": {}})["programs"]
    records[version()] = measure()
    RECORD.write_text(json.dumps(records, indent=2, sort_keys=True) + "\n")
    for name, program in records[version()]["programs"].items():
        changed = differences(before[name], program) if name in before else ["new"]
        print("\n".join(f"{name}: {line}" for line in changed or ["as before"]))


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    main()
