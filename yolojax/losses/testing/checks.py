"""Check a loss, of yolojax or a user's, on a small problem."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from yolojax.losses.testing.derivative import derivatives
from yolojax.losses.testing.problems import Problem

LATE = 10**9  # training images: after every warm-up
LARGE = 50.0  # a logit of a diverging network; exp overflows float32 at 88
SAME = 1e-5  # relative tolerance of float32 sums in another order
DIRECTIONS = 8  # of the central differences
STEPS, LENGTH = 50, 0.1  # of gradient descent on raw with values around 1
GARBAGE = ((0, 0, 0, 0), (0.9, 0.8, 0.1, 0.2), (-7, 3, 5, 9), (0.2, 0.2, 0.6, 0.6))  # xyxy
DEGENERATE = (  # xyxy
    (0.4, 0.4, 0.4, 0.4),  # a point
    (0.0, 0.0, 1.0, 1.0),  # the whole image
    (1.2, -0.4, 1.6, 0.1),  # outside
    (0.7, 0.3, 1.3, 0.5),  # its centre on the right edge
    (0.2, 0.6, 0.5, 0.9),
    (0.2, 0.6, 0.5, 0.9),  # twice the same
)


class Check(NamedTuple):
    """The result of one check."""

    name: str
    passed: bool
    detail: str  # the numbers, or the error


class Trial(NamedTuple):
    """A loss and its problem."""

    loss: Callable
    problem: Problem
    run: Callable  # (raw, batch, seen) -> (scalar, metrics, gradient) on the host
    raws: np.ndarray  # [4, ...], random
    jit: Callable  # jax.jit

    def at(self, raw=None, seen=LATE, **changes):
        """Call `run` with the first of `raws` or `raw`, and with changes of the batch."""
        raw = self.raws[0] if raw is None else raw
        return self.run(raw, self.problem.batch | changes, seen)


def check_loss(
    loss: Callable, problem: Problem, *, compiler_options: dict | None = None
) -> list[Check]:
    """Check a loss on a problem of its head; docs/losses.md lists the checks.

    Args:
        loss: (raw, batch, seen) -> (scalar, {name: scalar}), as `region_loss` makes it.
        problem: from `problems`.
        compiler_options: of jax.jit; compilation takes most of the time.

    A loss that raises fails the check. If it cannot run at all, no other check is made.
    """
    jit = partial(jax.jit, compiler_options=compiler_options)
    program = jit(jax.value_and_grad(loss, has_aux=True))

    def run(raw, batch, seen):
        (scalar, metrics), gradient = program(raw, batch, jnp.int32(seen))
        return jax.device_get((scalar, metrics, gradient))

    raws = np.random.default_rng(0).standard_normal((4, *problem.raw_shape), np.float32)
    trial = Trial(loss, problem, run, raws, jit)
    first = _check("runs under jit", _returns, trial)
    if not first.passed:
        return [first]
    checks = EVERY | (DETECTOR if "boxes" in problem.batch else CLASSIFIER)
    return [first, *(_check(name, check, trial) for name, check in checks.items())]


def _check(name: str, check: Callable, trial: Trial) -> Check:
    try:
        return Check(name, *check(trial))
    except Exception as error:  # a user's code may raise anything
        text = str(error).strip().split("\n")[0]
        return Check(name, False, f"{type(error).__name__}: {text}")


def _returns(trial: Trial):
    """The loss returns a float32 scalar, and a dict of scalars with the scalar as "loss"."""
    scalar, metrics, _ = trial.at()
    if scalar.shape != () or scalar.dtype != np.float32:
        return False, f"the scalar is {scalar.dtype}{scalar.shape}, not float32()"
    wrong = [name for name, value in metrics.items() if np.shape(value) != ()]
    if wrong:
        return False, f"the metric {wrong[0]!r} has the shape {np.shape(metrics[wrong[0]])}, not ()"
    if metrics.get("loss") != scalar:
        return False, f'the metric "loss" is {metrics.get("loss")}, the scalar {scalar}'
    return True, f"a scalar and the metrics {', '.join(metrics)}"


def _finite(trial: Trial, change: Callable):
    """Loss, metrics and gradient are finite with the arguments `change` of `Trial.at`."""
    scalar, metrics, gradient = trial.at(**change(trial.raws[0], trial.problem.batch))
    numbers = {"the loss": scalar, "the gradient": gradient, **metrics}
    wrong = [name for name, value in numbers.items() if not np.isfinite(value).all()]
    if wrong:
        return False, f"not finite: {', '.join(wrong)}"
    return True, f"{scalar:.4g}, gradient {np.linalg.norm(gradient):.4g}"


def _repeats(trial: Trial):
    """Two calls with equal input return equal bits."""
    (first, _, slope), (second, _, again) = trial.at(), trial.at()
    return bool(first == second and (slope == again).all()), f"{first:.9g}, then {second:.9g}"


def _images_in_another_order(trial: Trial):
    batch = {name: value[::-1] for name, value in trial.problem.batch.items()}
    reversed_, _, slope = trial.at(trial.raws[0][::-1], **batch)
    return _same(trial.at(), (reversed_, None, slope[::-1]))


def _derivative(trial: Trial):
    """The gradient equals central differences in float64, with every stop_gradient held."""
    with jax.enable_x64(True):
        raw = jnp.asarray(trial.raws[0], jnp.float64)
        batch = {name: _precise(value) for name, value in trial.problem.batch.items()}
        directions = np.random.default_rng(1).standard_normal((DIRECTIONS, *raw.shape))

        def scalar(raw):
            return trial.loss(raw, batch, jnp.int32(1))[0]  # seen = 1: with every warm-up

        single = jax.eval_shape(scalar, raw).dtype != jnp.float64  # it casts to float32
        step, tolerance = (1e-2, 2e-2) if single else (1e-6, 1e-6)
        measure = trial.jit(lambda raw: derivatives(scalar, raw, directions, step))
        by_rule, measured = jax.device_get(measure(raw))
    gap, size = np.abs(by_rule - measured).max(), np.abs(by_rule).max()
    return bool(gap <= tolerance * size), f"{gap:.1e} from the measured slope of {size:.3g}"


def _precise(value):
    return np.asarray(value, np.float64) if value.dtype == np.float32 else value


def _falls(trial: Trial):
    """Gradient descent decreases the loss."""
    raw = trial.raws[0]
    first, _, slope = trial.at(raw)
    for _ in range(STEPS):
        raw = raw - LENGTH * slope / max(np.linalg.norm(slope), 1e-12)
        last, _, slope = trial.at(raw)
    return bool(last < first), f"{first:.4g} -> {last:.4g} in {STEPS} steps of {LENGTH}"


def _right_answer(trial: Trial):
    """A right answer has a smaller loss than all random ones."""
    right = min(trial.at(raw)[0] for raw in trial.problem.right)
    random = [trial.at(raw)[0] for raw in trial.raws]
    return bool(right < min(random)), f"{right:.4g}; random ones {min(random):.4g} or more"


def _garbage_in_padding(trial: Trial):
    return _same(trial.at(), trial.at(**_padded(trial.problem.batch, 0)))


def _more_padding(trial: Trial):
    """More padding does not change the loss."""
    first, batch = trial.at()[0], trial.problem.batch
    more = trial.jit(trial.loss)(trial.raws[0], batch | _padded(batch, 3), LATE)[0]
    return bool(abs(first - more) <= SAME * abs(first)), f"{first:.7g} and {more:.7g}"


def _padded(batch, more: int):
    """Append `more` padding, and fill all padding with garbage."""
    mask, labels = (np.pad(batch[k], ((0, 0), (0, more))) for k in ("mask", "labels"))
    boxes = np.pad(batch["boxes"], ((0, 0), (0, more), (0, 0)))
    garbage = np.resize(np.array(GARBAGE, np.float32), boxes.shape)
    boxes = np.where(mask[..., None], boxes, garbage)
    return {"boxes": boxes, "labels": np.where(mask, labels, -1), "mask": mask}


def _boxes_in_another_order(trial: Trial):
    reversed_ = {name: trial.problem.batch[name][:, ::-1] for name in ("boxes", "labels", "mask")}
    return _same(trial.at(), trial.at(**reversed_))


def _same(a, b):
    """Compare loss and gradient of two calls, up to rounding."""
    (first, _, slope), (second, _, other) = a, b
    apart = np.abs(slope - other).max()
    passed = abs(first - second) <= SAME * abs(first) and apart <= SAME * np.abs(slope).max()
    return bool(passed), f"{first:.7g} and {second:.7g}, gradients {apart:.1g} apart"


def _no_boxes(batch):
    return {"mask": np.zeros_like(batch["mask"]), "boxes": np.zeros_like(batch["boxes"])}


def _degenerate(batch):
    boxes = np.resize(np.array(DEGENERATE, np.float32), batch["boxes"].shape)
    return {"boxes": boxes, "mask": np.ones_like(batch["mask"])}


EVERY = {
    "finite: random raw": partial(_finite, change=lambda raw, batch: {}),
    "finite: raw of 50": partial(_finite, change=lambda raw, batch: {"raw": LARGE * np.sign(raw)}),
    "finite: raw of 0": partial(_finite, change=lambda raw, batch: {"raw": 0 * raw}),
    "finite: first image": partial(_finite, change=lambda raw, batch: {"seen": 1}),
    "the same again": _repeats,
    "images in another order": _images_in_another_order,
    "gradient": _derivative,
    "gradient descent": _falls,
    "a right answer": _right_answer,
}
DETECTOR = {
    "finite: no boxes": partial(_finite, change=lambda raw, batch: _no_boxes(batch)),
    "finite: degenerate boxes": partial(_finite, change=lambda raw, batch: _degenerate(batch)),
    "garbage in the padding": _garbage_in_padding,
    "more padding": _more_padding,
    "boxes in another order": _boxes_in_another_order,
}
CLASSIFIER = {
    "finite: no labels": partial(
        _finite, change=lambda raw, batch: {"label": np.full_like(batch["label"], -1)}
    ),
}
