import jax
import numpy as np
import pytest

from yolojax.losses.region import region_loss
from yolojax.losses.terms import with_terms

ANCHORS = ((1.0, 1.0), (2.0, 1.5))
BATCH = {
    "boxes": np.array([[[0.1, 0.2, 0.4, 0.5], [0.5, 0.5, 0.9, 0.8], [0, 0, 0, 0]]], np.float32),
    "labels": np.array([[0, 2, 0]], np.int32),
    "mask": np.array([[True, True, False]]),
}
RAW = np.random.default_rng(0).normal(size=(1, 3, 3, 16)).astype(np.float32)
LATE = 20000


def run(raw=RAW, seen=LATE, **options):
    return region_loss(anchors=ANCHORS, **options)(raw, BATCH, seen)


def slope(**options):
    return np.asarray(jax.grad(lambda raw: run(raw, **options)[0])(RAW)).reshape(1, 3, 3, 2, 8)


def test_what_is_kept_adds_up_to_the_terms():
    scalar, metrics, kept = jax.jit(with_terms(region_loss(anchors=ANCHORS)))(RAW, BATCH, 0)
    names = ("coord", "object", "noobject", "class")
    for name in names:
        assert kept[name].shape == (1, 3, 3, 2)
        np.testing.assert_allclose(kept[name].sum(), metrics[f"loss_{name}"], rtol=1e-6)
    np.testing.assert_allclose(sum(kept[name].sum() for name in names), scalar, rtol=1e-6)
    assert kept["found"].responsible.sum() == 2
    assert run(seen=0)[0] == pytest.approx(float(scalar))


def test_nothing_is_kept_of_other_losses():
    *_, kept = with_terms(lambda raw, batch, seen: (raw.sum(), {}))(RAW, BATCH, 0)
    assert kept == {}


@pytest.mark.parametrize(("ignore", "learning"), [("none", 16), ("prediction", 15), ("prior", 15)])
def test_ignored_slots_learn_no_objectness(ignore, learning):
    """All but two of 18 slots are drawn to 0, and of these one is near a truth."""
    raw = np.zeros((1, 3, 3, 2, 8), np.float32)
    raw[..., 2:4] = -3  # small boxes
    near = (0, 1, 0, 1) if ignore == "prediction" else (0, 2, 2, 0)
    batch = {
        "boxes": np.array([[[0.1, 0.2, 0.4, 0.5], [0.55, 0.55, 1, 1]]], np.float32),
        "labels": np.zeros((1, 2), np.int32),
        "mask": np.ones((1, 2), bool),
    }
    if ignore == "prediction":  # this slot predicts the first truth, and another answers for it
        raw[0, 1, 0, 1] = [0.75, 0.15, np.log(0.9 / 2), np.log(0.9 / 1.5), 0, 0, 0, 0]
        raw[0, 1, 0, 1, :2] = np.log(raw[0, 1, 0, 1, :2] / (1 - raw[0, 1, 0, 1, :2]))
    loss = region_loss(anchors=ANCHORS, ignore=ignore, ignore_threshold=0.5)
    *_, kept = with_terms(loss)(raw.reshape(1, 3, 3, 16), batch, LATE)
    learnt = np.asarray(kept["noobject"]) > 0
    assert learnt.sum() == learning
    assert learnt[near] == (ignore == "none")


def test_a_class_weighs_as_much_as_it_is_given():
    plain, heavy = slope(), slope(class_weights=(1.0, 1.0, 3.0))
    at = np.argwhere(np.abs(heavy - plain).sum(axis=-1) > 1e-7)
    assert len(at) == 1  # the slot of the one truth of class 2
    np.testing.assert_allclose(heavy[..., 5:][tuple(at[0])], 3 * plain[..., 5:][tuple(at[0])])


def test_smoothed_labels_want_less_than_all():
    np.testing.assert_allclose(
        slope(label_smoothing=0.3)[..., 5:].sum(axis=-1), 0, atol=1e-6
    )  # wants still add up to 1
    assert np.abs(slope(label_smoothing=0.3) - slope()).max() > 0.05


def test_classes_by_themselves_learn_without_one_another():
    raw = RAW.reshape(1, 3, 3, 2, 8)
    changed = raw.copy()
    changed[..., 5] += 1

    def others(values, activation):
        loss = region_loss(anchors=ANCHORS, class_activation=activation)
        grad = jax.grad(lambda r: loss(r, BATCH, LATE)[0])(values.reshape(RAW.shape))
        return np.asarray(grad).reshape(raw.shape)[..., 6:]

    np.testing.assert_allclose(others(raw, "sigmoid"), others(changed, "sigmoid"))
    assert np.abs(others(raw, "softmax") - others(changed, "softmax")).max() > 0.01


def test_darknets_cost_is_told_only_of_darknets_terms():
    assert "darknet_cost" in run()[1]
    for other in ({"box_loss": "giou"}, {"objectness_loss": "bce"}, {"class_loss": "squared"}):
        assert "darknet_cost" not in run(**other)[1]


def test_gamma_of_none_is_the_cross_entropy():
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
