import pytest
from evaluation_cases import ELSEWHERE, SQUARE, detections, image, random_case

from yolojax.data.class_names import VOC_CLASSES
from yolojax.evaluation.errors import KINDS, error_mix, format_errors, similar_classes
from yolojax.evaluation.matches import overlap

CLASSES = ("cat", "dog", "sofa")  # of VOC: cat and dog are similar, the sofa to neither
SHIFTED = (0, 0, 10, 30)  # IoU 1/3 with SQUARE
EDGE = (0, 0, 10, 20)  # IoU exactly 1/2
FAR = (100, 100, 110, 110)


def kinds(ground_truth, found, classes=CLASSES, **options):
    """{kind: number} over all classes, without the zeros."""
    counts = error_mix(ground_truth, found, classes, **options)["all"]["counts"]
    return {kind: n for kind, n in counts.items() if n}


@pytest.mark.parametrize(
    ("box", "label", "kind"),
    [
        (SQUARE, 0, "correct"),
        (EDGE, 0, "correct"),
        (SHIFTED, 0, "localisation"),
        (SQUARE, 1, "similar"),
        (SHIFTED, 1, "similar"),
        (SQUARE, 2, "other"),
        ((0, 0, 10, 101), 0, "background"),  # IoU 10/101
        (FAR, 0, "background"),
    ],
)
def test_one_detection_of_a_cat(box, label, kind):
    # The boxes of the other classes are far away; with them, detections of all classes count.
    ground_truth = [image("a", [SQUARE, ELSEWHERE, ELSEWHERE], [0, 1, 2])]
    assert kinds(ground_truth, [detections("a", [box], [0.9], [label])]) == {kind: 1}


def test_second_detection_of_a_box_is_a_localisation_error():
    ground_truth = [image("a", [SQUARE, ELSEWHERE])]
    found = [detections("a", [SQUARE, SQUARE], [0.8, 0.9])]
    assert kinds(ground_truth, found) == {"correct": 1, "localisation": 1}


def test_detection_matches_the_unmatched_box_of_largest_iou():
    # Both lie on EDGE with IoU 1/2 or more; the first takes the nearer one, the second the other.
    ground_truth = [image("a", [SQUARE, (0, 0, 10, 19)])]
    found = [detections("a", [EDGE, EDGE], [0.9, 0.8])]
    assert kinds(ground_truth, found) == {"correct": 2}


def test_as_many_detections_as_boxes_are_classified():
    ground_truth = [image("a", [SQUARE]), image("b", [SQUARE], [1])]
    surest = [detections("a", [FAR, SQUARE], [0.9, 0.8]), detections("b", [], [])]
    row = error_mix(ground_truth, surest, CLASSES)["per_class"]["cat"]
    assert (row["objects"], row["detections"], row["background"], row["recall"]) == (1, 1, 1.0, 1.0)


def test_largest_iou_decides_between_similar_and_other():
    ground_truth = [image("a", [SHIFTED, SQUARE, ELSEWHERE], [1, 2, 0])]
    assert kinds(ground_truth, [detections("a", [SQUARE], [0.9], [0])]) == {"other": 1}
    assert kinds(ground_truth, [detections("a", [SHIFTED], [0.9], [0])]) == {"similar": 1}


def test_difficult_boxes_are_not_counted_but_detecting_one_is_correct():
    ground_truth = [image("a", [SQUARE, ELSEWHERE], difficult=[True, False])]
    result = error_mix(ground_truth, [detections("a", [SQUARE, FAR], [0.9, 0.8])], CLASSES)
    assert result["all"]["counts"]["correct"] == result["all"]["objects"] == 1
    assert result["all"]["detections"] == 1
    assert result["all"]["recall"] == 0


def test_the_mean_is_over_classes_with_boxes():
    ground_truth = [image("a", [SQUARE, ELSEWHERE, FAR, SQUARE], [0, 0, 0, 1])]
    found = [detections("a", [SQUARE, ELSEWHERE, FAR, SHIFTED], [0.9] * 4, [0, 0, 0, 1])]
    result = error_mix(ground_truth, found, CLASSES)
    assert result["mean"]["correct"] == result["mean"]["localisation"] == 0.5
    assert result["all"]["correct"] == 0.75
    assert result["per_class"]["sofa"]["correct"] is None


def test_recall_of_all_and_of_confident_detections():
    ground_truth = [image("a", [SQUARE, ELSEWHERE, FAR])]
    row = error_mix(ground_truth, [detections("a", [SQUARE, ELSEWHERE], [0.25, 0.26])], CLASSES)[
        "mean"
    ]
    assert (row["recall"], row["recall_sure"]) == (2 / 3, 1 / 3)


