import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolojax.ops.anchors import best_ious, count_shapes, kmeans, mean_iou, shape_iou

CENTRES = np.array([[1.0, 1.5], [4.0, 2.0], [5.0, 9.0]])
side = st.floats(0.1, 20)
shape = st.tuples(side, side).map(np.array)


def clusters(spread=0.03, each=50):
    noise = np.random.default_rng(0).normal(1, spread, (each, 3, 2))
    return (CENTRES * noise).reshape(-1, 2)


def test_iou_of_shapes_on_one_centre():
    # 1 x 2 lies inside 2 x 2; 4 x 1 and 1 x 4 share the unit square of 7.
    a, b = np.array([[1.0, 2], [4, 1]]), np.array([[2.0, 2], [1, 4]])
    np.testing.assert_allclose(shape_iou(a, b), [0.5, 1 / 7])


@given(shape, shape, st.floats(0.1, 10))
def test_iou_is_symmetric_and_free_of_units(a, b, unit):
    np.testing.assert_allclose(shape_iou(a, b), shape_iou(b, a))
    np.testing.assert_allclose(shape_iou(unit * a, unit * b), shape_iou(a, b), rtol=1e-9)


def test_best_ious_takes_the_nearest_anchor():
    shapes, anchors = np.array([[1.0, 1], [2, 2]]), ((1.0, 1.0), (2.0, 1.0))
    np.testing.assert_allclose(best_ious(shapes, anchors), [1, 0.5])
    assert mean_iou(shapes, anchors) == 0.75


@pytest.mark.parametrize("update", ["mean", "median"])
def test_kmeans_finds_separate_clusters_small_to_large(update):
    np.testing.assert_allclose(kmeans(clusters(), 3, update=update), CENTRES, rtol=0.03)


def test_one_anchor_is_the_centre_of_all_shapes():
    shapes = np.array([[1.0, 1], [1, 1], [10, 4]])
    np.testing.assert_allclose(kmeans(shapes, 1), [[4, 2]])
    np.testing.assert_allclose(kmeans(shapes, 1, update="median"), [[1, 1]])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(side, side), min_size=1, max_size=6, unique=True))
def test_as_many_anchors_as_shapes_fit_perfectly(shapes):
    shapes = np.array(shapes)
    assert mean_iou(shapes, kmeans(shapes, count_shapes(shapes))) > 1 - 3e-3


def test_shapes_that_differ_by_rounding_count_once():
    shapes = np.array([[1.125, 1.125], [1.1250001, 1.125], [1.1249999, 1.1250001], [2, 1.125]])
    assert count_shapes(shapes) == 2
    with pytest.raises(ValueError, match=r"k must be 1 to 2.*got 3: there are fewer shapes than"):
        kmeans(shapes, 3)


def test_the_seed_decides():
    shapes = np.random.default_rng(1).uniform(0.5, 10, (200, 2))
    runs = [kmeans(shapes, 6, restarts=1, seed=seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_restarts_never_hurt():
    shapes = np.random.default_rng(2).uniform(0.5, 10, (100, 2))
    few, many = (mean_iou(shapes, kmeans(shapes, 5, restarts=n)) for n in (1, 8))
    assert many >= few


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        ([[1, 1], [1, 1]], {"k": 2}, "k must be 1 to 1"),
        ([[1, 1]], {"k": 0}, "got 0"),
        ([[1, 0]], {"k": 1}, "must be positive"),
        ([[1, 1]], {"k": 1, "update": "mode"}, "mean, median; got 'mode'"),
        ([[1, 1]], {"k": 1, "restarts": 0}, "restarts must be 1 or more"),
    ],
)
def test_bad_arguments_are_named(shapes, options, message):
    with pytest.raises(ValueError, match=message):
        kmeans(np.array(shapes, float), **options)
