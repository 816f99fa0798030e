"""Derivatives of a loss, by automatic differentiation and by central differences.

A loss has constants that depend on raw, such as the assignment and an IoU as target, marked by
`jax.lax.stop_gradient`. The differences are computed with the values of all of them held.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Literal

# Primitives that call a program, and the parameter that holds the program.
CALLS = {"jit": "jaxpr", "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}


def derivatives(function: Callable, x, directions, step: float):
    """Compute the slopes of `function`, [...] -> scalar, at `x` along `directions` [N, ...].

    Returns:
        By automatic differentiation [N], and by central differences of `step` [N].
    """
    program = jax.make_jaxpr(function)(x)
    constants = []

    def record(value):
        constants.append(value)
        return value

    run_with(program, x, record)

    def held(point):
        values = iter(constants)
        return run_with(program, point, lambda value: next(values))

    points = x + step * jnp.concatenate([directions, -directions])
    ahead, behind = jnp.split(jax.lax.map(held, points), 2)
    by_rule = jnp.sum(directions * jax.grad(function)(x), axis=range(1, directions.ndim))
    return by_rule, (ahead - behind) / (2 * step)


def run_with(program: ClosedJaxpr, x, stop: Callable):
    """Run `program` at `x`, with `stop` instead of each stop_gradient outside of loops."""
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
