import jax
import numpy as np
import pytest

from yolojax.losses.region import region_loss

ANCHORS = ((1.0, 1.0), (2.0, 1.5))
BATCH = {
    "boxes": np.array([[[0.1, 0.2, 0.4, 0.5], [0.5, 0.5, 0.9, 0.8], [0, 0, 0, 0]]], np.float32),
    "labels": np.array([[0, 2, 0]], np.int32),
    "mask": np.array([[True, True, False]]),
}
RAW = np.random.default_rng(0).normal(size=(1, 3, 3, 16)).astype(np.float32)
LATE = 20000


def run(raw=RAW, seen=LATE, **options):
    return jax.jit(region_loss(anchors=ANCHORS, **options))(raw, BATCH, seen)


def slope(**options):
    gradient = jax.jit(jax.grad(lambda raw: run(raw, **options)[0]))(RAW)
    return np.asarray(gradient).reshape(1, 3, 3, 2, 8)


def test_terms_add_up_to_the_loss():
    loss = region_loss(anchors=ANCHORS)
    scalar, metrics = jax.jit(loss)(RAW, BATCH, 0)
    terms, _, assignment = jax.jit(loss.compute)(RAW, BATCH, 0)
    names = ("coord", "object", "noobject", "class")
    for name in names:
        assert terms[name].shape == (1, 3, 3, 2)
        np.testing.assert_allclose(terms[name].sum(), metrics[f"loss_{name}"], rtol=1e-6)
    np.testing.assert_allclose(sum(terms[name].sum() for name in names), scalar, rtol=1e-6)
    assert assignment.responsible.sum() == 2
    assert run(seen=0)[0] == pytest.approx(float(scalar))


@pytest.mark.parametrize(("ignore", "learning"), [("none", 16), ("prediction", 15), ("prior", 15)])
def test_ignored_positions_have_no_objectness_target(ignore, learning):
    """16 of 18 positions have no assigned box; one of them is near a ground-truth box."""
    raw = np.zeros((1, 3, 3, 2, 8), np.float32)
    raw[..., 2:4] = -3  # small boxes
    near = (0, 1, 0, 1) if ignore == "prediction" else (0, 2, 2, 0)
    batch = {
        "boxes": np.array([[[0.1, 0.2, 0.4, 0.5], [0.55, 0.55, 1, 1]]], np.float32),
        "labels": np.zeros((1, 2), np.int32),
        "mask": np.ones((1, 2), bool),
    }
    if ignore == "prediction":  # this position predicts the first box, which is assigned to another
        raw[0, 1, 0, 1] = [0.75, 0.15, np.log(0.9 / 2), np.log(0.9 / 1.5), 0, 0, 0, 0]
        raw[0, 1, 0, 1, :2] = np.log(raw[0, 1, 0, 1, :2] / (1 - raw[0, 1, 0, 1, :2]))
    loss = region_loss(anchors=ANCHORS, ignore=ignore, ignore_threshold=0.5)
    terms = jax.jit(loss.compute)(raw.reshape(1, 3, 3, 16), batch, LATE).terms
    pushed = np.asarray(terms["noobject"]) > 0
    assert pushed.sum() == learning
    assert pushed[near] == (ignore == "none")


def test_class_weights_multiply_the_gradient():
    plain, heavy = slope(), slope(class_weights=(1.0, 1.0, 3.0))
    at = np.argwhere(np.abs(heavy - plain).sum(axis=-1) > 1e-7)
    assert len(at) == 1  # the position of the one box of class 2
    np.testing.assert_allclose(heavy[..., 5:][tuple(at[0])], 3 * plain[..., 5:][tuple(at[0])])


def test_smoothed_targets_sum_to_one():
    np.testing.assert_allclose(slope(label_smoothing=0.3)[..., 5:].sum(axis=-1), 0, atol=1e-6)
    assert np.abs(slope(label_smoothing=0.3) - slope()).max() > 0.05


def test_sigmoid_classes_are_independent():
    raw = RAW.reshape(1, 3, 3, 2, 8)
    changed = raw.copy()
    changed[..., 5] += 1

    def others(values, activation):
        loss = region_loss(anchors=ANCHORS, class_activation=activation)
        slope = jax.jit(jax.grad(lambda r: loss(r, BATCH, LATE)[0]))
        grad = slope(values.reshape(RAW.shape))
        return np.asarray(grad).reshape(raw.shape)[..., 6:]

    np.testing.assert_allclose(others(raw, "sigmoid"), others(changed, "sigmoid"))
    assert np.abs(others(raw, "softmax") - others(changed, "softmax")).max() > 0.01


def test_only_darknets_terms_have_its_cost():
    def metrics(**options):
        return jax.eval_shape(region_loss(anchors=ANCHORS, **options), RAW, BATCH, LATE)[1]

    assert "darknet_cost" in metrics()
    for other in ({"box_loss": "giou"}, {"objectness_loss": "bce"}, {"class_loss": "squared"}):
        assert "darknet_cost" not in metrics(**other)


def test_focal_of_gamma_0_is_the_cross_entropy():
    bce = slope(objectness_loss="bce", rescore=False)
    np.testing.assert_allclose(
        slope(objectness_loss="focal", focal_gamma=0.0, rescore=False), bce, rtol=1e-5, atol=1e-7
    )
    assert np.abs(slope(objectness_loss="focal", rescore=False) - bce).max() > 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"box_loss": "jiou"}, "config.loss.box_loss is 'jiou'; known: squared"),
        ({"objectness_loss": "hinge"}, "config.loss.objectness_loss"),
        ({"class_loss": "hinge"}, "config.loss.class_loss"),
        ({"assignment": "all"}, "config.loss.assignment"),
        ({"ignore": "all"}, "config.loss.ignore"),
        ({"objectness_loss": "quality_focal", "focal_gamma": 0.5}, "focal_gamma must be 1 or more"),
        ({"objectness_loss": "focal", "focal_gamma": -1.0}, "focal_gamma must be 0 or more"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"class_weights": (1.0,)}, "class_weights must be 3 numbers"),
        ({"class_weights": (1.0, -1.0, 1.0)}, "class_weights must be 3 numbers"),
        ({"tree": (-1, 0, 0), "class_loss": "squared"}, "classes of a tree"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        run(**options)
