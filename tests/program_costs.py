"""What the compiled programs of one narrow config cost, by the compiler's own account.

    python tests/program_costs.py    # records them anew in tests/golden/program_costs.json

Nothing here looks at a clock. The numbers do not depend on how many cores the machine has.
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
PROGRAMS = ("train_step", "network", "detect")  # those that a run compiles before its first step
ADVICE = """
Record anew only where the change was meant: another network, loss or form whose gain was measured
(benchmarks/), or less of everything. Then run `python tests/program_costs.py` and say in the commit
what has changed and why. Where it was not meant, look for work that is done twice (a second forward
pass or loss), an array kept in float64, a fusion that was lost to a reshape, or a state that is not
donated any more."""


def narrow_config():
    """YOLOv2 a sixteenth as wide, 20 classes, 4 images of 96x96."""
    from yolojax.config import Config

    config = Config()
    config.model.name, config.model.width = "yolov2", 0.0625
    config.model.classes = tuple(f"class{i}" for i in range(20))
    config.model.anchors = ((1.0, 1.0), (2.0, 1.0))
    config.data.image_size = (96, 96)
    config.optimizer.batch_size = config.eval.batch_size = 4
    return config


def costs(program) -> dict[str, int]:
    """Of a compiled program: operations, bytes moved, the largest temporary, what is donated.

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
    """`function` compiled for arguments of these shapes."""
    return jax.jit(function).lower(*arguments).compile()


def loss_and_gradient(loss):
    """(raw, batch, seen) -> (value, gradient), of a loss that also has metrics."""
    return jax.value_and_grad(lambda *arguments: loss(*arguments)[0])


def loss_arguments():
    """Shapes of what the loss of four images of 416x416 takes: raw, batch, seen."""
    shape = jax.ShapeDtypeStruct
    batch = {
        "boxes": shape((4, 30, 4), jnp.float32),
        "labels": shape((4, 30), jnp.int32),
        "mask": shape((4, 30), jnp.bool_),
    }
    return shape((4, 13, 13, 2 * 25), jnp.float32), batch, shape((), jnp.int32)


def nms_program():
    """NMS of 8 images with 845 boxes and 20 classes."""
    from yolojax.ops.nms import nms

    shapes = [jax.ShapeDtypeStruct((8, 845, n), jnp.float32) for n in (4, 20)]
    options = {"iou_threshold": 0.45, "score_threshold": 0.005}
    return compiled(partial(nms, top_k=200, max_detections=100, **options), *shapes)


def measure() -> dict:
    """{"versions", "programs": {name: costs}, "compilations": {name: how often}}."""
    from yolojax.aot.programs import eval_programs, train_programs
    from yolojax.distributed.sharding import make_mesh, replicated, to_devices
    from yolojax.evaluation.detection import make_programs, warm_up
    from yolojax.tasks import build
    from yolojax.training.compilation import record_compilations

    config, mesh = narrow_config(), make_mesh(jax.devices()[:1])
    task = build(config)
    size = config.data.image_size
    with record_compilations() as found:
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
    counts = Counter(compilation.name for compilation in found)
    evaluation = {
        program.name.split()[1]: costs(program.lower().compile())
        for program in eval_programs(config, task, mesh)
    }
    return {
        "versions": versions(),
        "programs": {
            "train": costs(step),
            **evaluation,
            "loss": costs(compiled(loss_and_gradient(task.loss), *loss_arguments())),
            "nms": costs(nms_program()),
        },
        "compilations": {name: counts[f"jit({name})"] for name in PROGRAMS},
    }


def versions() -> dict[str, str]:
    """What the numbers depend on besides this project."""
    import jaxlib

    return {"jax": jax.__version__, "jaxlib": jaxlib.__version__, "machine": platform.machine()}


def differences(recorded: dict[str, int], found: dict[str, int]) -> list[str]:
    """A line for each cost that is further from the recorded one than its tolerance."""
    return [
        f"{name}: {found[name]:,}, recorded {recorded[name]:,} "
        f"({found[name] / max(recorded[name], 1) - 1:+.1%}, allowed {tolerance:.0%})"
        for name, tolerance in TOLERANCES.items()
        if abs(found[name] - recorded[name]) > tolerance * recorded[name]
    ]


def main() -> None:
    """Record the costs, and say what has changed."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)
    found = measure()
    before = json.loads(RECORD.read_text())["programs"] if RECORD.exists() else {}
    RECORD.write_text(json.dumps(found, indent=2) + "\n")
    for name, program in found["programs"].items():
        changed = differences(before[name], program) if name in before else ["new"]
        print("\n".join(f"{name}: {line}" for line in changed or ["as before"]))


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    main()
