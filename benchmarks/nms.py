"""Our jitted NMS against OpenCV's NMSBoxesBatched and Darknet on the same boxes and scores.

    apt install darknet
    JAX_PLATFORMS=cpu python benchmarks/nms.py [--rounds 31] [--only TEXT] [--json FILE]

Both start with boxes and the scores of every class and end with sorted detections, so both times
include the score threshold and the top-k. OpenCV's top-k is NumPy's `argpartition`, and it gets
only those boxes. Both must return the same boxes before anything is timed. The two take turns;
times are medians with minimum and maximum.

Darknet's do_nms_sort takes part if its library is installed and boxes have scores of all classes.
It has no top-k: it visits every score above the threshold and returns more boxes.
"""

import argparse
import json
import os
import platform
import sys
import time
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from darknet_nms import LIBRARY, darknet_nms
from side_by_side import spread

GOAL = 4.0  # times as fast as OpenCV
IOU, SCORE = 0.45, 0.005  # thresholds of both
NODES = 9418  # of YOLO9000's tree
OBJECTS = 12  # of an image


class Case(NamedTuple):
    """One line of the table."""

    name: str
    batch: int
    boxes: int
    classes: int  # scores of a box
    top_k: int
    nodes: int = 0  # a box has one score, of one of so many classes, as in the head of a tree
    max_detections: int = 0  # 0: all that are kept


CASES = (
    *(Case("voc 13x13x5", b, 845, 20, k) for b, k in ((32, 200), (32, 1000), (1, 200), (8, 200))),
    *(Case("coco 17x17x5", 8, 1445, 80, k) for k in (300, 1000)),
    *(Case("coco 17x17x5", b, 1445, 80, 300) for b in (1, 32)),
    Case("voc, best 100", 32, 845, 20, 1000, max_detections=100),
    *(Case("tree 17x17x3", b, 867, 1, 300, NODES) for b in (1, 8, 32)),
)


def random_case(case: Case):
    """Boxes [B, N, 4] in 0..1, scores [B, N, C] and labels int32 [B, N, C] or None.

    As from a detector: half of the boxes are around objects and have high scores.
    """
    key = np.random.default_rng(0)
    b, n, c = case.batch, case.boxes, case.classes
    owner = key.integers(OBJECTS, size=(b, n, 1))
    near = key.random((b, n, 1)) < 0.5

    def about(objects, others, noise):
        found = np.where(near, np.take_along_axis(objects, owner, axis=1), others)
        return found + key.normal(0, noise, found.shape)

    objects, others = (key.uniform(0.1, 0.9, (b, k, 2)) for k in (OBJECTS, n))
    centre = about(objects, others, 0.02)
    objects, others = (key.uniform(-3, -1, (b, k, 2)) for k in (OBJECTS, n))
    size = np.exp(about(objects, others, 0.2))
    boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=-1).astype(np.float32)
    objectness = np.where(near, key.random((b, n, 1)), 0.2 * key.random((b, n, 1)))
    kinds = np.take_along_axis(key.integers(case.nodes or c, size=(b, OBJECTS, 1)), owner, axis=1)
    logits = key.normal(size=(b, n, c)) + 3 * (np.arange(c) == kinds)
    probs = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    scores = (probs * objectness).astype(np.float32)
    return boxes, scores, kinds.astype(np.int32) if case.nodes else None


def ours(case: Case, boxes, scores, labels):
    """() -> Detections, on arrays that are on the device."""
    from yolojax.ops.nms import nms

    most = case.max_detections or case.top_k
    function = partial(nms, top_k=case.top_k, max_detections=most)
    arrays = jax.device_put((boxes, scores, labels))

    def run():
        boxes, scores, labels = arrays
        found = function(boxes, scores, iou_threshold=IOU, score_threshold=SCORE, labels=labels)
        return jax.block_until_ready(found)

    return run


