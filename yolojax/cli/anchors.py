"""Cluster the box shapes of a data set into anchors, and compare them with the published priors.

Shapes are measured in grid cells (32 pixels) after the letterbox to --image-size: a picture of
w x h pixels is scaled by min(W / w, H / h). The table shows the mean IoU of a box with its nearest
anchor, and the percentage of boxes with an IoU above 0.5.

examples:
  yolojax anchors voc:VOCdevkit/VOC2007:trainval -k 5
  yolojax anchors shapes:train --image-size 320 320 --update median --plot anchors.png
  yolojax anchors coco:annotations/train.json:train2017 --dir coco --json
"""

import argparse
from typing import NamedTuple

import numpy as np

from yolojax.json_files import to_json
from yolojax.text_table import text_table

MAX_K = 10  # anchors in the table
MIN_GAIN = 0.02  # of mean IoU; below it the published priors are recommended


class Fit(NamedTuple):
    """The IoUs of the boxes of a data set with their nearest anchors."""

    anchors: np.ndarray  # [k, 2]
    mean_iou: float
    above_half: float  # share of the boxes whose nearest anchor has an IoU > 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `yolojax anchors`."""
    from yolojax.cli.flags import add_selection

    add = parser.add_argument
    add("source", help="the data set, as in config.data.train")
    add("-k", type=int, default=5, help="number of anchors (default: %(default)s)")
    add("--image-size", type=int, nargs=2, default=(416, 416), metavar=("H", "W"))
    add("--update", choices=("mean", "median"), default="mean", help="centre of a cluster")
    add(
        "--restarts",
        type=int,
        default=10,
        help="runs of k-means, of which the best counts (default: %(default)s)",
    )
    add("--seed", type=int, default=0)
    add("--dir", default="", help="folder that relative paths in SOURCE start from")
    add_selection(parser)
    add("--plot", metavar="FILE", help="plot of the shapes, the anchors and the mean IoU by k")
    add("--json", action="store_true", help="print JSON instead of text")


def run(args) -> int:
    """Cluster, compare with the published priors and print."""
    from yolojax.cli.flags import selection_of
    from yolojax.data.inspect.box_shapes import grid_shapes
    from yolojax.data.sources.load import load_source
    from yolojax.ops.anchors import PUBLISHED_PRIORS, count_shapes, kmeans

    if args.k < 1:
        raise argparse.ArgumentError(None, f"-k must be 1 or more; got {args.k}.")
    source = load_source(args.source, dir=args.dir, **selection_of(args))
    shapes = grid_shapes(source, tuple(args.image_size))
    limit = min(max(MAX_K, args.k), count_shapes(shapes))
    options = {"update": args.update, "restarts": args.restarts, "seed": args.seed}
    own = {k: fit(shapes, kmeans(shapes, k, **options)) for k in {*range(1, limit + 1), args.k}}
    named = reversed(PUBLISHED_PRIORS.items())  # of two with the same priors, the first stays
    distinct = {priors: name for name, priors in named}
    published = {name: fit(shapes, priors) for priors, name in distinct.items()}
    best = best_published(published, args.k)
    if args.plot:
        _plot(args.plot, shapes, own, args.k, best)
    report = _as_json if args.json else _as_text
    print(report(args, (len(source), len(shapes)), own, published, verdict(own[args.k], best)))
    return 0


def fit(shapes, anchors) -> Fit:
    """Measure how well `anchors` [k, 2] fit `shapes` [n, 2]."""
    from yolojax.ops.anchors import best_ious

    ious = best_ious(shapes, anchors)
    return Fit(np.asarray(anchors), float(ious.mean()), float((ious > 0.5).mean()))


def best_published(published: dict[str, Fit], k: int) -> tuple[str, Fit]:
    """Choose the best published priors with `k` anchors, or of all if none has `k`."""
    same = {name: one for name, one in published.items() if len(one.anchors) == k}
    return max((same or published).items(), key=lambda item: item[1].mean_iou)


def verdict(own: Fit, best: tuple[str, Fit]) -> str:
    """Recommend the own anchors or the published priors."""
    name, other = best
    gain = 100 * (own.mean_iou - other.mean_iou)
    than = f"{gain:+.1f} points of mean IoU against {name} ({len(other.anchors)} anchors)"
    if gain < 100 * MIN_GAIN:
        return f"{than}: too little gain; use the published priors."
    return f"{than}: use your own anchors. The last layer must be trained with them."


def config_line(anchors) -> str:
    """Format `anchors` as a line for a config file."""
    pairs = ", ".join(f"({w:.4g}, {h:.4g})" for w, h in anchors)
    return f"config.model.anchors = ({pairs},)"


def _as_text(args, counts, own, published, words) -> str:
    from yolojax.data.inspect.box_shapes import CELL

    height, width = args.image_size
    lines = [
        f"{args.source}: {counts[1]} boxes in {counts[0]} pictures, letterboxed to "
        f"{height} x {width} (h x w); anchors in cells of {CELL} pixels",
        "",
        text_table(
            ["k", "mean IoU", "IoU > .5", ""],
            (_row(str(k), own[k], "<" if k == args.k else "") for k in sorted(own)),
            ">",
        ),
        "",
        text_table(
            ["published priors on these boxes", "mean IoU", "IoU > .5"],
            (_row(name, one) for name, one in published.items()),
        ),
        "",
        words,
        config_line(own[args.k].anchors),
    ]
    return "\n".join(lines)


def _row(name: str, one: Fit, *mark: str) -> list[str]:
    return [name, f"{100 * one.mean_iou:.1f}", f"{100 * one.above_half:.1f}", *mark]


def _as_json(args, counts, own, published, words) -> str:
    report = {
        "source": args.source,
        "image_size": list(args.image_size),
        "pictures": counts[0],
        "boxes": counts[1],
        "anchors": own[args.k].anchors.round(4).tolist(),
        "by_k": {k: _numbers(own[k]) for k in sorted(own)},
        "published": {name: _numbers(one) for name, one in published.items()},
        "verdict": words,
    }
    return to_json(report, indent=2)


def _numbers(one: Fit) -> dict[str, float]:
    return {"mean_iou": round(one.mean_iou, 4), "above_half": round(one.above_half, 4)}


def _plot(path, shapes, own, k, best) -> None:
    from yolojax.visual.report import plot_anchors

    gains = {number: own[number].mean_iou for number in sorted(own)}
    plot_anchors(shapes, own[k].anchors, gains, path, published=best[0])
