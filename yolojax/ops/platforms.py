"""Functions that have another form on another platform."""

import jax
from jax import lax

# That of the devices, where it is known while a program is traced; jax.jit keeps programs apart.
_PLATFORM = jax.make_user_context(None)


def traced_for(platform: str):
    """A context in which `by_platform` takes the form for `platform` ("cpu", "tpu", "gpu")."""
    return _PLATFORM(platform)


def by_platform(*args, default, **forms):
    """What the form for the platform makes of `args`: one of `forms`, by its name, or `default`.

    Outside of `traced_for` it is lax.platform_dependent, which traces and differentiates all forms,
    for any platform; that takes half as long again as a train step with one form.
    """
    if _PLATFORM.value is None:
        return lax.platform_dependent(*args, default=default, **forms)
    return forms.get(_PLATFORM.value, default)(*args)
