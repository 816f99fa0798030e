"""Time and memory of a WordTree's softmax against a flat softmax of the same width.

    python benchmarks/wordtree_softmax.py [FILE.tree] [--rows 867] [--rounds 15]

Without a file the tree has groups of the sizes of YOLO9000's in random order. Rows are anchor
positions: one image of 544x544 has 867. The programs take turns. The table has medians and, in
multiples of the size of the logits, the temporary memory of the tree's softmax and its largest
array.
"""

import argparse
import os
import re
import statistics
import sys
import time
from pathlib import Path

import jax
import numpy as np

# Size and number of the groups in Darknet's 9k.tree.
SIZES = {
    **{1: 46, 2: 651, 3: 384, 4: 212, 5: 124, 6: 98, 7: 74, 8: 36, 9: 34, 10: 25, 11: 16, 12: 24},
    **{13: 14, 14: 13, 15: 9, 16: 7, 17: 8, 18: 10, 19: 7, 20: 6, 21: 6, 22: 4, 24: 6, 25: 3},
    **{26: 4, 27: 2, 28: 4, 29: 2, 31: 1, 33: 1, 41: 3, 42: 1, 43: 1, 53: 1, 58: 1, 66: 1, 71: 1},
    **{73: 2, 80: 1, 100: 2, 149: 1},
}
BOXES = 30  # of an image, as in region_layer.c
RATIO = 1.3  # the goal


def parents_of(path: str | None) -> list[int]:
    """From a .tree, or of groups of SIZES in a random order."""
    if path:
        return [int(line.split()[1]) for line in Path(path).read_text().splitlines()]
    sizes = np.repeat(list(SIZES), list(SIZES.values()))
    np.random.default_rng(0).shuffle(sizes)
    owners = np.arange(-1, len(sizes) - 1)  # group g hangs below node g - 1, which stands before it
    return np.repeat(owners, sizes).tolist()


def softmaxes(layout, rows: int) -> dict:
    """Name -> (flat program, grouped program, arguments)."""
    from yolojax.losses.terms import cross_entropy
    from yolojax.wordtree.softmax import group_log_softmax, path_log_prob

    key = np.random.default_rng(0)
    count = len(layout.node)
    logits, slope = (key.normal(size=(rows, count)).astype(np.float32) for _ in range(2))
    nodes = key.integers(count, size=rows).astype(np.int32)

    def grouped(x):
        return group_log_softmax(x, layout)

    def flat_loss(x, nodes):
        return cross_entropy(x, nodes, 1.0).mean()

    def tree_loss(x, nodes):
        return -path_log_prob(x, nodes, layout).mean()

    def both(softmax):
        def program(x, slope):
            out, back = jax.vjp(softmax, x)
            return out, back(slope)[0]

        return program

    flat, gradient = jax.nn.log_softmax, jax.value_and_grad
    return {
        "log-softmax": (flat, grouped, (logits,)),
        "log-softmax and its gradient": (both(flat), both(grouped), (logits, slope)),
        "class loss": (flat_loss, tree_loss, (logits, nodes)),
        "class loss and its gradient": (gradient(flat_loss), gradient(tree_loss), (logits, nodes)),
    }


def whole_losses(layout) -> dict:
    """The same for the loss that trains YOLO9000 against YOLOv2's with as many classes."""
    from yolojax.losses.region import region_loss
    from yolojax.ops.anchors import PUBLISHED_PRIORS

    anchors, nodes = PUBLISHED_PRIORS["yolo9000"], len(layout.node)
    key = np.random.default_rng(0)
    raw = key.normal(size=(2, 17, 17, len(anchors) * (5 + nodes))).astype(np.float32)
    corner, size = key.uniform(0, 0.6, (2, BOXES, 2)), key.uniform(0.1, 0.4, (2, BOXES, 2))
    batch = {
        "boxes": np.concatenate([corner, corner + size], axis=-1).astype(np.float32),
        "labels": key.integers(nodes, size=(2, BOXES)).astype(np.int32),
        "mask": np.arange(BOXES) < np.array([[8], [0]]),  # the second image has a label alone
        "label": np.array([-1, nodes // 2], np.int32),
    }

    def program(loss):
        return jax.value_and_grad(lambda raw, batch: loss(raw, batch, 20000)[0])

    flat = program(region_loss(anchors=anchors))
    joint = program(region_loss(anchors=anchors, tree=layout.tree.parent))
    return {"whole loss, 2 images, and gradient": (flat, joint, (raw, batch))}


def prepare(function, arguments):
    """(program, arguments on the device, temporary bytes, bytes of the largest array, compile s)"""
    arguments = jax.device_put(arguments)
    start = time.perf_counter()
    program = jax.jit(function).lower(*arguments).compile()
    seconds = time.perf_counter() - start
    jax.block_until_ready(program(*arguments))
    temporary = program.memory_analysis().temp_size_in_bytes
    shapes = re.findall(r"f32\[([\d,]+)\]", program.as_text().split("ENTRY")[1])
    largest = 4 * max(int(np.prod([int(n) for n in shape.split(",")])) for shape in shapes)
    return program, arguments, temporary, largest, seconds


def interleaved(prepared, rounds: int) -> list[float]:
    """Median milliseconds of each program, run in turns so that other work hits all alike."""
    times = [[] for _ in prepared]
    for _ in range(rounds):
        for (program, arguments, *_), found in zip(prepared, times, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(program(*arguments))
            found.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(found) for found in times]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("tree", nargs="?", help="a .tree file")
    parser.add_argument("--rows", type=int, default=867)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    from yolojax.wordtree.tree import bucket_layout, make_tree

    layout = bucket_layout(make_tree(parents_of(options.tree)))
    print(f"{options.rows} rows of {len(layout.node)} nodes in {len(layout.rank)} groups")
    print(f"goal: {RATIO} x the time of flat, no array larger than 1.2 x the logits")
    print(f"{'':36}{'flat':>9}{'tree':>9}{'ratio':>7}{'temporary':>11}{'largest':>9}{'compile':>9}")
    measured = softmaxes(layout, options.rows) | whole_losses(layout)
    for name, (flat, tree, arguments) in measured.items():
        prepared = [prepare(flat, arguments), prepare(tree, arguments)]
        before, after = interleaved(prepared, options.rounds)
        *_, temporary, largest, seconds = prepared[1]
        size = arguments[0].nbytes
        print(
            f"{name:<36}{before:>6.1f} ms{after:>6.1f} ms{after / before:>7.2f}"
            f"{temporary / size:>11.2f}{largest / size:>9.2f}{seconds:>7.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    main()