def opencv(case: Case, boxes, scores, labels):
    """() -> for each image (boxes [n, 4], scores [n], labels [n]), best first."""
    from cv2.dnn import NMSBoxesBatched

    classes = case.classes

    def one(boxes, scores, labels):
        flat = scores.ravel()
        index = np.flatnonzero(flat > SCORE)
        if len(index) > case.top_k:
            index = index[np.argpartition(-flat[index], case.top_k)[: case.top_k]]
        rows, best = boxes[index // classes], flat[index]
        kinds = index % classes if labels is None else labels.ravel()[index]
        corners = np.concatenate([rows[:, :2], rows[:, 2:] - rows[:, :2]], axis=1)
        kept = NMSBoxesBatched(corners, best, kinds, SCORE, IOU, top_k=case.top_k)
        kept = kept[: case.max_detections or None]
        return rows[kept], best[kept], kinds[kept]

    def run():
        each = [None] * len(boxes) if labels is None else labels
        return [one(*image) for image in zip(boxes, scores, each, strict=True)]

    return run


def kept_by_both(found, theirs) -> int:
    """Checks that both kept the same boxes; how many an image.

    Raises:
        AssertionError: they did not.
    """
    for image, (boxes, scores, labels) in enumerate(theirs):
        count = int(found.count[image])
        assert count == len(boxes), f"image {image}: {count} boxes, OpenCV keeps {len(boxes)}"
        np.testing.assert_array_equal(found.boxes[image, :count], boxes)
        np.testing.assert_array_equal(found.scores[image, :count], scores)
        np.testing.assert_array_equal(found.labels[image, :count], labels)
    return round(float(found.count.mean()))


def measure(case: Case, rounds: int) -> dict:
    """Plain numbers: milliseconds of both, and how many times as fast ours is."""
    arrays = random_case(case)
    runs = {"ours": ours(case, *arrays), "opencv": opencv(case, *arrays)}
    kept = kept_by_both(runs["ours"](), runs["opencv"]())
    prepare = {}
    if LIBRARY.exists() and not case.nodes:
        prepare["darknet"], runs["darknet"] = darknet_nms(*arrays[:2], SCORE, IOU)
    times = {name: [] for name in runs}
    for turn in range(rounds + 2):
        for name in list(runs)[:: 1 if turn % 2 else -1]:
            prepare.get(name, bool)()
            start = time.perf_counter()
            runs[name]()
            if turn > 1:
                times[name].append(1e3 * (time.perf_counter() - start))
    ratios = [b / a for a, b in zip(times["ours"], times["opencv"], strict=True)]
    return {
        **case._asdict(),
        "kept": kept,
        **{f"{name}_ms": spread(found) for name, found in times.items()},
        "ratio": spread(ratios),
    }


def line(row: dict) -> str:
    """`row` of the table."""
    scores = f"[{row['batch']}, {row['boxes']}, {row['classes']}]"
    text = f"{row['name']:<14}{scores:<15}{row['top_k']:>6}{row['kept']:>6}"
    for name in ("ours_ms", "opencv_ms"):
        low, high = (f"{row[name][end]:.2f}" for end in ("min", "max"))
        text += f"{row[name]['median']:>9.2f}  {f'[{low}, {high}]':<17}"
    ratio = row["ratio"]["median"]
    text += f"{row['ours_ms']['median'] / row['batch']:>7.3f}"
    text += f"{ratio:>7.1f}x {'kept' if ratio >= GOAL else 'missed'}"
    if "darknet_ms" in row:
        found = row["darknet_ms"]
        low, high = found["min"], found["max"]
        text += f"{found['median']:>11.2f}  [{low:.2f}, {high:.2f}]"
        text += f"{found['median'] / row['ours_ms']['median']:>7.1f}x"
    return text


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--only", default="", metavar="TEXT", help="cases with it in their names")
    parser.add_argument("--json", metavar="FILE", help="write the numbers here")
    options = parser.parse_args()
    import cv2

    from yolojax.files import write_text

    versions = {"jax": jax.__version__, "opencv": cv2.__version__, "numpy": np.__version__}
    versions |= {"python": platform.python_version(), "device": jax.devices()[0].device_kind}
    print("python benchmarks/nms.py", *sys.argv[1:])
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    print(
        f"{len(os.sched_getaffinity(0))} cores, {options.rounds} rounds, IoU {IOU}, score {SCORE}"
    )
    print(f"goal: {GOAL:g} times as fast; ms of a batch: median [min, max]")
    print(
        f"{'':<14}{'scores':<15}{'top_k':>6}{'kept':>6}{'ours':>9}{'':<19}{'OpenCV':>9}{'':<19}"
        f"{'an image':>7}{'':>3}ratio{'':>15}Darknet"
    )
    rows = []
    for case in (case for case in CASES if options.only in case.name):
        rows.append(measure(case, options.rounds))
        print(line(rows[-1]), flush=True)
    if options.json:
        write_text(options.json, json.dumps({"versions": versions, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    main()
