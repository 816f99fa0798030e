from pathlib import Path

import numpy as np
import pytest

from yolojax.evaluation.evaluator import GroundTruth, ImageDetections
from yolojax.evaluation.hierarchy import (
    accuracy_by_depth,
    format_numbers,
    hierarchical_precision,
    related,
    select_nodes,
    split_means,
    tree_numbers,
)
from yolojax.wordtree.files import read_map, read_tree

WORDTREE = Path(__file__).parents[3] / "shared" / "data" / "wordtree"
PARENTS = (-1, 0, 1, 1, -1)  # animal > dog > (terrier, poodle); thing
BOX = (10.0, 10.0, 50.0, 50.0)
FAR = (60.0, 60.0, 90.0, 90.0)


def image(labels, boxes, difficult=None, crowd=None):
    n = len(labels)
    hard, many = (np.zeros(n, bool) if x is None else np.array(x) for x in (difficult, crowd))
    pixels = np.array(boxes, np.float64).reshape(n, 4)
    return GroundTruth("a", 100, 100, pixels, np.array(labels, int), hard, many, np.ones(n))


def found(*rows):
    labels, scores, boxes = zip(*rows, strict=True) if rows else ((), (), ())
    return ImageDetections(
        "a", np.array(boxes, np.float64).reshape(-1, 4), np.array(scores), np.array(labels, int)
    )


@pytest.mark.parametrize(
    ("label", "precision", "recall"),
    [(2, 1, 1), (1, 1, 2 / 3), (0, 1, 1 / 3), (3, 2 / 3, 2 / 3), (4, 0, 0)],
)
def test_credit_is_the_shared_part_of_the_path(label, precision, recall):
    """The box is a terrier: animal > dog > terrier."""
    result = hierarchical_precision([image([2], [BOX])], [found((label, 0.9, BOX))], PARENTS)
    assert result == pytest.approx(
        {"hierarchical_precision": precision, "hierarchical_recall": recall}
    )


def test_a_box_is_matched_once_and_a_miss_has_precision_zero():
    detections = [found((1, 0.9, BOX), (1, 0.8, BOX), (1, 0.7, FAR), (1, 0.1, BOX))]
    result = hierarchical_precision([image([1, 4], [BOX, (0, 0, 5, 5)])], detections, PARENTS)
    assert result["hierarchical_precision"] == pytest.approx(1 / 3)  # .1 is below the threshold
    assert result["hierarchical_recall"] == pytest.approx(1 / 2)


def test_difficult_boxes_are_ignored():
    ground_truth = [image([1, 4], [BOX, FAR], difficult=[False, True])]
    result = hierarchical_precision(ground_truth, [found((1, 0.9, BOX), (0, 0.8, FAR))], PARENTS)
    assert result == {"hierarchical_precision": 1, "hierarchical_recall": 1}


def test_any_number_of_detections_of_difficult_boxes_and_crowds_is_ignored():
    """Three detections in a crowd, two of a difficult box."""
    inside = [(x, 0.0, x + 10, 10.0) for x in (0.0, 30.0, 60.0)]
    ground_truth = [
        image(
            [1, 2, 4],
            [BOX, FAR, (0, 0, 100, 10)],
            difficult=[False, True, False],
            crowd=[False, False, True],
        )
    ]
    rows = [(4, 0.9, box) for box in inside] + [(0, 0.8, FAR), (0, 0.7, FAR), (1, 0.6, BOX)]
    result = hierarchical_precision(ground_truth, [found(*rows)], PARENTS)
    assert result == {"hierarchical_precision": 1, "hierarchical_recall": 1}


def test_a_box_is_matched_before_a_crowd_around_it():
    ground_truth = [image([1, 1], [BOX, (0, 0, 100, 100)], crowd=[False, True])]
    near = (10.0, 10.0, 50.0, 60.0)  # IoU .8 with the box, all of it in the crowd
    result = hierarchical_precision(ground_truth, [found((1, 0.9, near), (1, 0.8, near))], PARENTS)
    assert result == {"hierarchical_precision": 1, "hierarchical_recall": 1}


