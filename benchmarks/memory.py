"""Peak memory of a training step and of loading a file, each in its own process.

    pip install torch opencv-python-headless
    JAX_PLATFORMS=cpu python benchmarks/memory.py [--rounds 5] [--steps 4] [--json FILE]

The step is that of train_step.py: yolov2-voc at 416x416 with a batch of 4 in float32. "cold"
compiles the program, "warm" reads it from the cache, as all runs but the first do; the goal refers
to "warm". Peaks are VmHWM of a process, including its imports; PyTorch's process has no JAX.

The file is a random .weights of yolov2-voc. The figure is the peak above the memory that the
process has after all imports and with an initialized device. "variables" is `load_model` with all
variables on the device; "yolojax.load" and OpenCV return a detector. Pages of a mapped file count.
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import types
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

BATCH, SIZE = 4, 416
GOALS = {"step, yolojax warm": 1.1, "load, variables": 1.3}  # times PyTorch's; times the file


def memory(field: str) -> float:
    """MB of this process: VmRSS that it holds, or VmHWM, the most it held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = next(line for line in lines if line.startswith(field + ":"))
    return int(found.split()[1]) * 1024 / 1e6


def forget_peak() -> float:
    """MB held; the peak is counted anew (proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def our_steps(steps: str) -> float:
    """The peak of our training."""
    from train_step import our_step

    from yolojax.bench import at_size
    from yolojax.config import read_config
    from yolojax.distributed.xla_flags import set_up

    set_up()
    config = at_size(read_config(ROOT / "configs/yolov2_voc.py"), (SIZE, SIZE))
    config.model.dtype, config.optimizer.batch_size = "float32", BATCH
    update = our_step(config)
    for _ in range(int(steps)):
        update()
    return memory("VmHWM")


def torch_steps(steps: str) -> float:
    """The peak of PyTorch's."""
    # The table of layers alone: its package brings JAX, which PyTorch's users do not pay for.
    package = types.ModuleType("yolojax.models")
    package.__path__ = [str(ROOT / "yolojax/models")]
    sys.modules["yolojax.models"] = package
    from torch_yolov2 import torch_step

    update = torch_step(BATCH, SIZE)
    for _ in range(int(steps)):
        update()
    assert "jax" not in sys.modules
    return memory("VmHWM")


def make(path: str) -> float:
    """Writes the file and its .cfg: MB of the former."""
    import jax
    import numpy as np

    from yolojax.config import read_config
    from yolojax.darknet.cfg_writer import cfg_text
    from yolojax.darknet.weights import save_weights
    from yolojax.models.network import variable_shapes
    from yolojax.tasks import build

    config, draw = read_config(ROOT / "configs/yolov2_voc.py"), np.random.default_rng(0)
    model = build(config).model
    variables = jax.tree.map(
        lambda leaf: draw.random(leaf.shape, np.float32) * np.float32(0.01),
        dict(variable_shapes(model, (SIZE, SIZE))),
    )
    save_weights(path, model, variables, 0)
    Path(path).with_suffix(".cfg").write_text(cfg_text(config))
    return Path(path).stat().st_size / 1e6


def load_variables(path: str) -> float:
    """Peak above what the process holds before."""
    import jax

    from yolojax.config import read_config
    from yolojax.loading import load_model, on_device

    config = read_config(ROOT / "configs/yolov2_voc.py")
    jax.block_until_ready(jax.numpy.zeros(1))
    before = forget_peak()
    model = load_model(path, config)
    on_device(model.variables)
    return memory("VmHWM") - before


def load_detector(path: str) -> float:
    """The same of `yolojax.load`, which transforms large kernels: they grow by 16 / 9."""
    import jax

    import yolojax
    from yolojax import predict  # noqa: F401 - `load` would import it

    jax.block_until_ready(jax.numpy.zeros(1))
    before = forget_peak()
    yolojax.load(path)
    return memory("VmHWM") - before


def load_opencv(path: str) -> float:
    """The same for OpenCV, which needs the .cfg next to the file."""
    import cv2

    before = forget_peak()
    cv2.dnn.readNetFromDarknet(str(Path(path).with_suffix(".cfg")), path)
    return memory("VmHWM") - before


def child(name: str, argument, cache: Path) -> float:
    """What the function `name` of this file returns in a process of its own."""
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    command = [sys.executable, __file__, name, str(argument)]
    found = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(found.stdout.split()[-1])


PARTS = {  # of the table -> function
    "step, yolojax cold": "our_steps",
    "step, yolojax warm": "our_steps",
    "step, torch channels_last": "torch_steps",
    "load, variables": "load_variables",
    "load, yolojax.load": "load_detector",
    "load, OpenCV": "load_opencv",
}


def peaks(rounds: int, steps: int, folder: Path) -> tuple[dict[str, list[float]], float]:
    """({part: MB of each round}, MB of the file); the parts take turns."""
    weights = folder / "random.weights"
    size = child("make", weights, folder / "cache")
    found = {name: [] for name in PARTS}
    for turn in range(rounds):
        for name, function in PARTS.items():
            argument = weights if name.startswith("load") else steps
            cache = folder / f"cache{turn}"  # empty at the cold step
            found[name].append(child(function, argument, cache))
    return found, size


def line(name: str, found: list[float], against: float) -> str:
    """`name` with its median, least and most, and how many times `against` that is."""
    spread = f"[{min(found):.0f}, {max(found):.0f}]"
    middle = statistics.median(found)
    return f"{name:<28}{middle:>7.0f} MB  {spread:<14}{middle / against:>6.2f}x"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--json", metavar="FILE", help="write the numbers here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found, size = peaks(options.rounds, options.steps, Path(folder))
    command = shlex.join(["python", *sys.argv])
    names = ("jax", "torch", "opencv-python-headless")
    versions = {name: version(name) for name in names} | {"python": platform.python_version()}
    print(command, ", ".join(f"{k} {v}" for k, v in versions.items()), sep="\n")
    print(f"{len(os.sched_getaffinity(0))} cores; file of {size:.1f} MB; median [least, most]")
    torch = statistics.median(found["step, torch channels_last"])
    for name, values in found.items():
        print(line(name, values, torch if name.startswith("step") else size))
    for (name, goal), against in zip(GOALS.items(), (torch, size), strict=True):
        kept = statistics.median(found[name]) <= goal * against
        print(f"goal: {name} at most {goal} times: {'kept' if kept else 'missed'}")
    if options.json:
        text = json.dumps({"command": command, "versions": versions, "file": size, "MB": found})
        Path(options.json).write_text(text + "\n")


if __name__ == "__main__":
    if len(sys.argv) == 3 and not sys.argv[1].startswith("-"):
        print(globals()[sys.argv[1]](sys.argv[2]))
    else:
        main()
