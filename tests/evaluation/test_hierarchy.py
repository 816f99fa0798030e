import numpy as np
import pytest

from yolojax.evaluation.evaluator import ImageDetections, ImageTruth
from yolojax.evaluation.hierarchy import among, hierarchical_precision, split_means

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
