"""Paired differences: known cases, statistical properties and explicit resampling."""

import math

import numpy as np
import pytest
from evaluation_cases import ELSEWHERE, SQUARE, detections, image, random_case

from yolojax.evaluation import average_precision
from yolojax.evaluation.average_precision import VOC07_LEVELS, class_average_precision, match_voc
from yolojax.evaluation.coco import LEVELS, match_coco
from yolojax.evaluation.evaluator import METRICS
from yolojax.evaluation.significance import (
    accuracy_difference,
    bootstrap_interval,
    class_differences,
    paired_difference,
    read_hits,
    read_matches,
)
from yolojax.evaluation.writers import write_hits, write_matches

CLASSES = ("a", "b", "c", "d")  # of random_case; the last has no boxes
MATCHINGS = [(match_voc, None), (match_voc, VOC07_LEVELS), (match_coco, LEVELS)]


def finds(images, missing=()):
    """One box per image, detected in all but those `missing`: AP is the recall."""
    ground_truth = [image(str(i), [SQUARE]) for i in range(images)]
    found = [detections(t.image_id, [SQUARE], [0.9]) for t in ground_truth]
    found = [detections(str(i), [], []) if i in missing else d for i, d in enumerate(found)]
    return match_voc(ground_truth, found, 1)


def worse(found, seed=0):
    """Detections that miss more: some boxes are moved away."""
    draw = np.random.default_rng(seed)
    moved = [np.where(draw.random((len(d.labels), 1)) < 0.4, 300, 0) for d in found]
    return [d._replace(boxes_pixels=d.boxes_pixels + m) for d, m in zip(found, moved, strict=True)]


def test_a_run_does_not_differ_from_itself():
    ground_truth, found = random_case(0, images=20)
    runs = [match_voc(ground_truth, found, 4), match_voc(ground_truth, worse(found), 4)]
    for number in (1, 2):
        same = paired_difference(runs[:number], runs[:number], None, resamples=50)
        assert (same.difference, same.interval, same.above) == (0, [0, 0], 0.5)
        assert not same.beyond_noise


def test_more_detections_everywhere_are_better():
    better = paired_difference([finds(60)], [finds(60, range(0, 60, 3))], None)
    assert (better.ours, better.theirs) == (1, pytest.approx(2 / 3))
    assert better.interval[0] > 0.2
    assert better.interval[1] < 0.5
    assert better.beyond_noise
    assert better.above == 1
    turned = paired_difference([finds(60, range(0, 60, 3))], [finds(60)], None)
    assert turned.interval == [-x for x in better.interval[::-1]]
    assert turned.beyond_noise
    assert turned.above == 0


def test_the_interval_is_that_of_a_difference_of_shares():
    # Of 400 images 200 are found by both, 60 by us alone, 20 by them alone: the difference is .1,
    # its variance (p + q - (p - q)^2) / n with p = .15, q = .05.
    ours, theirs = finds(400, range(260, 400)), finds(400, [*range(200, 260), *range(280, 400)])
    half = 1.96 * math.sqrt((0.2 - 0.01) / 400)
    found = paired_difference([ours], [theirs], None, resamples=4000)
    np.testing.assert_allclose(found.interval, [0.1 - half, 0.1 + half], atol=0.004)
    ours, theirs = np.arange(400) < 260, np.isin(np.arange(400), [*range(200), *range(260, 280)])
    found = accuracy_difference(ours, theirs, resamples=4000)
    assert (found.ours, found.theirs, found.difference) == pytest.approx((0.65, 0.55, 0.1))
    np.testing.assert_allclose(found.interval, [0.1 - half, 0.1 + half], atol=0.004)


def test_pairing_is_narrower_than_two_intervals():
    ground_truth, found = random_case(2, images=40)
    runs = [match_voc(ground_truth, d, 4) for d in (found, worse(found, 1))]
    low, high = paired_difference(runs[:1], runs[1:], None).interval
    alone = [bootstrap_interval(run, None, resamples=1000, seed=0) for run in runs]
    assert high - low < 0.9 * math.hypot(*(high - low for low, high in alone))


