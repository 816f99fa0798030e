"""COCO metrics against pycocotools on the same random detections, and the time of `evaluate`.

    pip install pycocotools
    python benchmarks/evaluation.py [--images 5000] [--rounds 3] [--json FILE]

The ground truth resembles COCO's validation set: 7.2 boxes per image, 80 classes of uneven
frequency, 40 % below 32 x 32 pixels, 1 % crowds. About a third of the 100 detections per image are
close to a ground-truth box. All twelve metrics must agree before anything is timed. Sides take
turns. Seconds are medians with minimum and maximum, of wall time ("wall") and of this process
("cpu", less affected by other work); the goal refers to "cpu".
"""

import argparse
import contextlib
import io
import json
import os
import platform
import shlex
import statistics
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from side_by_side import measure

from yolojax.evaluation.coco import coco_numbers
from yolojax.evaluation.evaluator import GroundTruth, ImageDetections, evaluate

GOAL = 10.0  # times as fast as pycocotools
CLASSES, DETECTIONS, PICTURE = 80, 100, 640
BOXES = 7.2  # an image
SHARES = 1 / np.arange(3, 3 + CLASSES)  # of the classes, the most frequent has a tenth
SHARES /= SHARES.sum()


def random_case(images: int) -> tuple[list[GroundTruth], list[ImageDetections]]:
    """Ground truth and detections of `images` images."""
    draw = np.random.default_rng(0)
    ground_truth = [_truth(draw, str(i)) for i in range(images)]
    return ground_truth, [_detections(draw, truth) for truth in ground_truth]


def _truth(draw, image_id: str) -> GroundTruth:
    count = draw.poisson(BOXES)
    sides = np.exp(draw.normal(3.8, 1.1, (count, 1)) + draw.normal(0, 0.3, (count, 2)))
    boxes = _inside(draw.uniform(0, PICTURE, (count, 2)), sides)
    mixture = draw.choice(CLASSES, size=4, p=SHARES)  # few kinds of things in one picture
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) * draw.uniform(0.4, 1, count)
    labels, crowd = draw.choice(mixture, count), draw.random(count) < 0.01
    difficult = np.zeros(count, bool)
    return GroundTruth(image_id, PICTURE, PICTURE, boxes, labels, difficult, crowd, area)


def _detections(draw, truth: GroundTruth) -> ImageDetections:
    near = np.repeat(np.arange(len(truth.labels)), draw.poisson(5, len(truth.labels)))[:DETECTIONS]
    corners = truth.boxes_pixels[near]
    sides = corners[:, 2:] - corners[:, :2]
    centre = (corners[:, :2] + corners[:, 2:]) / 2 + draw.normal(0, 0.08, sides.shape) * sides
    noise = DETECTIONS - len(near)
    centre = np.concatenate([centre, draw.uniform(0, PICTURE, (noise, 2))])
    around = np.exp(draw.normal(3.8, 1.1, (noise, 2)))
    sides = np.concatenate([sides * np.exp(draw.normal(0, 0.12, sides.shape)), around])
    labels = np.concatenate([truth.labels[near], draw.choice(CLASSES, noise, p=SHARES)])
    scores = np.concatenate([draw.beta(2, 2, len(near)), draw.beta(1, 6, noise)])
    scores = scores.astype(np.float32).astype(float)
    return ImageDetections(truth.image_id, _inside(centre, sides), scores, labels)


def _inside(centre, sides):
    return np.concatenate([centre - sides / 2, centre + sides / 2], axis=1).clip(0, PICTURE)


