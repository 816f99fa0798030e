import json

import numpy as np
import pytest
from evaluation_cases import ELSEWHERE, SQUARE, detections, image, random_case

from yolojax.data.parsing import make_record
from yolojax.evaluation.evaluator import METRICS, evaluate, ground_truth_from_record
from yolojax.evaluation.writers import COLUMNS, format_table, headline

NUMBERS = {"voc07_11pt", "voc10", "coco_AP", "coco_AP50", "coco_AP75"}
NUMBERS |= {f"coco_{kind}{size}" for kind in ("AP", "AR") for size in "sml"}
NUMBERS |= {"coco_AR1", "coco_AR10", "coco_AR100"}


def two_images():
    ground_truth = [image("a", [SQUARE]), image("b", [SQUARE])]
    found = [detections("a", [SQUARE, ELSEWHERE], [0.9, 0.8]), detections("b", [SQUARE], [0.7])]
    return ground_truth, found


def test_all_metrics_of_a_case_computed_by_hand():
    # hit, miss, hit of two boxes: see test_average_precision
    result = evaluate(*two_images(), ["cat", "dog"], bootstrap=0)
    assert result["voc10"] == pytest.approx(5 / 6)
    assert result["voc07_11pt"] == pytest.approx(28 / 33)
    assert (result["images"], result["objects"], result["detections"]) == (2, 2, 3)
    cat = result["per_class"]["cat"]
    assert (cat["images"], cat["objects"], cat["detections"]) == (2, 2, 3)
    # F1 after one detection 2/3, after all three 4/5
    assert (cat["precision"], cat["recall"], cat["score"]) == pytest.approx((2 / 3, 1, 0.7))
    assert result.keys() >= NUMBERS


def test_class_without_boxes_is_null_and_left_out_of_the_mean():
    result = evaluate(*two_images(), ["cat", "dog"], bootstrap=0)
    dog = result["per_class"]["dog"]
    assert dog["voc10"] is dog["coco_AP"] is dog["precision"] is None
    assert result["voc10"] == result["per_class"]["cat"]["voc10"]
    assert "null" in result["protocol"]["mean"]


@pytest.mark.parametrize("metric", METRICS)
def test_interval_surrounds_every_headline(metric):
    ground_truth, found = random_case(2, images=30)
    result = evaluate(ground_truth, found, list("abcd"), metric=metric, bootstrap=200)
    low, high = result["interval"]
    assert low < result[metric] < high
    assert "200 resamples" in result["protocol"]["interval"]
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_order_of_detections_and_images_without_any():
    ground_truth, found = two_images()
    assert evaluate(ground_truth, found[::-1], ["cat"]) == evaluate(ground_truth, found, ["cat"])
    only_a = evaluate(ground_truth, found[:1], ["cat"], bootstrap=0)
    assert only_a["voc10"] == pytest.approx(1 / 2)


def test_metrics_are_zero_without_detections():
    result = evaluate(two_images()[0], [], ["cat"])
    assert result["voc10"] == result["coco_AP"] == 0
    assert result["interval"] == [0, 0]


def test_protocol_of_the_caller_is_added():
    result = evaluate(*two_images(), ["cat"], bootstrap=0, protocol={"score_threshold": 0.005})
    assert result["protocol"]["score_threshold"] == 0.005
    assert "interval" not in result["protocol"]


def test_ground_truth_is_in_pixels():
    record = make_record("a", b"", (200, 100), [(50, 50, 150, 100)], [0])
    t = ground_truth_from_record(record, (100, 200))
    np.testing.assert_allclose(t.boxes_pixels, [[50, 50, 150, 100]])
    assert (t.image_id, t.width, t.height) == ("a", 200, 100)
    assert t.area == 5000  # of the box
    given = make_record("a", b"", (200, 100), [(50, 50, 150, 100)], [0], area=[7])
    assert ground_truth_from_record(given, (100, 200)).area == 7
    assert t.difficult.dtype == t.crowd.dtype == bool


def test_ground_truth_of_an_empty_image():
    record = make_record("a", b"", (5, 5), [], [])
    assert ground_truth_from_record(record, (5, 5)).boxes_pixels.shape == (0, 4)


A = [image("a", [SQUARE])]
BAD = {
    "metric must be one of voc07_11pt": (A, [], {"metric": "mAP"}),
    "at least one image": ([], [], {}),
    "each image once, got 'a'": (A * 2, [], {}),
    "images in ground_truth, got 'z'": (A, [detections("z", [], [])], {}),
    "labels must be below 1": (A, [detections("a", [SQUARE], [0.5], [1])], {}),
    "must be finite": (A, [detections("a", [SQUARE], [np.nan])], {}),
    r"is it \(x, y, w, h\)": (A, [detections("a", [(50, 50, 10, 10)], [0.5])], {}),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_raises(message):
    ground_truth, found, options = BAD[message]
    with pytest.raises(ValueError, match=message):
        evaluate(ground_truth, found, ["cat"], **options)


def test_table_has_a_line_for_each_class_the_headline_and_the_protocol():
    result = evaluate(*two_images(), ["cat", "dog"], bootstrap=0)
    lines = format_table(result).splitlines()
    assert lines[0].split() == ["class", *COLUMNS]
    assert lines[1].split()[:7] == ["cat", "2", "2", "66.67", "100.00", "84.85", "83.33"]
    assert lines[2].split() == ["dog", "0", "0", *"------"]
    assert lines[3].split()[:7] == ["all", "2", "2", "-", "-", "84.85", "83.33"]
    assert "voc10 83.33 on 2 images, 2 objects" in lines
    assert any("difficult and crowd ignored" in line for line in lines)


def test_headline_with_its_interval():
    result = {"metric": "voc10", "voc10": 0.5, "interval": [0.4, 0.625], "images": 3, "objects": 4}
    assert headline(result) == "voc10 50.00 [40.00, 62.50] on 3 images, 4 objects"
