"""All losses pass all checks, and each check fails for a loss that violates it."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolojax.heads.yolov2 import ACTIVATIONS, LOCATIONS
from yolojax.losses.classification import classification_loss
from yolojax.losses.matcher import ASSIGNMENTS
from yolojax.losses.region import region_loss
from yolojax.losses.targets import IGNORES
from yolojax.losses.terms import BOX_TERMS, CLASS_TERMS, OBJECTNESS_TERMS
from yolojax.losses.testing.checks import check_loss
from yolojax.losses.testing.problems import ANCHORS, classes_problem, region_problem, yolov1_problem
from yolojax.losses.tree_classification import tree_classification_loss
from yolojax.losses.yolov1 import yolov1_loss

# Options that compile faster.
QUICK = {"xla_backend_optimization_level": 0}
if jax.__version_info__ < (0, 12):  # later versions have no such option
    QUICK["xla_cpu_use_fusion_emitters"] = False
TREE = (-1, -1, 0, 0)
VARIANTS = {  # of region_loss
    "box_loss": BOX_TERMS,
    "objectness_loss": OBJECTNESS_TERMS,
    "class_loss": CLASS_TERMS,
    "assignment": ASSIGNMENTS,
    "ignore": IGNORES,
    "rescore": (True, False),
    "small_box_weight": (True, False),
    "label_smoothing": (0.0, 0.1),
    "class_weights": ((), (0.5, 1.0, 2.0)),
    "class_activation": ACTIVATIONS,
    "location": LOCATIONS,
}
COMBINATIONS = 20
FAST = 6  # of them; the others repeat single variants and take minutes


def single():
    """Yield each variant that is not the default."""
    parameters = inspect.signature(region_loss).parameters
    for name, values in VARIANTS.items():
        yield from ({name: value} for value in values if value != parameters[name].default)


def combined():
    """Yield a fixed sample of all combinations."""
    draw = np.random.default_rng(0).integers
    for index in range(COMBINATIONS):
        options = {name: list(values) for name, values in VARIANTS.items()}
        chosen = {name: values[draw(len(values))] for name, values in options.items()}
        yield pytest.param(chosen, marks=[pytest.mark.slow] if index >= FAST else [])


def name_of(options):
    return "-".join(str(value) for value in options.values()) or "defaults"


def broken(loss, problem):
    """Return the checks that fail."""
    return [
        check for check in check_loss(loss, problem, compiler_options=QUICK) if not check.passed
    ]


@pytest.mark.parametrize("options", [{}, *single(), *combined()], ids=name_of)
def test_every_variant_of_the_region_loss(options):
    problem = region_problem(location=options.get("location", "sigmoid"))
    assert broken(region_loss(anchors=ANCHORS, **options), problem) == []


@pytest.mark.parametrize("semantics", ["paper", "darknet9000", "darknet"])
def test_the_region_loss_of_a_tree(semantics):
    """The second image has a label alone."""
    loss = region_loss(anchors=ANCHORS, tree=TREE, image_semantics=semantics)
    problem = region_problem(classes=len(TREE), tree=TREE)
    mask = problem.batch["mask"] & np.array([[True], [False]])
    batch = problem.batch | {"mask": mask, "label": np.array([-1, 3], np.int32)}
    assert broken(loss, problem._replace(batch=batch)) == []


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"square_root": False, "class_softmax": True},
        {"semantics": "paper", "rescore": False},
    ],
    ids=name_of,
)
def test_the_yolov1_loss(options):
    shape = {k: v for k, v in options.items() if k in ("square_root", "class_softmax")}
    assert broken(yolov1_loss(side=3, boxes=2, **options), yolov1_problem(**shape)) == []


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_losses_of_classifiers(smoothing):
    flat = classification_loss(label_smoothing=smoothing)
    tree = tree_classification_loss(tree=TREE, label_smoothing=smoothing)
    assert broken(flat, classes_problem()) == []
    assert broken(tree, classes_problem(classes=len(TREE), tree=TREE)) == []


def plain(raw, batch, seen):
    """A loss that passes all checks, with its minimum at raw = 0."""
    total = 0.5 * jnp.sum(raw**2)
    return total, {"loss": total}


def plain_and(term):
    def loss(raw, batch, seen):
        total = plain(raw, batch, seen)[0] + term(raw, batch["boxes"], batch["mask"])
        return total, {"loss": total}

    return loss


@jax.custom_jvp
def steeper(x):
    return x


steeper.defjvp(lambda primals, tangents: (*primals, 1.01 * tangents[0]))
calls = iter(range(10**6))

BREAKS = [  # a violation, and the checks that must fail
    (lambda raw, boxes, mask: jnp.sum(steeper(raw)), {"gradient"}),
    (lambda raw, boxes, mask: jnp.sum(jnp.exp(2 * raw)), {"finite: raw of 50"}),
    (lambda raw, boxes, mask: jnp.sqrt(jnp.sum(raw**2)), {"finite: raw of 0"}),
    (lambda raw, boxes, mask: jnp.sum(raw[0]), {"images in another order"}),
    (lambda raw, boxes, mask: jnp.sum(boxes) / jnp.sum(mask), {"finite: no boxes"}),
    (lambda raw, boxes, mask: jnp.mean(mask), {"more padding"}),
    (lambda raw, boxes, mask: jnp.sum(boxes[:, 0]), {"boxes in another order"}),
    (lambda raw, boxes, mask: jnp.sum(boxes) ** 2, {"garbage in the padding", "more padding"}),
    (
        lambda raw, boxes, mask: jnp.sum(
            jnp.where(mask, jnp.log(jnp.where(mask, boxes[..., 2] - boxes[..., 0], 1)), 0)
        ),
        {"finite: degenerate boxes"},
    ),
    (
        lambda raw, boxes, mask: -0.9 * jax.lax.stop_gradient(jnp.sum(raw**2)),
        {"gradient descent", "a right answer"},
    ),
    (
        lambda raw, boxes, mask: jax.lax.stop_gradient(
            jax.pure_callback(lambda: np.float32(next(calls)), jax.ShapeDtypeStruct((), np.float32))
        ),
        {"the same again"},
    ),
]


@pytest.mark.parametrize(("term", "found"), BREAKS)
def test_each_check_finds_its_violation(term, found):
    problem = yolov1_problem()._replace(right=np.zeros((1, *yolov1_problem().raw_shape)))
    assert broken(plain, problem) == []
    assert found <= {check.name for check in broken(plain_and(term), problem)}


@pytest.mark.parametrize(
    ("returned", "detail"),
    [
        (lambda raw: (jnp.sum(raw), {}), 'the metric "loss" is None'),
        (lambda raw: (raw.sum(), {"loss": raw.sum(), "x": raw}), "the metric 'x' has the shape"),
        (lambda raw: (raw.sum(axis=1), {}), "Gradient only defined for scalar-output"),
        (lambda raw: raw.sum(), "TypeError"),
        (lambda raw: (float(raw.sum()), {}), "ConcretizationTypeError"),
    ],
)
def test_a_wrong_return_value_ends_the_checks(returned, detail):
    (check,) = broken(lambda raw, batch, seen: returned(raw), classes_problem())
    assert check.name == "runs under jit"
    assert detail in check.detail


def test_a_float32_loss_has_a_larger_tolerance():
    def loss(raw, batch, seen):
        total = jnp.sum(raw.astype(jnp.float32) ** 4)
        return total, {"loss": total}

    assert [check.name for check in broken(loss, classes_problem())] == ["a right answer"]


@pytest.mark.parametrize("location", LOCATIONS)
def test_the_right_answer_of_the_region_problem_is_right(location):
    problem = region_problem(location=location)
    loss = jax.jit(region_loss(anchors=ANCHORS, location=location), compiler_options=QUICK)
    _, metrics = loss(problem.right[-3], problem.batch, 10**9)
    assert metrics["count"] == 3
    assert metrics["avg_iou"] == pytest.approx(1, abs=1e-5)
    assert metrics["class_prob"] > 0.999
    assert metrics["loss"] < 1e-6
