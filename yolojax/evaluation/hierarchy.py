"""Metrics for classes that form a tree: partial credit, and classes with and without boxes."""

from collections.abc import Collection, Iterable, Sequence

import numpy as np

from yolojax.evaluation.evaluator import GroundTruth, ImageDetections
from yolojax.evaluation.matches import overlap
from yolojax.wordtree.tree import make_tree, paths

IOU = 0.5  # threshold of a match
CONFIDENT = 0.25  # score threshold of the detections, the default of `yolojax predict`


def select_nodes(
    ground_truth: list[GroundTruth], detections: list[ImageDetections], nodes: Sequence[int]
) -> tuple[list[GroundTruth], list[ImageDetections]]:
    """Replace node labels by indices into `nodes`; drop detections of other nodes."""

    def relabel(one: ImageDetections) -> ImageDetections:
        keep = np.isin(one.labels, nodes)
        labels = indices_in(nodes, one.labels[keep])
        return ImageDetections(one.image_id, one.boxes_pixels[keep], one.scores[keep], labels)

    ground_truth = [one._replace(labels=indices_in(nodes, one.labels)) for one in ground_truth]
    return ground_truth, [relabel(one) for one in detections]


def indices_in(nodes: Sequence[int], labels: np.ndarray) -> np.ndarray:
    """Return the index in `nodes` of each of `labels` int [n], all of which are in `nodes`."""
    order = np.argsort(nodes)
    return order[np.searchsorted(nodes, labels, sorter=order)]


def tree_numbers(
    result: dict,
    ground_truth: list[GroundTruth],
    detections: list[ImageDetections],
    parents: Sequence[int],
    *,
    classes: dict[str, int],
    seen: Sequence[int],
) -> dict:
    """Compute `hierarchical_precision` and the headline of classes with and without boxes.

    The split needs `seen` and has two readings of "had boxes in training". strict: the node of the
    class is in `seen`. related: so is the node, an ancestor or a descendant. Of ImageNet's 200
    detection classes on COCO's boxes these are 38 and 57 with Darknet's maps; the paper (section 4)
    states 44.

    Args:
        result: from `evaluator.evaluate` on `classes`. A headline without values per class
            (coco_AP75) is replaced by AP50.
        ground_truth: with nodes as labels.
        detections: with nodes as labels, as the descent of the tree chooses them.
        parents: of each node, -1 for a root.
        classes: {name in `result`: node}.
        seen: the nodes that had boxes in training.
    """
    numbers = hierarchical_precision(ground_truth, detections, parents)
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
    """Return those of `nodes` that are in `seen`, or an ancestor or descendant of one that is."""
    above = set().union(*(_path(node, parents) for node in seen))
    return {node for node in nodes if node in above or _path(node, parents) & set(seen)}


def format_numbers(numbers: dict) -> str:
    """Format the result of `tree_numbers` for the console."""

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
    """Compute the mean `metric` of the classes that had boxes in training, and of the others.

    Args:
        per_class: {class: {metric: AP, or None without ground-truth boxes}}; None is left out.
        seen: the classes that had boxes.
        metric: a column of `per_class`.

    Returns:
        {"seen": mean or None, "seen_classes": number, "unseen": ..., "unseen_classes": ...}.
    """
    values = {name: row[metric] for name, row in per_class.items() if row[metric] is not None}
    parts = {
        "seen": [v for name, v in values.items() if name in seen],
        "unseen": [v for name, v in values.items() if name not in seen],
    }
    means = {part: float(np.mean(v)) if v else None for part, v in parts.items()}
    return means | {f"{part}_classes": len(v) for part, v in parts.items()}


def hierarchical_precision(
    ground_truth: list[GroundTruth],
    detections: list[ImageDetections],
    parents: Sequence[int],
    *,
    threshold: float = CONFIDENT,
) -> dict[str, float | None]:
    """Compute precision and recall with partial credit for ancestors (Kiritchenko et al., 2006).

    In descending score, each detection is matched to the unmatched box with the largest IoU, of any
    class. The precision of a detection is the share of the nodes on its path from the root that are
    on the path of the box. The recall of a box is the share of its path that is on the path of the
    detection. A detection that overlaps only a difficult box or a crowd is ignored; these are never
    used up (VOCevaldet.m), and the overlap with a crowd is over the detection's area (cocoeval).

    Args:
        ground_truth: with nodes as labels.
        detections: of the same images in the same order; those up to `threshold` are left out.
        parents: of each node, -1 for a root.
        threshold: of the scores.

    Returns:
        {"hierarchical_precision", "hierarchical_recall"}; None without detections or boxes.
    """
    precisions, recalls, count = [], [], 0
    for boxes, detected in zip(ground_truth, detections, strict=True):
        ignore = boxes.ignore
        count += int((~ignore).sum())
        for label, match in _matches(boxes, detected, threshold):
            if match is None:
                precisions.append(0.0)
            elif not ignore[match]:
                predicted, target = _path(label, parents), _path(boxes.labels[match], parents)
                shared = len(predicted & target)
                precisions.append(shared / len(predicted))
                recalls.append(shared / len(target))
    return {
        "hierarchical_precision": float(np.mean(precisions)) if precisions else None,
        "hierarchical_recall": float(np.sum(recalls) / count) if count else None,
    }


def accuracy_by_depth(
    predicted: np.ndarray, labels: np.ndarray, parents: Sequence[int]
) -> list[dict[str, float]]:
    """Compute how often the path to the predicted node is correct at depth 0 (the roots), 1, ....

    Args:
        predicted: int [n], the predicted node of each image, -1 if there is none.
        labels: int [n], the true node, -1 if it is unknown; such images are not counted.
        parents: of each node, -1 for a root.

    Returns:
        {"top1", "images"} of each depth. `images` counts the images whose true path has a node at
        that depth; `top1` is the share of these in which the predicted path has the same node.
    """
    path = paths(make_tree(parents))
    path = np.vstack([path, np.full_like(path[:1], -1)])  # the last row is that of -1
    defined = path[labels] >= 0
    correct = defined & (path[labels] == path[predicted])
    return [
        {"top1": float(hits / images), "images": int(images)}
        for hits, images in zip(correct.sum(0), defined.sum(0), strict=True)
        if images
    ]


def _matches(boxes: GroundTruth, detected: ImageDetections, threshold: float):
    """Yield (label, index of the matched box or None) of each detection in descending score."""
    iou = overlap(detected.boxes_pixels, boxes.boxes_pixels, boxes.crowd)
    free = ~boxes.ignore
    for i in np.argsort(-detected.scores, kind="stable"):
        if detected.scores[i] <= threshold:
            return
        reached = iou[i] >= IOU
        choice = reached & free if (reached & free).any() else reached & boxes.ignore
        best = int(np.where(choice, iou[i], 0).argmax()) if choice.any() else None
        if best is not None:
            free[best] = False
        yield int(detected.labels[i]), best


def _path(node: int, parents: Sequence[int]) -> set[int]:
    """Return the nodes from the root to `node`, both included."""
    nodes = set()
    while node >= 0:
        nodes.add(int(node))
        node = parents[node]
    return nodes
