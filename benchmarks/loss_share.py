"""The region loss and its gradient as a share of YOLOv2's training step.

    JAX_PLATFORMS=cpu python benchmarks/loss_share.py [--step-batch 4] [--rounds 7] [--json FILE]

The loss is that of 64 images of 416x416 (13x13 cells, 5 anchors, 20 classes, up to 30 ground-truth
boxes). A step of 64 takes minutes on a CPU, so it is measured at --step-batch and scaled by the
number of images. "with metrics" adds the gradient norms of the terms, which a step logs. The
programs take turns; times are medians with minimum and maximum.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time

import jax
import numpy as np
from side_by_side import spread

GOAL = 0.02  # of the step
BATCH = 64  # images of the loss
BOXES = 30  # places, of which half are taken


def random_batch(rows: int, size: tuple[int, int]) -> dict:
    """A training batch of noise."""
    key = np.random.default_rng(0)
    corner = key.uniform(0, 0.6, (rows, BOXES, 2))
    box = np.concatenate([corner, corner + key.uniform(0.1, 0.4, corner.shape)], axis=-1)
    return {
        "image": key.integers(0, 256, (rows, *size, 3), np.uint8),
        "boxes": box.astype(np.float32),
        "labels": key.integers(0, 20, (rows, BOXES)).astype(np.int32),
        "mask": np.tile(np.arange(BOXES) < BOXES // 2, (rows, 1)),
        "image_id": np.arange(rows, dtype=np.int32),
    }


def loss_calls(task) -> dict:
    """Name -> a call of the compiled loss of BATCH images, without and with what the step logs."""
    from yolojax.training.step import gradient_norms

    key = np.random.default_rng(1)
    raw = key.normal(size=(BATCH, 13, 13, 5 * 25)).astype(np.float32)
    batch = random_batch(BATCH, (1, 1))
    batch.pop("image")

    def plain(raw, batch, seen):
        return task.loss(raw, batch, seen)

    def logged(raw, batch, seen):
        loss, metrics = task.loss(raw, batch, seen)
        return loss, metrics | gradient_norms(task.loss, raw, batch, seen)

    arguments = jax.device_put((raw, batch, np.int32(100_000)))
    calls = {}
    for name, function in (("loss + gradient", plain), ("with metrics", logged)):
        gradient = jax.value_and_grad(function, has_aux=True)
        program = jax.jit(gradient).lower(*arguments).compile()
        calls[name] = lambda program=program: program(*arguments)
    return calls


def step_call(config, task):
    """A call of the compiled training step, which continues from its last state."""
    from yolojax.distributed.sharding import make_mesh, shardings_of, to_devices
    from yolojax.training.optimizer import make_optimizer
    from yolojax.training.state import create_state
    from yolojax.training.step import jit_train_step, make_train_step

    mesh, optimizer = make_mesh(jax.devices()[:1]), make_optimizer(config.optimizer)
    state = create_state(task, optimizer, config, mesh)
    batch = to_devices(random_batch(config.optimizer.batch_size, config.data.image_size), mesh)
    step = jit_train_step(make_train_step(config, task, optimizer, mesh), mesh, shardings_of(state))
    program = step.lower(state, batch).compile()

    def call():
        nonlocal state
        state, numbers = program(state, batch)
        return numbers

    return call


def in_turns(calls: dict, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each call, `rounds` times in turn, after one that is not counted."""
    times = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            if turn:
                times[name].append(1e3 * (time.perf_counter() - start))
    return times


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--step-batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", metavar="FILE", help="write the numbers here")
    options = parser.parse_args()
    from yolojax.config import read_config
    from yolojax.files import write_text
    from yolojax.tasks import build

    config = read_config("configs/yolov2_voc.py")
    config.data.image_size, config.data.multiscale = (416, 416), ()
    config.optimizer.batch_size, config.optimizer.subdivisions = options.step_batch, 1
    task = build(config)
    step = f"step of {options.step_batch}"
    times = in_turns(loss_calls(task) | {step: step_call(config, task)}, options.rounds)
    found = {name: spread(t) for name, t in times.items()}
    scale = BATCH / options.step_batch
    shares = {
        name: statistics.median(a / (b * scale) for a, b in zip(t, times[step], strict=True))
        for name, t in times.items()
        if name != step
    }
    print("python benchmarks/loss_share.py", *sys.argv[1:])
    print(f"jax {jax.__version__}, python {platform.python_version()}, {jax.devices()[0]}")
    print(f"yolov2_voc 416x416, loss of {BATCH} images, {len(times[step])} rounds")
    for name, row in found.items():
        share = f"{shares[name]:>8.2%} of {scale:g} times the step" if name in shares else ""
        print(
            f"{name:<18}{row['median']:>9.1f} ms  [{row['min']:.1f}, {row['max']:.1f}]{share}",
            flush=True,
        )
    print(f"goal: at most {GOAL:.0%}: {'kept' if shares['loss + gradient'] <= GOAL else 'missed'}")
    if options.json:
        report = {"ms": found, "shares": shares, "step_batch": options.step_batch}
        write_text(options.json, json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    main()