def tables(ground_truth, detections) -> tuple[COCO, COCO]:
    """What pycocotools evaluates, from our arrays."""
    truth = COCO()
    truth.dataset = {
        "images": [{"id": i} for i in range(len(ground_truth))],
        "categories": [{"id": c} for c in range(CLASSES)],
        "annotations": [],
    }
    for i, t in enumerate(ground_truth):
        columns = _corner_and_sides(t.boxes_pixels).tolist(), t.labels.tolist(), t.area.tolist()
        for box, label, area, crowd in zip(*columns, t.crowd.tolist(), strict=True):
            row = {"id": len(truth.dataset["annotations"]) + 1, "image_id": i, "bbox": box}
            row |= {"category_id": label, "area": area, "iscrowd": int(crowd)}
            truth.dataset["annotations"].append(row)
    truth.createIndex()
    images = np.repeat(np.arange(len(detections)), [len(d.labels) for d in detections])
    boxes = _corner_and_sides(np.concatenate([d.boxes_pixels for d in detections]))
    scores, labels = (
        np.concatenate([getattr(d, name) for d in detections]) for name in ("scores", "labels")
    )
    return truth, truth.loadRes(np.column_stack([images, boxes, scores, labels]))


def _corner_and_sides(boxes):
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def theirs(made: tuple[COCO, COCO]) -> np.ndarray:
    """The twelve numbers of `tables`: evaluate, accumulate, summarize."""
    run = COCOeval(*made, "bbox")
    run.evaluate()
    run.accumulate()
    run.summarize()
    return run.stats


def silent(call: Callable) -> Callable:
    def run():
        with contextlib.redirect_stdout(io.StringIO()):
            return call()

    return run


def sides(ground_truth, detections) -> dict[str, Callable]:
    """Ours first; the last three are parts of our evaluation, for which there is no other side."""
    made = silent(partial(tables, ground_truth, detections))()
    names = [str(c) for c in range(CLASSES)]
    whole = partial(evaluate, ground_truth, detections, names)
    return {
        "ours, COCO": partial(coco_numbers, ground_truth, detections, CLASSES),
        "pycocotools": silent(lambda: theirs(tables(ground_truth, detections))),
        "  without tables": silent(partial(theirs, made)),
        "evaluate, no interval": partial(whole, bootstrap=0),
        "evaluate, voc10": whole,
        "evaluate, coco_AP": partial(whole, metric="coco_AP"),
    }


def line(name: str, seconds: list[float], ratio: float) -> str:
    """`name` with its median, fastest and slowest, and how many times as long as ours it takes."""
    spread = f"[{min(seconds):.2f}, {max(seconds):.2f}]"
    return f"{name:<30}{statistics.median(seconds):>8.2f} s  {spread:<18}{ratio:>6.1f}x"


def main() -> None:
    """Checks that both agree, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", metavar="FILE", help="write the numbers here")
    options = parser.parse_args()
    ground_truth, detections = random_case(options.images)
    programs = sides(ground_truth, detections)
    ours, stats = programs["ours, COCO"]()[0], programs["  without tables"]()
    np.testing.assert_allclose(np.nan_to_num(list(ours.values()), nan=-1), stats, atol=1e-12)
    versions = {"numpy": np.__version__, "pycocotools": version("pycocotools")}
    versions["python"] = platform.python_version()
    command = shlex.join(["python", *sys.argv])
    print(command, ", ".join(f"{k} {v}" for k, v in versions.items()), sep="\n")
    count = sum(len(t.labels) for t in ground_truth)
    print(
        f"{len(ground_truth)} images, {count} objects, "
        f"{sum(len(d.labels) for d in detections)} detections"
    )
    times = measure(programs, options.rounds, warm_up=0)  # the check was one
    for clock in ("wall", "cpu"):
        first = statistics.median(times["ours, COCO"][clock])
        for name, found in times.items():
            ratio = statistics.median(found[clock]) / first
            print(line(f"{name}, {clock}", found[clock], ratio))
    ratio = statistics.median(times["pycocotools"]["cpu"]) / first
    print(f"goal: {GOAL:g} times as fast as pycocotools: {'kept' if ratio >= GOAL else 'missed'}")
    if options.json:
        text = json.dumps({"command": command, "versions": versions, "seconds": times}, indent=1)
        Path(options.json).write_text(text + "\n")


if __name__ == "__main__":
    main()
