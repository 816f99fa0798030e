import numpy as np
import pytest
from evaluation_cases import ELSEWHERE, SQUARE, detections, image, random_case
from hypothesis import given, settings
from hypothesis import strategies as st

from yolojax.evaluation.average_precision import (
    VOC07_LEVELS,
    average_precision,
    class_average_precision,
    match_voc,
    recall_scale,
)
from yolojax.evaluation.matches import overlap


def both(ground_truth, found, classes=1):
    """(11-point AP, all-point AP) of each class, [2, C]."""
    matches = match_voc(ground_truth, found, classes)
    return np.stack(
        [class_average_precision(matches, levels)[0] for levels in (VOC07_LEVELS, None)]
    )


def test_overlap_of_squares_sharing_a_quarter():
    # 1 shared; 4 + 4 - 1 in all; over the detection alone 1 / 4
    assert overlap([[0, 0, 2, 2]], [[1, 1, 3, 3]]) == pytest.approx(1 / 7)
    assert overlap([[0, 0, 2, 2]], [[1, 1, 3, 3]], crowd=[True]) == pytest.approx(1 / 4)
    assert overlap([[0, 0, 0, 0]], [[0, 0, 0, 0]]) == 0  # no area, no division by zero


corner = st.integers(1, 30)
voc_box = st.tuples(corner, corner, corner, corner).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)


def devkit_iou(a, b):
    """IoU of inclusive boxes: a side of n pixels runs from x to x + n - 1."""
    w = min(a[2], b[2]) - max(a[0], b[0]) + 1
    h = min(a[3], b[3]) - max(a[1], b[1]) + 1
    shared = w * h if w > 0 and h > 0 else 0
    areas = [(x[2] - x[0] + 1) * (x[3] - x[1] + 1) for x in (a, b)]
    return shared / (sum(areas) - shared)


@given(voc_box, voc_box)
def test_continuous_iou_is_the_devkits_with_its_plus_one(a, b):
    ours = [(x1 - 1, y1 - 1, x2, y2) for x1, y1, x2, y2 in (a, b)]
    assert overlap(ours[:1], ours[1:])[0, 0] == devkit_iou(a, b)


def test_hit_miss_hit_of_two_boxes():
    # precision 1 at recall 1/2, 2/3 at recall 1: the area is 1/2 + 1/2 * 2/3 = 5/6;
    # the levels 0 ... .5 see 1, the other five 2/3: (6 + 10/3) / 11 = 28/33
    ground_truth = [image("a", [SQUARE]), image("b", [SQUARE])]
    found = [
        detections("a", [SQUARE, ELSEWHERE], [0.9, 0.8]),
        detections("b", [SQUARE], [0.7]),
    ]
    np.testing.assert_allclose(both(ground_truth, found)[:, 0], [28 / 33, 5 / 6], rtol=1e-12)


def test_half_of_the_boxes_detected_without_a_miss():
    ground_truth = [image("a", [SQUARE, ELSEWHERE])]
    found = [detections("a", [SQUARE], [0.9])]
    np.testing.assert_allclose(both(ground_truth, found)[:, 0], [6 / 11, 1 / 2], rtol=1e-12)


def test_three_of_ten_reach_the_level_of_three_tenths():
    # 0, .1, .2, .3 of the eleven levels, although 3 * .1 > .3 in floats
    found = np.array([[1, 2, 3]])
    ap = average_precision(found, found, recall_scale(np.array([10]), VOC07_LEVELS)(found))
    assert ap == pytest.approx(4 / 11)


def test_duplicate_is_a_false_positive():
    ground_truth = [image("a", [SQUARE]), image("b", [SQUARE])]
    found = [detections("a", [SQUARE, SQUARE], [0.9, 0.8]), detections("b", [SQUARE], [0.7])]
    matches = match_voc(ground_truth, found, 1)
    assert matches.hits.tolist() == [[True, False, True]]
    assert matches.ignored.tolist() == [[False] * 3]


def test_duplicate_is_not_matched_to_a_box_of_smaller_iou():
    # the devkit considers the box of largest IoU only; cocoeval would take the second
    beside = (0, 0, 10, 8)
    matches = match_voc(
        [image("a", [SQUARE, beside])], [detections("a", [SQUARE, SQUARE], [0.9, 0.8])], 1
    )
    assert matches.hits.tolist() == [[True, False]]


@pytest.mark.parametrize("kind", ["difficult", "crowd"])
def test_detections_of_difficult_boxes_and_crowds_are_ignored(kind):
    ground_truth = [image("a", [SQUARE, ELSEWHERE], **{kind: [True, False]})]
    found = [detections("a", [SQUARE, SQUARE, ELSEWHERE], [0.9, 0.8, 0.7])]
    matches = match_voc(ground_truth, found, 1)
    assert matches.ignored.tolist() == [[True, True, False]]
    assert matches.positives.tolist() == [[1]]
    np.testing.assert_allclose(both(ground_truth, found)[:, 0], 1, rtol=1e-12)


