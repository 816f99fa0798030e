"""A training step of YOLOv2 on CPU in float32: yolojax and PyTorch, in turn.

    pip install torch
    python benchmarks/train_step.py --calls=10 --json=step.json

Ours is the program of `train.py --config=configs/yolov2_voc.py`: forward, region loss, backward,
SGD with momentum and weight decay. PyTorch has the same layers in channels_last, the same SGD and a
simpler loss: squared errors of boxes and objectness and a cross-entropy at random positions. Both
losses take less than 1 % of the step. The sides take turns, and each call ends before the next one
starts. PyTorch's threads may spin while they wait, so its "cpu" may be too high.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import jax
from side_by_side import measure, report

from yolojax.bench import at_size, random_batch
from yolojax.config import Config, read_config
from yolojax.distributed.sharding import make_mesh, to_devices
from yolojax.tasks import build
from yolojax.training.compilation import abstract_batch
from yolojax.training.optimizer import make_optimizer
from yolojax.training.state import create_state
from yolojax.training.step import jit_train_step, make_train_step

ROOT = Path(__file__).parents[1]
CLASSES = 20


def our_step(config: Config) -> Callable:
    """One update of the project's own step, waited for."""
    mesh, task = make_mesh(), build(config)
    optimizer = make_optimizer(config.optimizer)
    state = create_state(task, optimizer, config, mesh)
    step = jit_train_step(make_train_step(config, task, optimizer, mesh), mesh)
    like = abstract_batch(config, task.head, config.data.image_size, mesh)
    batch = to_devices(random_batch(like, CLASSES), mesh)

    def update():
        nonlocal state
        state, metrics = jax.block_until_ready(step(state, batch))
        return float(metrics["loss"])

    return update


def main() -> None:
    """Parses the flags, measures and prints."""
    import torch  # here, as memory.py takes our step into a process without it
    from torch_yolov2 import torch_step

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=416)
    parser.add_argument("--calls", type=int, default=10, help="of each side, after two uncounted")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of PyTorch")
    parser.add_argument("--json", help="a file for the numbers")
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    config = at_size(read_config(ROOT / "configs/yolov2_voc.py"), (flags.size, flags.size))
    config.model.dtype, config.optimizer.batch_size = "float32", flags.batch
    begin = time.perf_counter()
    sides = {
        "yolojax": our_step(config),
        "torch channels_last": torch_step(flags.batch, flags.size),
    }
    times = measure(sides, flags.calls)
    about = {
        "what": f"training step, yolov2-voc {flags.size}, float32, batch {flags.batch}",
        "versions": f"jax {jax.__version__}, torch {torch.__version__}, "
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {flags.threads} threads",
        "seconds": round(time.perf_counter() - begin),
    }
    report(about, times, flags.batch, flags.json)


if __name__ == "__main__":
    main()