def test_accuracy_at_a_depth_is_over_labels_that_reach_it():
    """A terrier predicted as poodle; a terrier, a dog and a thing predicted as terrier."""
    thing, dog, terrier, poodle = range(1, 5)
    parents = (-1, -1, 0, dog, dog)
    labels = np.array([terrier, terrier, dog, thing])
    assert accuracy_by_depth(np.array([poodle, terrier, terrier, terrier]), labels, parents) == [
        {"top1": 0.75, "images": 4},
        {"top1": 1.0, "images": 3},
        {"top1": 0.5, "images": 2},
    ]
    assert len(accuracy_by_depth(labels[3:], labels[3:], parents)) == 1  # no label is deeper


def test_numbers_are_undefined_without_boxes_and_detections():
    nothing = {"hierarchical_precision": None, "hierarchical_recall": None}
    assert hierarchical_precision([image([], [])], [found()], PARENTS) == nothing


def test_classes_without_boxes_have_their_own_mean():
    per_class = {
        "a": {"voc10": 0.5},
        "b": {"voc10": 0.7},
        "c": {"voc10": 0.1},
        "d": {"voc10": None},
    }
    assert split_means(per_class, ("a", "b", "d"), "voc10") == {
        "seen": pytest.approx(0.6),
        "seen_classes": 2,
        "unseen": pytest.approx(0.1),
        "unseen_classes": 1,
    }


def test_labels_become_indices_of_the_selected_nodes():
    ground_truth, detections = select_nodes(
        [image([2, 4], [BOX, FAR])],
        [found((4, 0.9, FAR), (1, 0.8, BOX), (2, 0.7, BOX))],
        nodes=(4, 0, 2),
    )
    assert ground_truth[0].labels.tolist() == [2, 0]
    assert detections[0].labels.tolist() == [0, 2]  # the dog is none of them
    assert detections[0].scores.tolist() == [0.9, 0.7]


def test_a_class_is_related_to_ancestors_and_descendants():
    assert related(range(5), [1], PARENTS) == {0, 1, 2, 3}
    assert related(range(5), [2], PARENTS) == {0, 1, 2}
    assert related([3, 4], [2], PARENTS) == set()


def test_the_headline_is_split_by_both_readings():
    result = {
        "metric": "voc10",
        "per_class": {"dog": {"voc10": 0.6}, "poodle": {"voc10": 0.4}, "thing": {"voc10": 0.1}},
    }
    classes = {"dog": 1, "poodle": 3, "thing": 4}
    numbers = tree_numbers(
        result, [image([1], [BOX])], [found((1, 0.9, BOX))], PARENTS, classes=classes, seen=(1,)
    )
    assert (numbers["strict"]["seen"], numbers["strict"]["unseen"]) == (0.6, 0.25)
    assert (numbers["related"]["seen"], numbers["related"]["unseen"]) == (0.5, 0.1)
    text = format_numbers(numbers)
    assert "hierarchical precision 100.00" in text
    assert "voc10 60.00 of 1 classes where it had boxes in training, 25.00 of the other 2" in text


@pytest.mark.skipif(not WORDTREE.is_dir(), reason="needs ../shared/data/wordtree")
def test_classes_that_imagenet_shares_with_coco():
    """The paper states 44 of 200; the authors' maps give 38, or 57 with related classes."""
    tree = read_tree(WORDTREE / "9k.tree")
    det, coco = (read_map(WORDTREE / f"{name}9k.map", 9418) for name in ("inet", "coco"))
    assert len(set(det) & set(coco)) == 38
    assert len(related(det, coco, tree.parents)) == 57


def test_accuracy_at_a_depth_without_a_prediction_or_label():
    parents = (-1, -1, 1)
    predicted, labels = np.array([-1, 2, 2]), np.array([2, 2, -1])
    assert accuracy_by_depth(predicted, labels, parents) == [{"top1": 0.5, "images": 2}] * 2
