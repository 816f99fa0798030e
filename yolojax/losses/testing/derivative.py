"""The derivative of a loss, by rule and by differences.

A loss has constants on the way: targets such as the IoU of the box that is predicted now, and which
slot answers for which truth. `jax.lax.stop_gradient` marks them, and they are none of the
derivative's business; so the differences are taken with all of them held where they were.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Literal

# Primitives that stand for a program, and what it is called among their parameters.
CALLS = {"jit": "jaxpr", "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}


def derivatives(function: Callable, x, directions, step: float):
    """The slopes of `function`, [...] -> scalar, at `x` along `directions` [N, ...].

    Returns:
        by rule [N], by central differences of `step` [N].
    """
    program = jax.make_jaxpr(function)(x)
    constants = []

    def note(value):
        constants.append(value)
        return value

    run_with(program, x, note)

    def held(point):
        values = iter(constants)
        return run_with(program, point, lambda value: next(values))

    points = x + step * jnp.concatenate([directions, -directions])
    ahead, behind = jnp.split(jax.lax.map(held, points), 2)
    by_rule = jnp.sum(directions * jax.grad(function)(x), axis=range(1, directions.ndim))
    return by_rule, (ahead - behind) / (2 * step)


def run_with(program: ClosedJaxpr, x, stop: Callable):
    """`program` at `x`, with `stop` in the place of each stop_gradient that is not in a loop."""
    (out,) = _run(program, [x], stop)
    return out


def _run(program: ClosedJaxpr, inputs: list, stop: Callable) -> list:
    jaxpr = program.jaxpr
    values = dict(zip(jaxpr.constvars, program.consts, strict=True))
    values |= zip(jaxpr.invars, inputs, strict=True)

    def read(variables):
        return [v.val if isinstance(v, Literal) else values[v] for v in variables]

    for equation in jaxpr.eqns:
        out = _step(equation, read(equation.invars), stop)
        values |= zip(equation.outvars, out, strict=True)
    return read(jaxpr.outvars)


def _step(equation, inputs: list, stop: Callable) -> list:
    primitive, params = equation.primitive, equation.params
    if primitive.name == "stop_gradient":
        return [stop(*inputs)]
    if primitive.name in CALLS:
        return _run(params[CALLS[primitive.name]], inputs, stop)
    out = primitive.bind(*inputs, **params)
    return out if primitive.multiple_results else [out]
