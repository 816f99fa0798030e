from pathlib import Path

import numpy as np
import pytest

from yolojax.data.tree_files import read_map, read_tree
from yolojax.evaluation.evaluator import ImageDetections, ImageTruth
from yolojax.evaluation.hierarchy import (
    among,
    format_numbers,
    hierarchical_precision,
    related,
    split_means,
    tree_numbers,
)

WORDTREE = Path(__file__).parents[3] / "shared" / "data" / "wordtree"
PARENTS = (-1, 0, 1, 1, -1)  # animal > dog > (terrier, poodle); thing
BOX = (10.0, 10.0, 50.0, 50.0)
FAR = (60.0, 60.0, 90.0, 90.0)


def truth(labels, boxes, difficult=None):
    n = len(labels)
    no = np.zeros(n, bool)
    hard = no if difficult is None else np.array(difficult)
    pixels = np.array(boxes, np.float64).reshape(n, 4)
    return ImageTruth("a", 100, 100, pixels, np.array(labels, int), hard, no, np.ones(n))


def found(*rows):
    labels, scores, boxes = zip(*rows, strict=True) if rows else ((), (), ())
    return ImageDetections(
        "a", np.array(boxes, np.float64).reshape(-1, 4), np.array(scores), np.array(labels, int)
    )


@pytest.mark.parametrize(
    ("label", "precision", "recall"),
    [(2, 1, 1), (1, 1, 2 / 3), (0, 1, 1 / 3), (3, 2 / 3, 2 / 3), (4, 0, 0)],
)
def test_the_shared_part_of_the_path_counts(label, precision, recall):
    """The truth is a terrier: animal > dog > terrier."""
    result = hierarchical_precision([truth([2], [BOX])], [found((label, 0.9, BOX))], PARENTS)
    assert result == pytest.approx(
        {"hierarchical_precision": precision, "hierarchical_recall": recall}
    )


def test_a_truth_is_taken_once_and_a_miss_counts_nothing():
    detections = [found((1, 0.9, BOX), (1, 0.8, BOX), (1, 0.7, FAR), (1, 0.1, BOX))]
    result = hierarchical_precision([truth([1, 4], [BOX, (0, 0, 5, 5)])], detections, PARENTS)
    assert result["hierarchical_precision"] == pytest.approx(1 / 3)  # .1 is below the threshold
    assert result["hierarchical_recall"] == pytest.approx(1 / 2)


def test_difficult_truths_neither_help_nor_harm():
    truths = [truth([1, 4], [BOX, FAR], difficult=[False, True])]
    result = hierarchical_precision(truths, [found((1, 0.9, BOX), (0, 0.8, FAR))], PARENTS)
    assert result == {"hierarchical_precision": 1, "hierarchical_recall": 1}


def test_without_anything_there_is_no_number():
    nothing = {"hierarchical_precision": None, "hierarchical_recall": None}
    assert hierarchical_precision([truth([], [])], [found()], PARENTS) == nothing


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


def test_labels_count_through_the_nodes_of_the_data():
    truths, detections, names = among(
        [truth([2, 4], [BOX, FAR])],
        [found((4, 0.9, FAR), (1, 0.8, BOX), (2, 0.7, BOX))],
        nodes=(4, 2),
        names=("animal", "dog", "crane", "poodle", "crane"),
    )
    assert names == ("crane (2)", "crane (4)")
    assert truths[0].labels.tolist() == [0, 1]
    assert detections[0].labels.tolist() == [1, 0]  # the dog is none of them
    assert detections[0].scores.tolist() == [0.9, 0.7]


def test_a_class_is_related_to_what_is_above_and_below_it():
    assert related(range(5), [1], PARENTS) == {0, 1, 2, 3}
    assert related(range(5), [2], PARENTS) == {0, 1, 2}
    assert related([3, 4], [2], PARENTS) == set()


def test_the_headline_is_split_in_both_readings():
    result = {
        "metric": "voc10",
        "per_class": {"dog": {"voc10": 0.6}, "poodle": {"voc10": 0.4}, "thing": {"voc10": 0.1}},
    }
    classes = {"dog": 1, "poodle": 3, "thing": 4}
    numbers = tree_numbers(
        result, [truth([1], [BOX])], [found((1, 0.9, BOX))], PARENTS, classes=classes, seen=(1,)
    )
    assert (numbers["strict"]["seen"], numbers["strict"]["unseen"]) == (0.6, 0.25)
    assert (numbers["related"]["seen"], numbers["related"]["unseen"]) == (0.5, 0.1)
    said = format_numbers(numbers)
    assert "hierarchical precision 100.00" in said
    assert "voc10 60.00 of 1 classes where it had boxes in training, 25.00 of the other 2" in said


@pytest.mark.skipif(not WORDTREE.is_dir(), reason="needs ../shared/data/wordtree")
def test_what_imagenet_s_classes_share_with_coco_s():
    """The paper says 44 of 200; with the authors' maps it is 38, or 57 with kin."""
    tree = read_tree(WORDTREE / "9k.tree")
    det, coco = (read_map(WORDTREE / f"{name}9k.map", 9418) for name in ("inet", "coco"))
    assert len(set(det) & set(coco)) == 38
    assert len(related(det, coco, tree.parents)) == 57
