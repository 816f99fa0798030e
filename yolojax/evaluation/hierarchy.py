"""Numbers for detections whose classes form a tree: classes with and without boxes, part credit."""

from collections.abc import Collection, Iterable, Sequence

import numpy as np

from yolojax.evaluation.evaluator import GroundTruth, ImageDetections
from yolojax.evaluation.matches import overlap
from yolojax.wordtree.tree import make_tree, paths

IOU = 0.5  # from which a detection is of a truth
SURE = 0.25  # score of the detections that are named: what `yolojax predict` shows


def among(
    truths: list[GroundTruth], detections: list[ImageDetections], nodes: Sequence[int]
) -> tuple[list[GroundTruth], list[ImageDetections]]:
    """Both with places in `nodes` instead of nodes as labels; other detections are left out."""

    def relabelled(found: ImageDetections) -> ImageDetections:
        kept = np.isin(found.labels, nodes)
        labels = places(found.labels[kept], nodes)
        return ImageDetections(found.image_id, found.boxes_pixels[kept], found.scores[kept], labels)

    truths = [t._replace(labels=places(t.labels, nodes)) for t in truths]
    return truths, [relabelled(found) for found in detections]


def places(labels: np.ndarray, nodes: Sequence[int]) -> np.ndarray:
    """The place in `nodes` of each of `labels` int [n], all of which are there."""
    order = np.argsort(nodes)
    return order[np.searchsorted(nodes, labels, sorter=order)]


def tree_numbers(
    result: dict,
    truths: list[GroundTruth],
    detections: list[ImageDetections],
    parents: Sequence[int],
    *,
    classes: dict[str, int],
    seen: Sequence[int],
) -> dict:
    """`hierarchical_precision` and, where some nodes are `seen`, the headline split by them twice.

    A class had boxes, strictly, where its own node is one of `seen`; in the other reading, where
    one on the path to it or below it is. Of ImageNet's 200 detection classes on COCO's boxes that
    makes 38 and 57 with the maps of Darknet; the paper (section 4) states 44, which neither gives.

    Args:
        result: of `evaluator.evaluate` on `classes`; a headline that has no column by class, as
            coco_AP75, is replaced by AP50.
        truths: with labels that are nodes.
        detections: named by the descent; where only the classes are told apart, no ancestor is.
        parents: of each node, -1 for a root.
        classes: {name in `result`: node}.
        seen: the nodes that had boxes in training.
    """
    numbers = hierarchical_precision(truths, detections, parents)
    if not seen:
        return numbers
    columns = next(iter(result["per_class"].values()), {})
    metric = result["metric"] if result["metric"] in columns else "coco_AP50"
    readings = {"strict": set(seen), "related": related(classes.values(), seen, parents)}
    return numbers | {
        "metric": metric,
        **{
            reading: split_means(
                result["per_class"], {n for n, node in classes.items() if node in boxed}, metric
            )
            for reading, boxed in readings.items()
        },
    }


def related(nodes: Iterable[int], seen: Sequence[int], parents: Sequence[int]) -> set[int]:
    """Those of `nodes` that are, are above or are below one of `seen`."""
    above = set().union(*(_path(node, parents) for node in seen))
    return {node for node in nodes if node in above or _path(node, parents) & set(seen)}


def format_numbers(numbers: dict) -> str:
    """Some lines for the console."""

    def percent(value):
        return "-" if value is None else f"{100 * value:.2f}"

    lines = [
        "  "
        + ", ".join(
            f"{name.replace('_', ' ')} {percent(numbers[name])}"
            for name in ("hierarchical_precision", "hierarchical_recall")
        )
    ]
    for reading, boxed in (("strict", "it"), ("related", "it or a class above or below it")):
        if reading in numbers:
            split = numbers[reading]
            lines.append(
                f"  {numbers['metric']} {percent(split['seen'])} of {split['seen_classes']} "
                f"classes where {boxed} had boxes in training, {percent(split['unseen'])} of the "
                f"other {split['unseen_classes']}"
            )
    return "\n".join(lines)


