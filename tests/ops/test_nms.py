from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from yolojax.ops.boxes import cxcywh_to_xyxy, iou
from yolojax.ops.nms import BLOCK, nms, suppress

GOLDEN = Path(__file__).parents[1] / "golden"
LEFT, MIDDLE, RIGHT = [0.0, 0, 1, 1], [0.25, 0, 1.25, 1], [0.5, 0, 1.5, 1]  # IoU .6, .6 and 1/3


def run(boxes, scores, **options):
    """The detections of one image, best first, as pairs (index of the box, class)."""
    defaults = {"iou_threshold": 0.5, "score_threshold": 0.0, "top_k": 10, "max_detections": 5}
    out = nms(jnp.array([boxes]), jnp.array([scores]), **(defaults | options))
    count = int(out.count[0])
    assert out.valid[0].tolist() == [place < count for place in range(out.valid.shape[1])]
    return [
        (boxes.index(box), label)
        for box, label in zip(
            out.boxes[0, :count].tolist(), out.labels[0, :count].tolist(), strict=True
        )
    ]


def test_a_removed_box_removes_nobody():
    # The best takes MIDDLE away; RIGHT overlaps only MIDDLE by more than a half, so it stays.
    assert run([LEFT, MIDDLE, RIGHT], [[0.9], [0.8], [0.7]]) == [(0, 0), (2, 0)]


def test_overlap_equal_to_the_threshold_stays():
    half = [0.0, 0, 1, 0.5]
    assert run([LEFT, half], [[0.9], [0.8]], iou_threshold=0.5) == [(0, 0), (1, 0)]
    assert run([LEFT, half], [[0.9], [0.8]], iou_threshold=0.49) == [(0, 0)]


def test_score_equal_to_the_threshold_goes():
    far = [5.0, 5, 6, 6]
    assert run([LEFT, far], [[0.5], [0.25]], score_threshold=0.25) == [(0, 0)]


def test_a_box_may_be_of_two_classes_unless_class_agnostic():
    scores = [[0.5, 0.9], [0.8, 0.1]]
    assert run([LEFT, MIDDLE], scores) == [(0, 1), (1, 0)]
    assert run([LEFT, RIGHT], scores) == [(0, 1), (1, 0), (0, 0), (1, 1)]
    assert run([LEFT, RIGHT], scores, class_agnostic=True) == [(0, 1), (1, 0)]


def test_equal_scores_rank_by_index():
    assert run([MIDDLE, LEFT], [[0.5], [0.5]]) == [(0, 0)]
    assert run([LEFT, MIDDLE], [[0.5], [0.5]]) == [(0, 0)]


def test_top_k_counts_candidates_before_and_max_detections_after():
    boxes, scores = [LEFT, MIDDLE, [5.0, 5, 6, 6]], [[0.9], [0.8], [0.7]]
    assert run(boxes, scores, top_k=2) == [(0, 0)]
    assert run(boxes, scores, max_detections=2) == [(0, 0), (2, 0)]
    assert run(boxes, scores, max_detections=1) == [(0, 0)]


def test_unused_places_are_blank():
    out = nms(
        jnp.ones((2, 3, 4)),
        jnp.array([[[np.nan]], [[0.0]]]).repeat(3, axis=1),
        iou_threshold=0.5,
        score_threshold=0.1,
        top_k=2,
        max_detections=4,
    )
    assert out.boxes.shape == (2, 4, 4)
    assert not out.valid.any()
    assert not out.boxes.any()
    assert not out.scores.any()
    assert (out.labels == -1).all()
    assert out.count.tolist() == [0, 0]


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"same B and N.*\(1, 3, 4\) and \(1, 2, 5\)"):
        nms(
            jnp.zeros((1, 3, 4)),
            jnp.zeros((1, 2, 5)),
            iou_threshold=0.5,
            score_threshold=0.1,
            top_k=1,
            max_detections=1,
        )
    with pytest.raises(ValueError, match="top_k must be at least 1, got 0"):
        run([LEFT], [[0.5]], top_k=0)


def greedy(boxes, scores, iou_threshold, score_threshold, top_k, max_detections, agnostic):
    """The definition in plain Python: [(box, class)] of one image, best first."""
    candidates = sorted(
        (-score, box, label)
        for (box, label), score in np.ndenumerate(scores)
        if score > score_threshold
    )
    kept = []
    for _, box, label in candidates[:top_k]:
        rivals = [boxes[b] for b, other in kept if agnostic or other == label]
        if all(iou(boxes[box], rival) <= np.float32(iou_threshold) for rival in rivals):
            kept.append((box, label))
    return kept[:max_detections]


EIGHTHS = st.integers(0, 8).map(lambda i: i / 8)
IMAGES = st.tuples(
    hnp.arrays(np.float32, (3, 6, 2, 2), elements=EIGHTHS),
    hnp.arrays(np.float32, (3, 6, 2), elements=EIGHTHS),
)


