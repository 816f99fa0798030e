from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from yolojax.heads.predictions import scores
from yolojax.heads.yolov1 import decode, split
from yolojax.ops.boxes import xyxy_to_cxcywh
from yolojax.ops.nms import nms

GOLDEN = Path(__file__).parents[1] / "golden"
NETWORKS = {"v1_narrow": (3, 3), "v1tiny_narrow": (3, 2), "v1cvpr_narrow": (2, 2)}  # side, boxes


def detections(name):
    """The golden file and our predictions from its last output."""
    golden = np.load(GOLDEN / f"e2e_{name}.npz")
    return golden, decode(jnp.asarray(golden["head_output"]), *NETWORKS[name])


@pytest.mark.parametrize("name", NETWORKS)
def test_decode_equals_darknets_get_network_boxes(name):
    golden, ours = detections(name)
    width, height, threshold, *_ = golden["det_args"]
    pixels = xyxy_to_cxcywh(ours.boxes[0]) * np.array([width, height, width, height])
    np.testing.assert_allclose(pixels, golden["det_abs_boxes"], rtol=1e-6, atol=1e-4)
    np.testing.assert_array_equal(ours.objectness[0], golden["det_abs_obj"])
    ranked = np.asarray(scores(ours)[0])
    ranked = np.where(ranked > threshold, ranked, 0)  # Darknet writes 0 for what is not above it
    np.testing.assert_allclose(ranked, golden["det_abs_prob"], rtol=1e-6)
    assert np.count_nonzero(ranked) > 30


@pytest.mark.parametrize("name", NETWORKS)
def test_decode_then_nms_equals_darknets(name):
    golden, ours = detections(name)
    wanted = golden["det_abs_prob_nms"]
    kept = nms(
        ours.boxes,
        scores(ours),
        iou_threshold=float(golden["det_args"][4]),
        score_threshold=float(golden["det_args"][2]),
        top_k=600,
        max_detections=200,
    )
    box, label = np.nonzero(wanted)
    order = np.argsort(-wanted[box, label])
    assert kept.count[0] == len(order)
    np.testing.assert_allclose(kept.scores[0, : len(order)], wanted[box, label][order], rtol=1e-6)
    np.testing.assert_array_equal(kept.labels[0, : len(order)], label[order])
    np.testing.assert_array_equal(kept.boxes[0, : len(order)], ours.boxes[0][box[order]])


def test_classes_come_first_then_confidences_then_boxes():
    # S = 2, n = 2, C = 3: 12 class scores, 8 confidences, 32 numbers of boxes
    cells = split(jnp.arange(52.0)[None], 2, 2)
    np.testing.assert_array_equal(cells.logits[0, 1, 0], [6, 7, 8])
    np.testing.assert_array_equal(cells.confidence[0, 1, 0], [16, 17])
    np.testing.assert_array_equal(cells.shapes[0, 1, 0], [[36, 37, 38, 39], [40, 41, 42, 43]])


def one_box(x, y, w, h, **options):
    """The decoded box of cell (row 1, column 0) of a 2 x 2 grid with one class."""
    raw = jnp.zeros((1, 24)).at[0, 16:20].set(jnp.array([x, y, w, h]))
    return decode(raw, 2, 1, **options).boxes[0, 2]


def test_sizes_are_squared_whatever_their_sign():
    # centre (.25, 1/2 + .25); a fourth of the image wide and its whole height
    np.testing.assert_allclose(one_box(0.5, 0.5, 0.5, -1), [0.125, 0.25, 0.375, 1.25])


def test_without_square_root_sizes_stand_as_they_are():
    box = one_box(0.5, 0.5, 0.5, 0.5, square_root=False)
    np.testing.assert_allclose(box, [0, 0.5, 0.5, 1])


def test_without_square_root_a_negative_size_is_a_box_without_area():
    """It has x1 <= x2, which evaluation demands."""
    box = one_box(0.5, 0.5, -0.5, 0.5, square_root=False)
    np.testing.assert_allclose(box, [0.25, 0.5, 0.25, 1])


def test_scores_are_linear_but_for_a_softmax():
    raw = jnp.array([[3.0, 3.0, -0.5, 0, 0, 0, 0]])  # two classes, one box, one cell
    np.testing.assert_allclose(scores(decode(raw, 1, 1)), [[[-1.5, -1.5]]])
    np.testing.assert_allclose(scores(decode(raw, 1, 1, class_softmax=True)), [[[-0.25, -0.25]]])


@pytest.mark.parametrize("shape", [(1, 1471), (1, 490), (2, 7, 7, 30), (1470,)])
def test_an_output_that_does_not_fit_the_grid_is_named(shape):
    with pytest.raises(ValueError, match="side S = 7, n = 2 boxes"):
        decode(jnp.zeros(shape), 7, 2)