@pytest.mark.parametrize("levels", [None, VOC07_LEVELS])
def test_equal_to_evaluating_resampled_images(levels):
    ground_truth, found = random_case(3, images=8)
    ours, theirs = [found, worse(found, 1)], [worse(found, 2)]
    draw, differences = np.random.default_rng(5), []
    for counts in draw.multinomial(8, np.full(8, 1 / 8), size=30):
        chosen = np.repeat(np.arange(8), counts)

        def number(run, chosen=chosen):
            matches = match_voc([ground_truth[i] for i in chosen], [run[i] for i in chosen], 4)
            return np.nanmean(class_average_precision(matches, levels))

        differences.append(np.mean([number(run) for run in ours]) - number(theirs[0]))
    ours, theirs = ([match_voc(ground_truth, run, 4) for run in runs] for runs in (ours, theirs))
    result = paired_difference(ours, theirs, levels, resamples=30, seed=5)
    np.testing.assert_allclose(result.interval, np.percentile(differences, [2.5, 97.5]))
    assert result.above == pytest.approx(np.mean(np.array(differences) > 0))
    assert (result.covers, result.theirs_std) == ("images", None)
    assert result.ours_std == pytest.approx(
        np.std([np.nanmean(class_average_precision(m, levels)) for m in ours], ddof=1)
    )


def test_interval_covers_seeds_if_both_have_several():
    # All or nothing is found, so images change nothing: the interval is Student's, 2 degrees of
    # freedom, of the differences 1, 1, 0.
    every, none = finds(5), finds(5, range(5))
    result = paired_difference([every, every, none], [none] * 3, None, resamples=40_000)
    half = 4.303 * math.sqrt(1 / 3) / math.sqrt(3)
    np.testing.assert_allclose(result.interval, [2 / 3 - half, 2 / 3 + half], atol=0.08)
    assert result.covers == "images and seeds"
    assert not result.beyond_noise


def test_equally_many_seeds_are_paired():
    every, none = finds(5), finds(5, range(5))
    paired = paired_difference([every, none], [every, none], None, resamples=50)
    assert paired.interval == [0, 0]
    crossed = paired_difference([every, none], [none, every], None, resamples=50)
    assert crossed.interval[1] > 1
    unpaired = paired_difference([every, none, none], [every, none], None, resamples=50)
    assert unpaired.interval[1] > 1


def test_class_differences():
    ground_truth, found = random_case(4, images=15)
    runs = [match_voc(ground_truth, d, 4) for d in (found, worse(found))]
    by_class = class_differences(runs[:1], runs[1:], None, CLASSES, resamples=40)
    expected = class_average_precision(runs[0], None)[0] - class_average_precision(runs[1], None)[0]
    np.testing.assert_allclose([d.difference for d in by_class.values()], expected)
    assert by_class["d"].interval is None
    assert not by_class["d"].beyond_noise
    low, high = by_class["a"].interval
    assert low < by_class["a"].difference < high
    overall = paired_difference(runs[:1], runs[1:], None, resamples=40)
    assert overall.difference == pytest.approx(np.nanmean(expected))


def test_accuracy_difference_is_undefined_without_images():
    nothing = accuracy_difference(np.zeros(0, bool), np.zeros(0, bool))
    assert math.isnan(nothing.difference)
    assert nothing.interval is None


