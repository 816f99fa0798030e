"""Compile a program for an absent TPU, and cache what the compiler reports."""

import hashlib
import math
import os
import re
import time
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import jax

from yolojax.aot.hlo import Collective, Costs, read_costs
from yolojax.distributed.xla_flags import tpu_options
from yolojax.files import read_text, write_text
from yolojax.json_files import parse_json, to_json

FORMAT = 2  # of the cached results; results in another format are not read
MEMORY = {  # of jax.stages.Compiled.memory_analysis, in bytes
    "arguments": "argument_size_in_bytes",
    "outputs": "output_size_in_bytes",
    "shared": "alias_size_in_bytes",  # outputs that reuse the memory of arguments
    "temporary": "temp_size_in_bytes",
    "code": "generated_code_size_in_bytes",
    "peak": "peak_memory_in_bytes",
}
_SIZE = r"([\d.]+[KMGT]?)"
REFUSALS = (  # messages of libtpu: (needed, available)
    rf"\({_SIZE}\) exceeds available HBM \({_SIZE}\)",
    rf"Used {_SIZE} of {_SIZE} hbm",  # older versions
)


class Facts(NamedTuple):
    """What the compiler reports about a program, per device and run."""

    seconds: float  # of compilation
    memory: dict[str, int]  # bytes, by the keys of MEMORY; none where refused
    flops: float = 0.0  # loop bodies count once; likewise bytes_accessed
    bytes_accessed: float = 0.0  # of HBM, and partly of on-chip memory
    costs: Costs = Costs(0, 0, 0, 0, ())
    refused: str = ""  # the compiler's reason why it does not fit

    @property
    def loops(self) -> float:
        """Factor on flops and bytes that accounts for repeated loop bodies."""
        once = self.costs.cycles_once
        return self.costs.cycles / once if once else 1.0

    @property
    def used(self) -> float | None:
        """HBM of the program and its arguments, in bytes; None if the compiler does not report it.

        The reported peak can be less than the sum of the parts, since it omits gaps.
        """
        if self.refused:
            return _refusal(self.refused)[0]
        parts = ("arguments", "outputs", "temporary", "code")
        whole = sum(self.memory[part] for part in parts) - self.memory["shared"]
        return max(whole, self.memory["peak"])

    @property
    def available(self) -> float:
        """HBM available to the compiler, in bytes; infinity if it does not report it."""
        return _refusal(self.refused)[1] or math.inf


def _refusal(text: str) -> tuple[float | None, float | None]:
    """ "needs 17.00G of 15.75G" -> both in bytes; None, None of other text."""
    found = re.match(r"needs ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?)", text)
    if found is None:
        return None, None
    units = [1024 ** " KMGT".index(unit or " ") for unit in found.group(2, 4)]
    return float(found[1]) * units[0], float(found[3]) * units[1]


def cache_dir() -> Path | None:
    """Return the folder of cached results; None if caching is off."""
    default = str(Path.home() / ".cache" / "yolojax")
    root = os.environ.get("JAX_COMPILATION_CACHE_DIR", default)
    return Path(root) / "compile" if root else None


def key_of(lowered: jax.stages.Lowered, topology: str) -> str:
    """Return the cache key of a program, topology, compiler version and compiler flags."""
    versions = [metadata.version(name) for name in ("jax", "jaxlib", "libtpu")]
    flags = [os.environ.get(name, "") for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")]
    parts = [FORMAT, lowered.as_text(), topology, versions, flags, tpu_options(os.environ)]
    return hashlib.sha256(to_json(parts).encode()).hexdigest()


def read_cache(path: Path | None) -> Facts | None:
    """Read an earlier result from `path`; None if it is missing or damaged."""
    if path is None or not path.is_file():
        return None
    try:
        fields = parse_json(read_text(path, "a result"), path)
        costs = fields.pop("costs")
        rows = tuple(Collective(*row) for row in costs.pop("collectives"))
        return Facts(**fields, costs=Costs(**costs, collectives=rows))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def write_cache(path: Path | None, facts: Facts) -> None:
    """Write `facts` to `path`, if there is one."""
    if path is not None:
        write_text(path, to_json(facts._asdict() | {"costs": facts.costs._asdict()}, indent=1))


def compile_for(lowered: jax.stages.Lowered, devices: int) -> Facts:
    """Compile a program. If it exceeds the memory of a chip, set `refused`.

    Raises:
        ValueError: the compiler failed otherwise.
    """
    begin = time.monotonic()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise ValueError(f"the TPU compiler failed: {error}") from error
        return Facts(time.monotonic() - begin, {}, refused=reason(str(error)))
    seconds = time.monotonic() - begin
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    return Facts(
        seconds=seconds,
        memory={name: getattr(memory, field) for name, field in MEMORY.items()},
        flops=cost.get("flops", 0.0),
        bytes_accessed=cost.get("bytes accessed", 0.0),
        costs=read_costs(compiled.as_text(), devices),
    )


def reason(error: str) -> str:
    """Extract "needs 17.00G of 15.75G" from a RESOURCE_EXHAUSTED error, or its beginning."""
    for pattern in REFUSALS:
        if found := re.search(pattern, error):
            return f"needs {found[1]} of {found[2]}"
    return " ".join(error.split())[:300]
