"""Cost of the gradient norms of the terms: a training step with them against one without.

    python benchmarks/gradient_norms.py [--config configs/bccd.py] [--rounds 15] [--json FILE]

Pictures are noise and ground-truth boxes random, in the sizes of the config. The two programs take
turns. Numbers are medians; the ratio is the median over the turns.
"""

import argparse
import json
import os
import statistics
import sys
import time

import jax
import numpy as np

LIMIT = 1.01  # the goal: a step with them takes less than this many without
BOXES = 14  # of an image, about as many as bccd has


def random_batch(config, rows: int) -> dict:
    """A training batch of `rows` images, with the shapes that `config` gives it."""
    key, most = np.random.default_rng(0), config.data.max_boxes
    corner, size = key.uniform(0, 0.6, (rows, most, 2)), key.uniform(0.1, 0.4, (rows, most, 2))
    batch = {
        "image": key.integers(0, 256, (rows, *config.data.image_size, 3), np.uint8),
        "boxes": np.concatenate([corner, corner + size], axis=-1).astype(np.float32),
        "labels": key.integers(0, len(config.model.classes), (rows, most)).astype(np.int32),
        "mask": np.arange(most) < np.full((rows, 1), min(BOXES, most)),
        "image_id": np.arange(rows, dtype=np.int32),
    }
    return batch | ({"label": np.full(rows, -1, np.int32)} if config.data.labelled else {})


def compiled_step(config, batch: dict, *, norms: bool):
    """(program, state, batch on the device, seconds to compile) of a step with norms or without."""
    from yolojax.distributed.sharding import make_mesh, to_devices
    from yolojax.tasks import build
    from yolojax.training import step
    from yolojax.training.optimizer import make_optimizer
    from yolojax.training.state import create_state

    mesh, task = make_mesh(jax.devices()[:1]), build(config)
    optimizer = make_optimizer(config.optimizer)
    state, batch = create_state(task, optimizer, config, mesh), to_devices(batch, mesh)
    whole = step.gradient_norms
    try:
        step.gradient_norms = whole if norms else lambda *_: {}
        train_step = step.make_train_step(config, task, optimizer)
        start = time.perf_counter()
        program = step.jit_train_step(train_step, mesh).lower(state, batch).compile()
        return program, state, batch, time.perf_counter() - start
    finally:
        step.gradient_norms = whole


def measure(steps: dict, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each step in turn, `rounds` times, after one that is not counted."""
    states = {name: state for name, (_, state, *_) in steps.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        names = list(steps) if turn % 2 else list(steps)[::-1]
        for name in names:
            program, _, batch, _ = steps[name]
            start = time.perf_counter()
            states[name], _ = jax.block_until_ready(program(states[name], batch))
            if turn:
                times[name].append(1e3 * (time.perf_counter() - start))
    return times


def report(steps: dict, times: dict[str, list[float]]) -> dict:
    """Plain numbers for JSON."""
    pairs = zip(times["with"], times["without"], strict=True)
    return {
        "ratio": statistics.median(a / b for a, b in pairs),
        "rounds": len(times["with"]),
        "steps": {
            name: {
                "milliseconds": statistics.median(times[name]),
                "fastest": min(times[name]),
                "compile_seconds": seconds,
                "temporary_bytes": program.memory_analysis().temp_size_in_bytes,
                "gflops": program.cost_analysis()["flops"] / 1e9,
            }
            for name, (program, _, _, seconds) in steps.items()
        },
    }


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--config", default="configs/bccd.py")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", metavar="FILE", help="write the numbers here")
    options = parser.parse_args()
    from yolojax.config import read_config
    from yolojax.data.from_config import with_tree
    from yolojax.files import write_text

    config = with_tree(read_config(options.config))
    batch = random_batch(config, config.optimizer.batch_size)
    steps = {
        name: compiled_step(config, batch, norms=norms)
        for name, norms in (("with", True), ("without", False))
    }
    found = report(steps, measure(steps, options.rounds))
    print(f"{options.config}: {len(batch['image'])} images of {config.data.image_size}")
    print(f"{'':9}{'median':>11}{'fastest':>11}{'compile':>10}{'temporary':>12}{'operations':>13}")
    for name, row in found["steps"].items():
        print(
            f"{name:<9}{row['milliseconds']:>8.1f} ms{row['fastest']:>8.1f} ms"
            f"{row['compile_seconds']:>8.1f} s{row['temporary_bytes'] / 1e6:>9.1f} MB"
            f"{row['gflops']:>8.3f} GFLOP"
        )
    print(f"median ratio of {found['rounds']} turns: {found['ratio']:.4f} (goal: below {LIMIT})")
    if options.json:
        write_text(options.json, json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    main()
