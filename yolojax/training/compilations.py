"""Every compilation of this process, heard as JAX tells of it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from jax import monitoring

EVENT = "/jax/core/compile/backend_compile_duration"


class Compilation(NamedTuple):
    """A program that XLA has made, or has read from the cache on disk."""

    name: str  # jit(train_step)
    seconds: float


@contextmanager
def compilations() -> Iterator[list[Compilation]]:
    """The list of what is compiled from here on to the end of the block; it grows."""
    found: list[Compilation] = []

    def listen(event: str, seconds: float, **about) -> None:
        if event == EVENT:
            found.append(Compilation(str(about.get("fun_name", "unnamed")), seconds))

    monitoring.register_event_duration_secs_listener(listen)
    try:
        yield found
    finally:
        # It may be gone: monitoring.clear_event_listeners takes those of everyone.
        with suppress(AssertionError, ValueError):
            monitoring.unregister_event_duration_listener(listen)


def summed(found: list[Compilation]) -> dict[str, float]:
    """Number and seconds, as the ledger has them; at work at the same time, each counts."""
    seconds = sum(compilation.seconds for compilation in found)
    return {"compilations": len(found), "compile_seconds": round(seconds, 3)}


def late_warning(found: list[Compilation], step: int) -> str:
    """What to say of compilations `found` by `step`, where all had been compiled before."""
    names = ", ".join(dict.fromkeys(compilation.name for compilation in found))
    seconds = sum(compilation.seconds for compilation in found)
    return (
        f"warning: by step {step} {len(found)} more program(s) were compiled during the run, in "
        f"{seconds:.1f} s: {names}. All that a run needs is compiled before its first step; shapes "
        "or types that change from step to step do this, most often in a loss of one's own."
    )
