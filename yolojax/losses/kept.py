"""What can be seen of a loss at work, whoever wrote it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from yolojax.losses.terms import with_terms


class Kept(NamedTuple):
    """A loss, and what it let be seen."""

    scalar: jax.Array
    found: Any  # its assignment, None where it has shown none
    terms: dict[str, jax.Array]  # [B, ...] each, as `reduce_terms` has got them


def taken_apart(loss: Callable) -> Callable:
    """`loss` as a function (raw, batch, seen) -> Kept, which may be jitted and differentiated.

    A loss that does without `reduce_terms`, or calls it inside a jit, vmap or scan of its own,
    which no term can leave, has no terms.
    """
    watched = with_terms(loss)

    def look(raw, batch, seen) -> Kept:
        if not _comes_out(watched, raw, batch, seen):
            return Kept(loss(raw, batch, seen)[0], None, {})
        scalar, _, kept = watched(raw, batch, seen)
        terms = {name: value for name, value in kept.items() if isinstance(value, jax.Array)}
        return Kept(scalar, kept.get("found"), terms)

    return look


def _comes_out(watched: Callable, *arguments) -> bool:
    """Whether what is kept can be used; what cannot is a tracer among the constants."""

    def kept(*arguments):
        return jax.tree.map(jnp.copy, watched(*arguments)[2])

    try:
        constants = jax.make_jaxpr(kept)(*arguments).consts
    except jax.errors.UnexpectedTracerError:
        return False
    return not any(isinstance(constant, jax.core.Tracer) for constant in constants)
