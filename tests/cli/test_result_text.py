import csv
import io

import numpy as np
import pytest

from yolojax.cli.result_text import csv_heading, csv_lines, one_line, why_nothing
from yolojax.predict import Classification, Result

IMAGE = np.zeros((40, 80, 3), np.uint8)
ANIMALS = ("animal", "dog", "terrier", "vehicle")


def as_csv(result):
    return csv_heading(result) + csv_lines(result)


def nothing(score):
    no = np.zeros(0)
    return Result("a.png", IMAGE, no.reshape(0, 4), no, no, ("cat", "dog"), score, 1)


def classification(*probs):
    labels = np.array([2, 0, 1], np.int32)
    return Classification("a.png", IMAGE, labels, np.float32(probs), ("cat", "dog", "owl"))


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (0.12, "dog at 0.12: try --threshold 0.1"),
        (0.1, "try --threshold 0.09"),
        (0.0345, "try --threshold 0.03"),
        (0.001, "was the network trained"),
        (float("nan"), "its weights are damaged"),
    ],
)
def test_reason_for_no_detections(score, words):
    assert words in why_nothing(nothing(score))


def test_a_node_of_a_tree_is_printed_with_its_path():
    boxes, labels = np.zeros((2, 4), np.float32), np.array([2, 3])
    scores = np.array([0.41, 0.3], np.float32)
    result = Result("a.png", IMAGE, boxes, scores, labels, ANIMALS, 0.41, 2, (-1, 0, 1, -1))
    assert one_line(result) == "a.png: 2 found: animal > dog > terrier 0.41, vehicle 0.30"
    assert result.names == ["terrier", "vehicle"]


def test_csv_of_a_tree_has_wnid_and_path():
    tree = {"tree": (-1, 0, 1), "wnids": ("n1", "n2", "n3")}
    box, score = np.zeros((1, 4), np.float32), np.array([0.5], np.float32)
    found = Result("a.png", IMAGE, box, score, np.array([1]), ANIMALS[:3], 0.5, 1, **tree)
    (row,) = csv.DictReader(io.StringIO(as_csv(found)))
    assert (row["class"], row["wnid"], row["path"]) == ("dog", "n2", "animal > dog")
    assert (row["score"], row["y2"]) == ("0.5", "0.0")
    named = Classification("a.png", IMAGE, np.array([2]), score, ANIMALS[:3], **tree)
    (row,) = csv.DictReader(io.StringIO(as_csv(named)))
    assert row == {
        "file": "a.png", "class": "terrier", "class_id": "2", "wnid": "n3",
        "path": "animal > dog > terrier", "probability": "0.5",
    }  # fmt: skip
    assert one_line(named) == "a.png: animal > dog > terrier 0.50"
    assert as_csv(found).startswith("file,class,class_id,wnid,path,score,x1")


def test_line_of_a_classifier():
    assert one_line(classification(0.7, 0.2, 0.1)) == "a.png: owl 0.70, cat 0.20, dog 0.10"
    broken = classification(*[float("nan")] * 3)
    assert one_line(broken).endswith("its weights are damaged")


def test_csv_of_a_classifier_has_no_boxes():
    rows = list(csv.DictReader(io.StringIO(as_csv(classification(0.7, 0.2, 0.1)))))
    assert rows[0] == {"file": "a.png", "class": "owl", "class_id": "2", "probability": "0.7"}
    assert len(rows) == 3