def test_default_groups_are_for_classes_of_voc():
    ground_truth = [image("a", [SQUARE, ELSEWHERE], [0, 1])]
    found = [detections("a", [SQUARE], [0.9], [1])]
    assert kinds(ground_truth, found, ("cat", "dog", "unicorn")) == {"other": 1}
    assert kinds(ground_truth, found, groups=[("dog", "sofa")]) == {"other": 1}
    assert kinds(ground_truth, found, groups=[("dog", "sofa"), ("dog", "cat")]) == {"similar": 1}
    with pytest.raises(ValueError, match="groups must have names of classes, got 'dgo'"):
        error_mix(ground_truth, found, CLASSES, groups=[("cat", "dgo")])


def test_similar_classes_are_not_transitive():
    groups = error_mix([image("a", [SQUARE])], [detections("a", [], [])], VOC_CLASSES)["groups"]
    similar = similar_classes(VOC_CLASSES, groups)
    aeroplane, bird, cat = (VOC_CLASSES.index(name) for name in ("aeroplane", "bird", "cat"))
    assert similar[aeroplane, bird]
    assert similar[bird, cat]
    assert not similar[cat, aeroplane]
    assert (similar == similar.T).all()
    assert not similar[VOC_CLASSES.index("bottle")].any()


def counted_one_by_one(ground_truth, found, label, similar):
    """Count the kinds of one class with loops over all images."""
    rows = [(-d.scores[i], n, i) for n, d in enumerate(found) for i in range(len(d.scores))]
    rows = [row for row in sorted(rows) if found[row[1]].labels[row[2]] == label]
    total = sum((~(t.difficult | t.crowd) & (t.labels == label)).sum() for t in ground_truth)
    taken, counts = set(), dict.fromkeys(KINDS, 0)
    for _, n, i in rows[:total]:
        iou = overlap(found[n].boxes_pixels[i], ground_truth[n].boxes_pixels)[0]
        own = [j for j in range(len(iou)) if ground_truth[n].labels[j] == label]
        free = [j for j in own if iou[j] >= 0.5 and (n, j) not in taken]
        rest = [j for j in range(len(iou)) if j not in own and iou[j] >= 0.1]
        if free:
            kind = "correct"
            taken.add((n, max(free, key=lambda j: iou[j])))
        elif any(iou[j] >= 0.1 for j in own):
            kind = "localisation"
        elif rest:
            nearest = max(rest, key=lambda j: iou[j])
            kind = "similar" if similar[label, ground_truth[n].labels[nearest]] else "other"
        else:
            kind = "background"
        counts[kind] += 1
    return counts


@pytest.mark.parametrize("seed", range(6))
def test_counts_equal_those_of_loops(seed):
    ground_truth, found = random_case(seed, images=30)
    classes, groups = ("a", "b", "c", "d"), [("a", "b")]
    result = error_mix(ground_truth, found, classes, groups=groups)
    similar = similar_classes(classes, groups)
    for label, name in enumerate(classes):
        row = result["per_class"][name]
        assert row["counts"] == counted_one_by_one(ground_truth, found, label, similar)
        assert sum(row["counts"].values()) == row["detections"] <= row["objects"]


def test_lists_must_be_of_the_same_images():
    with pytest.raises(ValueError, match="same images in the same order"):
        error_mix([image("a", [SQUARE])], [detections("b", [], [])], CLASSES)
    with pytest.raises(ValueError, match="at least one, got 0 and 0"):
        error_mix([], [], CLASSES)


def test_the_table_has_a_line_for_each_class_and_two_for_all():
    ground_truth = [image("a", [SQUARE, ELSEWHERE], [0, 1])]
    found = [detections("a", [SQUARE], [0.9])]
    lines = format_errors(error_mix(ground_truth, found, CLASSES)).splitlines()
    assert [line.split()[0] for line in lines] == ["class", *CLASSES, "mean", "all"]
    cells = [" ".join(line.split()) for line in lines]
    assert cells[1] == "cat 100.0 0.0 0.0 0.0 0.0 100.0 100.0 1 1"
    assert cells[2] == "dog - - - - - 0.0 0.0 1 0"
    assert cells[4] == "mean 100.0 0.0 0.0 0.0 0.0 50.0 50.0"


def test_copies_of_all_images_do_not_change_the_shares():
    ground_truth, found = random_case(0, images=40)
    more = [t._replace(image_id=str(i)) for i, t in enumerate(ground_truth * 25)]
    their = [d._replace(image_id=str(i)) for i, d in enumerate(found * 25)]
    once, often = (error_mix(*pair, "abcd") for pair in ((ground_truth, found), (more, their)))
    assert often["all"]["counts"] == {k: 25 * n for k, n in once["all"]["counts"].items()}
    assert often["mean"] == pytest.approx(once["mean"])
