import contextlib
import io

import numpy as np
import pytest
from evaluation_cases import ELSEWHERE, SQUARE, detections, image, random_case

from yolojax.evaluation import matches
from yolojax.evaluation.average_precision import class_average_precision
from yolojax.evaluation.coco import IOU_THRESHOLDS, LEVELS, coco_numbers, match_coco

EXACT = {"rtol": 0, "atol": 1e-12}


def pycocotools_numbers(ground_truth, found, classes):
    """Run pycocotools -> (the twelve numbers of summarize(), AP of each class)."""
    coco, cocoeval = (pytest.importorskip(f"pycocotools.{name}") for name in ("coco", "cocoeval"))
    common = {
        "images": [{"id": i + 1} for i in range(len(ground_truth))],
        "categories": [{"id": c + 1} for c in range(classes)],
    }
    rows = [annotations(ground_truth, t_row), annotations(found, d_row)]
    with contextlib.redirect_stdout(io.StringIO()):
        sets = []
        for annotation in rows:
            sets.append(coco.COCO())
            sets[-1].dataset = common | {"annotations": annotation}
            sets[-1].createIndex()
        run = cocoeval.COCOeval(*sets, "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats, run.eval["precision"][..., 0, -1].mean((0, 1))


def annotations(items, extra):
    rows = []
    for i, item in enumerate(items):
        for j, (x1, y1, x2, y2) in enumerate(item.boxes_pixels.tolist()):
            row = {"image_id": i + 1, "category_id": int(item.labels[j]) + 1, "id": len(rows) + 1}
            rows.append(row | {"bbox": [x1, y1, x2 - x1, y2 - y1]} | extra(item, j))
    return rows


def t_row(item, j):
    area = -1.0 if item.difficult[j] else float(item.area[j])
    return {"iscrowd": int(item.crowd[j]), "area": area}


def d_row(item, j):
    w, h = item.boxes_pixels[j, 2:] - item.boxes_pixels[j, :2]
    return {"iscrowd": 0, "area": float(w * h), "score": float(item.scores[j])}


CASES = {
    "plain": {"difficult": 0, "crowd": 0},
    "crowd": {"difficult": 0, "crowd": 0.3},
    "difficult and crowd": {"difficult": 0.3, "crowd": 0.2},
    "one image": {"images": 1},
    "nothing but crowds": {"crowd": 1},
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("case", CASES)
def test_equal_to_pycocotools(case, seed, capfd):
    ground_truth, found = random_case(seed, **CASES[case])
    summary, per_class, _ = coco_numbers(ground_truth, found, 4)
    stats, their_classes = pycocotools_numbers(ground_truth, found, 4)
    assert capfd.readouterr().out == ""
    ours = np.nan_to_num(list(summary.values()), nan=-1)
    np.testing.assert_allclose(ours, stats, **EXACT)
    np.testing.assert_allclose(np.nan_to_num(per_class, nan=-1), their_classes, **EXACT)


@pytest.mark.parametrize("seed", range(4))
def test_more_than_a_hundred_detections_of_a_class_and_equal_scores(seed):
    ground_truth, found = random_case(seed, images=2, classes=2)
    many = [
        d._replace(
            boxes_pixels=np.tile(d.boxes_pixels, (12, 1)),
            scores=np.round(np.tile(d.scores, 12), 1),
            labels=np.tile(d.labels, 12),
        )
        for d in found
    ]
    summary, per_class, _ = coco_numbers(ground_truth, many, 2)
    stats, _ = pycocotools_numbers(ground_truth, many, 2)
    np.testing.assert_allclose(np.nan_to_num(list(summary.values()), nan=-1), stats, **EXACT)
    own = class_average_precision(match_coco(ground_truth, many, 2), LEVELS)[0]
    np.testing.assert_allclose(own, per_class, **EXACT)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("case", CASES)
def test_matches_for_the_bootstrap_give_the_same_numbers(case, seed):
    ground_truth, found = random_case(seed, **CASES[case])
    _, ap, ap50 = coco_numbers(ground_truth, found, 4)
    for thresholds, expected in ((IOU_THRESHOLDS, ap), ([0.5], ap50)):
        own = class_average_precision(match_coco(ground_truth, found, 4, thresholds), LEVELS)[0]
        np.testing.assert_allclose(own, expected, **EXACT)


def hard_case(seed):
    """A case with ties in score and IoU, all sizes, crowds, difficult boxes and empty classes.

    Of the first image some classes have more than a hundred detections.
    """
    draw = np.random.default_rng(seed)
    cases = [hard_image(draw, i) for i in range(10)]
    return [t for t, _ in cases], [d for _, d in cases]


def hard_image(draw, index):
    n = 0 if index == 3 else draw.integers(0, 12)
    corner, size = draw.uniform(0, 500, (n, 2)), np.exp(draw.uniform(0, 6, (n, 2)))
    boxes = np.concatenate([corner, corner + size], axis=1)
    boxes[n // 2 :] = np.round(boxes[n // 2 :])  # overlaps that are thresholds
    boxes[: n // 4] = boxes[n // 2 : n // 2 + n // 4]  # the same box twice
    labels = draw.integers(0, 5, n)  # of 6: the last has no boxes
    t = image(str(index), boxes, labels, draw.random(n) < 0.2, draw.random(n) < 0.2)
    exact = draw.choice([0, 32.0**2, 96.0**2, 1e11], n)  # the borders of the sizes
    t = t._replace(area=np.where(draw.random(n) < 0.3, exact, t.area * draw.uniform(0.3, 1, n)))
    k = 0 if index == 4 else 1500 if index == 0 else draw.integers(0, 80)
    if not n:
        return t, detections(str(index), [(0, 0, 9, 9)] * k, [0.5] * k)
    who = draw.integers(0, n, k)
    found = boxes[who] + draw.choice([0, 0.3, 3], (k, 1)) * draw.normal(size=(k, 4))
    found = np.where(draw.random((k, 1)) < 0.3, np.round(found), found)
    found[:, 2:] = np.maximum(found[:, 2:], found[:, :2])  # some have no area
    theirs = np.where(draw.random(k) < 0.8, labels[who], draw.integers(0, 6, k))
    return t, detections(str(index), found, np.round(draw.random(k), 1), theirs)


@pytest.mark.parametrize("seed", range(12))
def test_equal_to_pycocotools_in_hard_cases(seed):
    ground_truth, found = hard_case(seed)
    summary, per_class, _ = coco_numbers(ground_truth, found, 6)
    stats, their_classes = pycocotools_numbers(ground_truth, found, 6)
    np.testing.assert_allclose(np.nan_to_num(list(summary.values()), nan=-1), stats, **EXACT)
    np.testing.assert_allclose(np.nan_to_num(per_class, nan=-1), their_classes, **EXACT)
    own = class_average_precision(match_coco(ground_truth, found, 6), LEVELS)[0]
    np.testing.assert_array_equal(own, per_class)


def test_of_two_boxes_of_equal_iou_the_last_is_matched():
    # the second detection matches the first box, of which it has 6 x 10 of 14 x 10
    ground_truth = [image("a", [(0, 0, 10, 10), (4, 0, 14, 10)])]
    found = [detections("a", [(2, 0, 12, 10), (4, 0, 14, 10)], [0.9, 0.8])]
    assert match_coco(ground_truth, found, 1, [0.5]).hits.tolist() == [[True, False]]
    stats, _ = pycocotools_numbers(ground_truth, found, 1)
    np.testing.assert_allclose(coco_numbers(ground_truth, found, 1)[0]["AP50"], stats[1], **EXACT)


def test_result_does_not_depend_on_the_chunk_size(monkeypatch):
    ground_truth, found = hard_case(0)
    expected = match_coco(ground_truth, found, 6)
    monkeypatch.setattr(matches, "CHUNK", 7)
    for ours, theirs in zip(match_coco(ground_truth, found, 6), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_ap_is_one_if_all_boxes_are_detected():
    ground_truth = [image("a", [SQUARE, (0, 0, 50, 50), (0, 0, 200, 200)])]
    found = [detections("a", ground_truth[0].boxes_pixels, [0.9, 0.8, 0.7])]
    summary, per_class, ap50 = coco_numbers(ground_truth, found, 2)
    assert summary.pop("AR1") == pytest.approx(1 / 3)  # one detection for three boxes
    assert list(summary.values()) == pytest.approx([1] * 11)
    np.testing.assert_allclose([per_class, ap50], [[1, np.nan]] * 2)


def test_three_quarters_of_the_box_count_at_six_of_ten_thresholds():
    # IoU .75 reaches .50 ... .75
    found = [detections("a", [(0, 0, 10, 7.5)], [0.9])]
    summary, *_ = coco_numbers([image("a", [SQUARE])], found, 1)
    assert (summary["AP"], summary["AP50"], summary["AP75"]) == pytest.approx((0.6, 1, 1))


def test_one_detection_of_a_difficult_box_and_all_of_a_crowd_are_ignored():
    found = [detections("a", [SQUARE, SQUARE, ELSEWHERE], [0.9, 0.8, 0.7])]
    for kind, expected in (("difficult", 1 / 2), ("crowd", 1)):
        ground_truth = [image("a", [SQUARE, ELSEWHERE], **{kind: [True, False]})]
        assert coco_numbers(ground_truth, found, 1)[0]["AP50"] == pytest.approx(expected)


def test_size_is_that_of_the_area_not_of_the_box():
    # a thin object in a large box: COCO takes the area of the mask
    large = image("a", [(0, 0, 200, 200)])._replace(area=np.array([900.0]))
    found = [detections("a", large.boxes_pixels, [0.9])]
    summary, *_ = coco_numbers([large], found, 1)
    assert summary["APs"] == pytest.approx(1)
    assert np.isnan(summary["APl"])


def test_without_detections_and_without_boxes():
    nothing = [detections("a", [], [])]
    assert coco_numbers([image("a", [SQUARE])], nothing, 1)[0]["AP"] == 0
    assert np.isnan(coco_numbers([image("a", [])], nothing, 1)[0]["AP"])