def test_equal_scores_keep_their_order():
    # the first of two equals is the hit: precision 1 at recall 1; the other way round 1/2
    ground_truth = [image("a", [SQUARE])]
    hit_first = [detections("a", [SQUARE, ELSEWHERE], [0.5, 0.5])]
    miss_first = [detections("a", [ELSEWHERE, SQUARE], [0.5, 0.5])]
    np.testing.assert_allclose(both(ground_truth, hit_first)[:, 0], 1, rtol=1e-12)
    np.testing.assert_allclose(both(ground_truth, miss_first)[:, 0], 1 / 2, rtol=1e-12)


def test_threshold_itself_counts():
    # half of the square: IoU exactly .5
    half = detections("a", [(0, 0, 10, 5)], [0.9])
    assert match_voc([image("a", [SQUARE])], [half], 1).hits.all()
    assert not match_voc([image("a", [SQUARE])], [half], 1, iou_threshold=0.51).hits.any()


def test_ap_is_zero_without_detections_and_undefined_without_boxes():
    nothing = [detections("a", [], [])]
    np.testing.assert_array_equal(both([image("a", [SQUARE])], nothing), [[0], [0]])
    assert np.isnan(both([image("a", [])], nothing)).all()
    assert np.isnan(both([image("a", [])], [detections("a", [SQUARE], [0.9])])).all()


def test_detection_in_an_image_without_boxes_is_a_miss():
    ground_truth = [image("a", []), image("b", [SQUARE])]
    found = [detections("a", [SQUARE], [0.9]), detections("b", [SQUARE], [0.8])]
    np.testing.assert_allclose(both(ground_truth, found)[:, 0], 1 / 2, rtol=1e-12)


def test_classes_are_matched_separately():
    ground_truth = [image("a", [SQUARE, ELSEWHERE], [0, 1])]
    found = [detections("a", [SQUARE, ELSEWHERE], [0.9, 0.8], [1, 1])]
    np.testing.assert_allclose(both(ground_truth, found, 2), [[0, 1 / 2], [0, 1 / 2]], rtol=1e-12)


def by_the_definition(ground_truth, found, label):
    """(11-point AP, all-point AP) in loops, from the text of the development kit."""
    rows = [
        (-s, i, box)
        for i, d in enumerate(found)
        for box, s, c in zip(d.boxes_pixels, d.scores, d.labels, strict=True)
        if c == label
    ]
    taken, flags = set(), []
    for _, i, box in sorted(rows, key=lambda row: row[0]):
        t = ground_truth[i]
        mine = [j for j, c in enumerate(t.labels) if c == label]
        ious = [overlap([box], [t.boxes_pixels[j]])[0, 0] for j in mine]
        j = mine[ious.index(max(ious))] if mine and max(ious) >= 0.5 else None
        if j is None or (i, j) in taken:
            flags.append(False)
        elif not (t.difficult[j] or t.crowd[j]):
            taken.add((i, j))
            flags.append(True)
    total = sum((t.labels == label)[~(t.difficult | t.crowd)].sum() for t in ground_truth)
    curve = [(sum(flags[:n]), n) for n in range(1, len(flags) + 1)]
    eleven = [max([h / n for h, n in curve if 10 * h >= k * total] or [0]) for k in range(11)]
    steps = [max([h / n for h, n in curve if h >= k] or [0]) for k in range(1, total + 1)]
    return (np.mean(eleven), np.mean(steps)) if total else (np.nan, np.nan)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6))
def test_equal_to_the_definition_in_loops(seed):
    ground_truth, found = random_case(seed, images=5, classes=3)
    expected = np.transpose([by_the_definition(ground_truth, found, c) for c in range(3)])
    np.testing.assert_allclose(both(ground_truth, found, 3), expected, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_an_independent_package(seed):
    # mean-average-precision counts difficult boxes as missed, so there are none here; it takes
    # inclusive boxes, IoU > .5 and returns float32
    package = pytest.importorskip("mean_average_precision")
    ground_truth, found = random_case(seed, images=8, difficult=0, crowd=0, whole_pixels=True)
    metric = package.MetricBuilder.build_evaluation_metric("map_2d", num_classes=4)
    inclusive = np.array([1, 1, 0, 0])
    for t, d in zip(ground_truth, found, strict=True):
        metric.add(
            np.column_stack([d.boxes_pixels + inclusive, d.labels, d.scores]),
            np.column_stack([t.boxes_pixels + inclusive, t.labels, np.zeros((len(t.labels), 2))]),
        )
    ours = both(ground_truth, found, 4)
    assert np.isnan(ours[:, 3]).all()
    for row, levels in zip(ours, (VOC07_LEVELS, None), strict=True):
        theirs = metric.value(iou_thresholds=[0.5], recall_thresholds=levels)[0.5]
        np.testing.assert_allclose(row[:3], [theirs[c]["ap"] for c in range(3)], atol=1e-6)
