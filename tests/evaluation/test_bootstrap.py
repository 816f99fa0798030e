import numpy as np
import pytest
from evaluation_cases import SQUARE, detections, image, random_case

from yolojax.evaluation import average_precision, bootstrap
from yolojax.evaluation.average_precision import VOC07_LEVELS, class_average_precision, match_voc
from yolojax.evaluation.coco import LEVELS, match_coco

METRICS = [(match_voc, None), (match_voc, VOC07_LEVELS), (match_coco, LEVELS)]


@pytest.mark.parametrize(("matching", "levels"), METRICS)
def test_a_weight_equals_copies_of_the_image(matching, levels):
    ground_truth, found = random_case(1, images=6)
    weights = np.array([0, 3, 1, 2, 0, 1])
    copies = np.repeat(np.arange(6), weights)
    once = matching(ground_truth, found, 4)
    copied = matching([ground_truth[i] for i in copies], [found[i] for i in copies], 4)
    np.testing.assert_allclose(
        class_average_precision(once, levels, weights[None]),
        class_average_precision(copied, levels),
        atol=1e-12,
    )


def half_of_them_found(images):
    ground_truth = [image(str(i), [SQUARE]) for i in range(images)]
    found = [
        detections(t.image_id, [SQUARE] * (i % 2), [0.9] * (i % 2))
        for i, t in enumerate(ground_truth)
    ]
    return match_voc(ground_truth, found, 1)


def test_interval_of_a_proportion():
    # one box per image, half detected, no misses: AP is the recall, so the interval is the
    # binomial's, .5 -+ 1.96 * sqrt(.25 / 400) = .5 -+ .049
    low, high = bootstrap.interval(half_of_them_found(400), None, resamples=2000, seed=0)
    assert low == pytest.approx(0.451, abs=0.006)
    assert high == pytest.approx(0.549, abs=0.006)


def test_interval_depends_on_the_seed_only(monkeypatch):
    matches = half_of_them_found(20)
    first = bootstrap.interval(matches, None, resamples=50, seed=3)
    monkeypatch.setattr(average_precision, "CHUNK", 30)
    assert bootstrap.interval(matches, None, resamples=50, seed=3) == first
    assert bootstrap.interval(matches, None, resamples=50, seed=4) != first


def test_resamples_without_boxes_are_left_out():
    # one of two images has a box, detected; a quarter of the resamples miss that image
    ground_truth = [image("a", [SQUARE]), image("b", [])]
    found = [detections("a", [SQUARE], [0.9]), detections("b", [], [])]
    matches = match_voc(ground_truth, found, 1)
    assert bootstrap.interval(matches, None, resamples=40, seed=0) == [1, 1]


def test_nothing_to_resample():
    matches = match_voc([image("a", [])], [detections("a", [], [])], 1)
    assert bootstrap.interval(matches, None, resamples=10, seed=0) is None