def named(*ids):
    return finds(len(ids))._replace(ids=ids)


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        ([named("x", "y", "z")], [named("x", "w", "z")], "id of image 1 is 'y' and 'w'"),
        ([named("x", "y")], [named("x", "y"), named("x", "y", "z")], "image 2 is none and 'z'"),
        ([finds(2)], [finds(3)], "objects of each class of image 2"),
        ([], [finds(2)], "at least one run on each side"),
    ],
)
def test_other_images_are_an_error(ours, theirs, message):
    with pytest.raises(ValueError, match=message):
        paired_difference(ours, theirs, None, resamples=5)
    with pytest.raises(ValueError, match=message):
        class_differences(ours, theirs, None, ["a"], resamples=5)


def test_other_ground_truth_is_an_error():
    ground_truth = [image("0", [SQUARE]), image("1", [SQUARE, ELSEWHERE])]
    other = match_voc(ground_truth, [detections(t.image_id, [], []) for t in ground_truth], 1)
    with pytest.raises(ValueError, match="objects of each class of image 1"):
        paired_difference([finds(2)], [other], None, resamples=5)


@pytest.mark.parametrize("metric", METRICS)
def test_written_matches_give_every_metric(metric, tmp_path):
    ground_truth, found = random_case(5)
    path, ids = tmp_path / "val_matches.npz", [t.image_id for t in ground_truth]
    write_matches(
        path, ids, CLASSES, match_voc(ground_truth, found, 4), match_coco(ground_truth, found, 4)
    )
    matching, levels = METRICS[metric]
    read = read_matches(path, metric)
    assert read.ids == tuple(ids)
    np.testing.assert_array_equal(
        class_average_precision(read, levels),
        class_average_precision(matching(ground_truth, found, 4), levels),
    )


def test_write_and_read_hits(tmp_path):
    path, hits = tmp_path / "val_hits.npz", {"top1": np.array([True, False])}
    write_hits(path, np.arange(2), CLASSES, np.array([3, 1]), hits)
    for read, wrote in zip(read_hits(path, "top1"), (hits["top1"], [3, 1], [0, 1]), strict=True):
        np.testing.assert_array_equal(read, wrote)
    with pytest.raises(ValueError, match="top5"):
        read_hits(path, "top5")


def test_other_files_raise(tmp_path):
    path = tmp_path / "val_matches.npz"
    with pytest.raises(FileNotFoundError, match=r"val_matches\.npz: not found; eval\.py"):
        read_matches(path, "voc10")
    with pytest.raises(ValueError, match="metric must be one of voc07_11pt"):
        read_matches(path, "voc11")
    for content in (b"", b"PK\3\4broken", b"no arrays"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"val_matches\.npz: not written by eval\.py"):
            read_matches(path, "voc10")
    np.savez(path, scores=np.array([{}], object))
    with pytest.raises(ValueError, match="not written"):
        read_matches(path, "voc10")


@pytest.mark.parametrize(("matching", "levels"), MATCHINGS)
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
    low, high = bootstrap_interval(half_of_them_found(400), None, resamples=2000, seed=0)
    assert low == pytest.approx(0.451, abs=0.006)
    assert high == pytest.approx(0.549, abs=0.006)


def test_interval_depends_on_the_seed_only(monkeypatch):
    matches = half_of_them_found(20)
    first = bootstrap_interval(matches, None, resamples=50, seed=3)
    monkeypatch.setattr(average_precision, "CHUNK", 30)
    assert bootstrap_interval(matches, None, resamples=50, seed=3) == first
    assert bootstrap_interval(matches, None, resamples=50, seed=4) != first


def test_resamples_without_boxes_are_left_out():
    # one of two images has a box, detected; a quarter of the resamples miss that image
    ground_truth = [image("a", [SQUARE]), image("b", [])]
    found = [detections("a", [SQUARE], [0.9]), detections("b", [], [])]
    matches = match_voc(ground_truth, found, 1)
    assert bootstrap_interval(matches, None, resamples=40, seed=0) == [1, 1]


def test_nothing_to_resample():
    matches = match_voc([image("a", [])], [detections("a", [], [])], 1)
    assert bootstrap_interval(matches, None, resamples=10, seed=0) is None