@settings(deadline=None)
@given(
    images=IMAGES,
    iou_threshold=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    score_threshold=st.sampled_from([0.0, 0.5, 1.0]),
    sizes=st.sampled_from([(12, 12), (5, 3), (20, 15)]),
    agnostic=st.booleans(),
)
def test_a_batch_equals_the_definition(images, iou_threshold, score_threshold, sizes, agnostic):
    boxes, scores = np.sort(images[0], axis=2).reshape(3, 6, 4), images[1]
    thresholds = (iou_threshold, score_threshold)
    out = nms(
        boxes,
        scores,
        iou_threshold=iou_threshold,
        score_threshold=score_threshold,
        top_k=sizes[0],
        max_detections=sizes[1],
        class_agnostic=agnostic,
    )
    for image in range(3):
        expected = greedy(boxes[image], scores[image], *thresholds, *sizes, agnostic)
        count = len(expected)
        assert out.count[image] == count
        assert out.valid[image].tolist() == [True] * count + [False] * (sizes[1] - count)
        index = np.array(expected, int).reshape(-1, 2)
        np.testing.assert_array_equal(out.labels[image, :count], index[:, 1])
        np.testing.assert_array_equal(out.boxes[image, :count], boxes[image, index[:, 0]])
        np.testing.assert_array_equal(
            out.scores[image, :count], scores[image, index[:, 0], index[:, 1]]
        )


def test_equals_darknets_do_nms_sort():
    golden = np.load(GOLDEN / "nms.npz")
    boxes = cxcywh_to_xyxy(golden["boxes"])
    objects = golden["obj"] > 0  # Darknet leaves the others out, and their probabilities alone
    prob = np.where(objects[:, None], golden["prob"], 0)
    out = nms(
        boxes[None],
        prob[None],
        iou_threshold=float(golden["thresh"]),
        score_threshold=0.0,
        top_k=prob.size,
        max_detections=prob.size,
    )
    expected = np.where(objects[:, None], golden["sort_prob"], 0)
    box, label = np.nonzero(expected)
    order = np.argsort(-expected[box, label], kind="stable")
    assert 0 < out.count[0] == len(box) < np.count_nonzero(prob)
    np.testing.assert_array_equal(out.scores[0, : len(box)], expected[box, label][order])
    np.testing.assert_array_equal(out.labels[0, : len(box)], label[order])
    np.testing.assert_array_equal(out.boxes[0, : len(box)], boxes[box[order]])


def test_suppress_equals_darknets_do_nms_obj():
    """By objectness, all classes at once: one group, ranked by objectness."""
    golden = np.load(GOLDEN / "nms.npz")
    order = np.argsort(-golden["obj"], kind="stable")
    boxes = jnp.asarray(cxcywh_to_xyxy(golden["boxes"])[order][None])
    valid = jnp.asarray(golden["obj"][order] > 0)[None]
    keep = suppress(boxes, jnp.zeros(valid.shape, int), valid, float(golden["thresh"]))[0]
    np.testing.assert_array_equal(keep, golden["obj_obj"][order] > 0)
    assert 0 < keep.sum() < valid.sum()


def crowd(count):
    """Boxes [2, count, 4] of sides of 1 to 4 on a board of 16x16, best first, and groups of 3."""
    key = np.random.default_rng(0)
    corner = key.integers(0, 16, (2, count, 2))
    boxes = np.concatenate([corner, corner + key.integers(1, 5, corner.shape)], axis=-1)
    return jnp.asarray(boxes, jnp.float32), jnp.asarray(key.integers(0, 3, (2, count)))


@pytest.mark.parametrize("count", [0, 1, BLOCK, BLOCK + 1, 3 * BLOCK - 5])
def test_suppression_in_blocks_equals_a_loop_over_ranks(count):
    boxes, groups = crowd(count)
    valid = jnp.arange(count) < jnp.array([[count], [count // 2]])
    keep = jax.jit(suppress)(boxes, groups, valid, 0.3)
    overlap = np.asarray(iou(boxes[:, :, None], boxes[:, None])) > np.float32(0.3)
    keep, groups, valid = jax.device_get((keep, groups, valid))
    for image in range(2):
        expected = []
        for rank in np.flatnonzero(valid[image]):
            same = [r for r in expected if groups[image, r] == groups[image, rank]]
            if not overlap[image, rank, same].any():
                expected.append(rank)
        assert np.flatnonzero(keep[image]).tolist() == expected


def test_the_first_kept_boxes_are_right_with_enough():
    boxes, groups = crowd(3 * BLOCK)
    valid = jnp.ones(groups.shape, bool).at[1, 20:].set(False)  # the second image is soon done
    whole = jax.device_get(suppress(boxes, groups, valid, 0.3))
    assert whole[0, BLOCK:].any()
    for enough in (1, 30, int(whole[0].sum())):
        keep = suppress(boxes, groups, valid, 0.3, enough=enough)
        for image in range(2):
            first, expected = (np.flatnonzero(k[image])[:enough].tolist() for k in (keep, whole))
            assert first == expected