def split_means(per_class: dict[str, dict], seen: Collection[str], metric: str) -> dict:
    """Mean `metric` over the classes that had boxes in training, and over the others.

    Args:
        per_class: {class: {metric: AP or None}}; classes without truths have None and do not count.
        seen: the classes that had boxes.
        metric: a column of `per_class`.

    Returns:
        {"seen": mean or None, "seen_classes": how many, "unseen": ..., "unseen_classes": ...}.
    """
    found = {name: row[metric] for name, row in per_class.items() if row[metric] is not None}
    parts = {
        "seen": [v for name, v in found.items() if name in seen],
        "unseen": [v for name, v in found.items() if name not in seen],
    }
    means = {part: float(np.mean(v)) if v else None for part, v in parts.items()}
    return means | {f"{part}_classes": len(v) for part, v in parts.items()}


def hierarchical_precision(
    truths: list[GroundTruth],
    detections: list[ImageDetections],
    parents: Sequence[int],
    *,
    threshold: float = SURE,
) -> dict[str, float | None]:
    """Precision and recall in which a correct ancestor counts partly (Kiritchenko et al., 2006).

    Down the scores, a detection takes the free truth that it overlaps most, of whatever class. Of
    the nodes on the detection's path from the root, the share that is on the truth's path is its
    precision; of the truth's path, the share on the detection's is the recall of the truth. One
    that overlaps no free truth, but a difficult one or a crowd, counts for nothing: neither is
    ever taken (VOCevaldet.m), and a crowd's overlap is over the detection's area (cocoeval).

    Args:
        truths: with labels that are nodes.
        detections: of the same images in the same order; those below `threshold` are left out.
        parents: of each node, -1 for a root.
        threshold: of scores.

    Returns:
        {"hierarchical_precision", "hierarchical_recall"}, None without detections or truths.
    """
    precisions, recalls, count = [], [], 0
    for truth, found in zip(truths, detections, strict=True):
        excused = truth.difficult | truth.crowd
        count += int((~excused).sum())
        for label, match in _matches(truth, found, threshold):
            if match is None:
                precisions.append(0.0)
            elif not excused[match]:
                said, right = _path(label, parents), _path(truth.labels[match], parents)
                shared = len(said & right)
                precisions.append(shared / len(said))
                recalls.append(shared / len(right))
    return {
        "hierarchical_precision": float(np.mean(precisions)) if precisions else None,
        "hierarchical_recall": float(np.sum(recalls) / count) if count else None,
    }


def accuracy_by_depth(
    found: np.ndarray, labels: np.ndarray, parents: Sequence[int]
) -> list[dict[str, float]]:
    """How often the path to the class found is right at depth 0 (the roots), 1, ....

    Args:
        found: int [n], the node said of each picture.
        labels: int [n], its own node.
        parents: of each node, -1 for a root.

    Returns:
        {"top1", "images"} of each depth: the share of the pictures whose label has an ancestor, or
        is a node, so deep down, of which that is also the one of the node found.
    """
    path = paths(make_tree(parents))
    there = path[labels] >= 0
    right = there & (path[labels] == path[found])
    return [
        {"top1": float(hits / images), "images": int(images)}
        for hits, images in zip(right.sum(0), there.sum(0), strict=True)
        if images
    ]


def _matches(truth: GroundTruth, found: ImageDetections, threshold: float):
    """(label, index of its truth, or None) of each detection, the best score first."""
    iou = overlap(found.boxes_pixels, truth.boxes_pixels, truth.crowd)
    excused = truth.difficult | truth.crowd
    free = ~excused
    for i in np.argsort(-found.scores, kind="stable"):
        if found.scores[i] <= threshold:
            return
        reached = iou[i] >= IOU
        choice = reached & free if (reached & free).any() else reached & excused
        best = int(np.where(choice, iou[i], 0).argmax()) if choice.any() else None
        if best is not None:
            free[best] = False
        yield int(found.labels[i]), best


def _path(node: int, parents: Sequence[int]) -> set[int]:
    """The nodes from the root to `node`, both included."""
    nodes = set()
    while node >= 0:
        nodes.add(int(node))
        node = parents[node]
    return nodes
