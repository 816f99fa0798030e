"""Write the table of docs/performance.md from the --json files of the other scripts.

    python benchmarks/summary.py FOLDER

FOLDER contains any of inference_1.json, inference_4.json, train_step.json, loss_share.json,
nms.json, input.json, evaluation.json, start.json and memory.json. Each side has its minimum and
maximum in brackets; ratios are of the medians.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from side_by_side import spread

HEAD = "| work | yolojax | peer | ratio | goal | |\n|---|---|---|---|---|---|"


class Row(NamedTuple):
    """One line of the table."""

    work: str
    ours: str
    theirs: str
    ratio: float
    goal: float | None
    at_most: bool = False  # the goal is an upper limit
    percent: bool = False


def text_of(found: dict, unit: str) -> str:
    """`found` {"median", "min", "max"} as text."""
    low, middle, high = (f"{found[name]:.3g}" for name in ("min", "median", "max"))
    return f"{middle} {unit} [{low}, {high}]"


def against(found: dict, goal: float, peers: tuple[str, ...]) -> Iterator[Row]:
    """Rows of inference.py and train_step.py: of the fastest of `peers`, or of each."""
    ours = next(row for row in found["rows"] if row["side"] == "yolojax")
    for row in found["rows"]:
        if row["side"] in peers:
            text = f"{row['side']} {text_of(row['wall'], 'ms an image')}"
            yield Row(found["what"], text_of(ours["wall"], "ms"), text, row["wall"]["ratio"], goal)


def inference(found: dict) -> Iterator[Row]:
    """The four programs that run the same network."""
    yield from against(found, 1.0, ("ONNX Runtime", "OpenCV DNN", "PyTorch folded"))


def train_step(found: dict) -> Iterator[Row]:
    """PyTorch."""
    yield from against(found, 1.15, ("torch channels_last",))


def loss_share(found: dict) -> Iterator[Row]:
    """Of the step that it is a part of."""
    name, times = "loss + gradient", found["ms"]
    step = f"step of {found['step_batch']}"
    yield Row(
        "region loss and gradient, batch 64, share of a step",
        text_of(times[name], "ms"), f"{step}: {text_of(times[step], 'ms')}",
        100 * found["shares"][name], 2, at_most=True, percent=True,
    )  # fmt: skip


def nms(found: dict) -> Iterator[Row]:
    """OpenCV, and Darknet where it took part."""
    for row in found["rows"]:
        work = f"NMS [{row['batch']}, {row['boxes']}, {row['classes']}], top {row['top_k']}"
        work += ", best 100" if row["max_detections"] else ", of a tree" if row["nodes"] else ""
        ours, theirs = text_of(row["ours_ms"], "ms"), text_of(row["opencv_ms"], "ms")
        if "darknet_ms" in row:
            slower = row["darknet_ms"]["median"] / row["ours_ms"]["median"]
            theirs += f"; Darknet {row['darknet_ms']['median']:.0f} ms ({slower:.0f}x)"
        yield Row(work, ours, f"OpenCV {theirs}", row["ratio"]["median"], 4)


def pipeline(found: dict) -> Iterator[Row]:
    """tf.data and PyTorch, by the clock."""
    ours = next(row for row in found["rows"] if row["side"] == "yolojax")
    for row in found["rows"]:
        if row["side"] in ("tf.data", "torch, Pillow"):
            text = f"{row['side']} {text_of(row['images_per_second'], 'images/s')}"
            text += f", {row['cpu_ms']['median']:.2f} ms of CPU ({row['cpu_ratio']:.2f}x)"
            mine = text_of(ours["images_per_second"], "images/s")
            mine += f", {ours['cpu_ms']['median']:.2f} ms of CPU"
            yield Row(f"input pipeline, {ours['threads']} threads", mine, text, row["ratio"], 2)


def evaluation(found: dict) -> Iterator[Row]:
    """pycocotools, by CPU time."""
    ours, theirs = (spread(found["seconds"][name]["cpu"]) for name in ("ours, COCO", "pycocotools"))
    ratio = theirs["median"] / ours["median"]
    work = "COCO numbers of 500,000 detections, CPU time"
    yield Row(work, text_of(ours, "s"), f"pycocotools {text_of(theirs, 's')}", ratio, 10)


def start(found: dict) -> Iterator[Row]:
    """Seconds, without a peer."""
    for name, goal in (("import yolojax", 1.5), ("first step, warm", 5), ("ten sizes, warm", None)):
        if name not in found:
            continue
        cold = found.get(name.replace("warm", "cold"))
        note = f"cold: {text_of(cold, 's')}" if cold is not found[name] else ""
        yield Row(name, text_of(found[name], "s"), note, found[name]["median"], goal, at_most=True)


def memory(found: dict) -> Iterator[Row]:
    """PyTorch's step, and the size of the file."""
    peaks = {name: spread(values) for name, values in found["MB"].items()}
    torch, ours = peaks["step, torch channels_last"], peaks["step, yolojax warm"]
    yield Row(
        "peak memory of a training step, batch 4", text_of(ours, "MB"),
        f"PyTorch {text_of(torch, 'MB')}", ours["median"] / torch["median"], 1.1, at_most=True,
    )  # fmt: skip
    ours = peaks["load, variables"]
    ratio = ours["median"] / found["file"]
    text = f"the file: {found['file']:.0f} MB"
    yield Row(
        "peak memory of loading .weights", text_of(ours, "MB"), text, ratio, 1.3, at_most=True
    )


READERS = {
    "inference_1": inference,
    "inference_4": inference,
    "train_step": train_step,
    "loss_share": loss_share,
    "nms": nms,
    "input": pipeline,
    "evaluation": evaluation,
    "start": start,
    "memory": memory,
}


def line(row: Row) -> str:
    """`row` in Markdown."""
    unit = "%" if row.percent else ""
    verdict, goal = "", ""
    if row.goal is not None:
        kept = row.ratio <= row.goal if row.at_most else row.ratio >= row.goal
        verdict = "kept" if kept else "**missed**"
        goal = f"{'≤' if row.at_most else '≥'} {row.goal:g}{unit}"
    cells = row.work, row.ours, row.theirs, f"{row.ratio:.2f}{unit}", goal, verdict
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Prints the table of the folder that is named."""
    folder = Path(sys.argv[1])
    print(HEAD)
    for name, read in READERS.items():
        file = folder / f"{name}.json"
        if file.exists():
            print(*map(line, read(json.loads(file.read_text()))), sep="\n")


if __name__ == "__main__":
    main()
