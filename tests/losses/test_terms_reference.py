"""The terms beside float64 references from the papers' formulas, and beside public libraries."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from reference import BOX, CLASSES, OBJECTNESS, alpha, aspect

from yolojax.heads.yolov2 import ACTIVATIONS
from yolojax.losses.terms import BOX_TERMS, CLASS_TERMS, OBJECTNESS_TERMS
from yolojax.ops.boxes import cxcywh_to_xyxy

RANGE = {"iou": (0, 1), "giou": (0, 2), "diou": (0, 2), "ciou": (0, 3)}
GAMMAS = (1.0, 2.0, 3.5)
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def box_pairs(count=64):
    """(values, target, boxes, truths), float32 [count, 4]: overlapping, far, and one in another."""
    rng = np.random.default_rng(0)
    truths = np.concatenate([rng.uniform(0, 1, (count, 2)), rng.uniform(0.05, 0.8, (count, 2))], 1)
    near = truths * rng.uniform(0.7, 1.4, (count, 4))
    inside = np.concatenate([truths[:, :2], truths[:, 2:] * rng.uniform(0.2, 0.9, (count, 2))], 1)
    far = np.concatenate([rng.uniform(-1, 2, (count, 2)), rng.uniform(0.01, 1, (count, 2))], 1)
    boxes = np.where(np.arange(count)[:, None] % 3 == 0, near, far)
    boxes = np.where(np.arange(count)[:, None] % 3 == 1, inside, boxes)
    values, target = rng.normal(0, 1.5, (2, count, 4))
    return [array.astype(np.float32) for array in (values, target, boxes, truths)]


@pytest.mark.parametrize("name", BOX_TERMS)
def test_a_box_term_equals_its_formula(name):
    pairs = box_pairs()
    wanted = [BOX[name](*map(np.float64, row)) for row in zip(*pairs, strict=True)]
    np.testing.assert_allclose(BOX_TERMS[name](*pairs), wanted, **CLOSE)


@pytest.mark.parametrize("name", BOX_TERMS)
def test_a_box_term_has_its_minimum_0_at_the_target(name):
    values, target, boxes, truths = box_pairs()
    np.testing.assert_allclose(BOX_TERMS[name](target, target, truths, truths), 0, atol=1e-6)
    low, high = RANGE.get(name, (0, np.inf))
    costs = BOX_TERMS[name](values, target, boxes, truths)
    assert ((costs >= low) & (costs <= high)).all()


def test_ciou_s_alpha_is_a_constant_of_the_gradient():
    """Zheng et al. 2020, code of the authors: alpha is computed without gradient."""
    values, target, boxes, truths = (array[:8] for array in box_pairs())
    both = {name: slope_of(name, values, target, boxes, truths) for name in ("ciou", "diou")}
    for row, (box, truth) in enumerate(zip(boxes.astype(float), truths.astype(float), strict=True)):
        held = alpha(box, truth)
        steps = 1e-6 * np.eye(4)
        rise = [aspect(box + step, truth) - aspect(box - step, truth) for step in steps]
        wanted = held * np.array(rise) / 2e-6
        np.testing.assert_allclose(both["ciou"][row] - both["diou"][row], wanted, atol=2e-4)


def slope_of(name, values, target, boxes, truths):
    return jax.grad(lambda b: jnp.sum(BOX_TERMS[name](values, target, b, truths)))(boxes)


def logits_and_targets():
    """float32 [n], with targets of 0 and of 1 among them."""
    logits, targets = np.meshgrid(np.linspace(-8, 8, 17), [0, 0.1, 0.5, 0.83, 1])
    return logits.ravel().astype(np.float32), targets.ravel().astype(np.float32)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("name", OBJECTNESS_TERMS)
def test_an_objectness_term_equals_its_formula(name, gamma):
    logits, targets = logits_and_targets()
    pairs = zip(logits.astype(float), targets.astype(float), strict=True)
    wanted = [OBJECTNESS[name](*pair, gamma) for pair in pairs]
    np.testing.assert_allclose(OBJECTNESS_TERMS[name](logits, targets, gamma), wanted, **CLOSE)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_objectness_terms_equal_optax_s(gamma):
    logits, targets = logits_and_targets()
    np.testing.assert_allclose(
        OBJECTNESS_TERMS["bce"](logits, targets, gamma),
        optax.sigmoid_binary_cross_entropy(logits, targets),
        **CLOSE,
    )
    hard = (targets == 0) | (targets == 1)  # of others optax has another generalisation
    np.testing.assert_allclose(
        OBJECTNESS_TERMS["focal"](logits, targets, gamma)[hard],
        optax.sigmoid_focal_loss(logits, targets, gamma=gamma)[hard],
        **CLOSE,
    )


def test_smooth_l1_equals_optax_s_huber_loss():
    values, target, boxes, truths = box_pairs()
    wanted = optax.huber_loss(values, target, delta=1.0).sum(axis=-1)
    np.testing.assert_allclose(
        BOX_TERMS["smooth_l1"](values, target, boxes, truths), wanted, **CLOSE
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", CLASS_TERMS)
def test_a_class_term_equals_its_formula(name, activation):
    logits, wanted = logits_and_wanted()
    pairs = zip(logits.astype(float), wanted.astype(float), strict=True)
    reference = [CLASSES[name](*pair, activation) for pair in pairs]
    found = CLASS_TERMS[name](logits, wanted, activation).sum(axis=-1)
    np.testing.assert_allclose(found, reference, **CLOSE)


def test_the_cross_entropy_of_smoothed_labels_equals_optax_s():
    logits, wanted = logits_and_wanted()
    found = CLASS_TERMS["cross_entropy"](logits, wanted, "softmax").sum(axis=-1)
    np.testing.assert_allclose(found, optax.softmax_cross_entropy(logits, wanted), **CLOSE)


def logits_and_wanted(count=20, classes=4):
    """float32 [count, classes] both; one-hot, smoothed by a tenth."""
    logits = np.random.default_rng(1).normal(0, 3, (count, classes)).astype(np.float32)
    labels = np.eye(classes, dtype=np.float32)[np.arange(count) % classes]
    return logits, np.asarray(optax.smooth_labels(labels, 0.1))


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("giou", "generalized_box_iou_loss"),
        ("diou", "distance_box_iou_loss"),
        ("ciou", "complete_box_iou_loss"),
    ],
)
def test_box_terms_equal_torchvision_s(name, theirs):
    ops = pytest.importorskip("torchvision").ops
    torch = pytest.importorskip("torch")
    values, target, boxes, truths = box_pairs()
    b, t = (torch.tensor(cxcywh_to_xyxy(a), requires_grad=True) for a in (boxes, truths))
    wanted = getattr(ops, theirs)(b, t)
    np.testing.assert_allclose(
        BOX_TERMS[name](values, target, boxes, truths), wanted.detach(), rtol=1e-4, atol=1e-5
    )
    wanted.sum().backward()
    slopes = jax.vjp(cxcywh_to_xyxy, jnp.asarray(boxes))[1](jnp.asarray(b.grad))[0]
    np.testing.assert_allclose(slope_of(name, values, target, boxes, truths), slopes, atol=1e-3)
