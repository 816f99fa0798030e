"""All programs of a config on all topologies: compiled or from the cache -> rows of a report."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from yolojax.aot import compiler
from yolojax.aot.compiler import Facts
from yolojax.aot.fitting import need_of, proposals
from yolojax.aot.programs import Program, Size, eval_programs, state_on, train_programs
from yolojax.aot.roofline import Times, times
from yolojax.aot.topologies import Topology
from yolojax.config import Config
from yolojax.distributed.chips import peak_flops
from yolojax.tasks import Task, build


class Row(NamedTuple):
    """One program on one topology; every figure is of one run on each chip."""

    topology: Topology
    program: Program
    config: Config  # with the batch size of this topology
    facts: Facts

    @property
    def fits(self) -> bool:
        """Whether the chip has so much."""
        return not self.facts.refused and self.facts.used <= self.topology.chip.hbm_bytes

    @property
    def peak(self) -> float:
        """Operations a second of a chip at most."""
        return peak_flops(self.topology.chip, self.config.model.dtype)

    @property
    def times(self) -> Times:
        """How long a run takes."""
        facts = self.facts
        return times(
            self.topology.chip,
            self.peak,
            flops=facts.flops * facts.loops,
            bytes_accessed=facts.bytes_accessed * facts.loops,
            cycles=facts.costs.cycles,
            scatter_bytes=facts.costs.scatter_bytes,
            collectives=facts.costs.collectives,
        )


def for_topology(config: Config, topology: Topology, batch_per_device: int | None) -> Config:
    """`config` with `batch_per_device` images for each chip of `topology`, if that is given."""
    if batch_per_device is None:
        return config
    batch = batch_per_device * topology.mesh.size
    return replace(config, optimizer=replace(config.optimizer, batch_size=batch))


def programs_of(
    config: Config, task: Task, topology: Topology, parts: Sequence[str], sizes: Sequence[Size]
) -> Iterator[Program]:
    """Those of training ("train" in `parts`) at each of `sizes`, of evaluation ("eval")."""
    if "train" in parts:
        _check_batch(config, topology)
        yield from train_programs(config, task, topology.mesh, sizes)
    if "eval" in parts:
        yield from eval_programs(config, task, topology.mesh)


def _check_batch(config: Config, topology: Topology) -> None:
    """Raises ValueError unless the chips of `topology` can share every sub-batch equally."""
    batch, chips = config.optimizer.batch_size, topology.mesh.size
    if batch % (chips * config.optimizer.subdivisions):
        raise ValueError(
            f"config.optimizer.batch_size is {batch}, with subdivisions "
            f"{config.optimizer.subdivisions}; the {chips} chips of {topology.name} cannot share "
            "that equally. Give --batch-per-device N, a multiple of the subdivisions."
        )


def check(
    config: Config,
    topology: Topology,
    *,
    parts: Sequence[str],
    sizes: Sequence[Size],
    cache: Path | None,
    force: bool = False,
) -> Iterator[Row]:
    """A row for each program of `config` on `topology`; what is going on is said on stderr.

    With `force` nothing is read from `cache`, the folder of earlier results.
    """
    task = build(config)
    for program in programs_of(config, task, topology, parts, sizes):
        say(f"{topology.name} {program.name}: ", end="")
        lowered = program.lower()
        path = cache and cache / f"{compiler.key_of(lowered, topology.name)}.json"
        facts = None if force else compiler.cached(path)
        if facts is None:
            say("compiling, which may take minutes ... ", end="")
            facts = compiler.compile_for(lowered, topology.mesh.size)
            compiler.keep(path, facts)
            say(f"{facts.seconds:.0f} s")
        else:
            say(f"from the cache (it took {facts.seconds:.0f} s)")
        yield Row(topology, program, config, facts)


def say(text: str, end: str = "\n") -> None:
    """Tell on stderr what is going on."""
    print(text, end=end, file=sys.stderr, flush=True)


def advice(row: Row) -> str:
    """What to do about a program that does not fit, in one paragraph."""
    chip, settings = row.topology.chip, row.config.optimizer
    limit, used = min(chip.hbm_bytes, row.facts.available), row.facts.used
    head = f"{row.program.name} does not fit a chip of {row.topology.name}"
    if used is None:
        return f"{head}: {row.facts.refused}. Try a smaller --batch-per-device."
    head += f": it needs {used / 2**30:.2f} GiB of {limit / 2**30:.2f}"
    if not row.program.name.startswith("train"):
        return f"{head}. Lower config.eval.batch_size ({row.config.eval.batch_size})."
    mesh = row.topology.mesh
    need = need_of(
        state_on(row.config, build(row.config), mesh),
        mesh,
        used=used,
        limit=limit,
        batch=settings.batch_size // mesh.size,
        subdivisions=settings.subdivisions,
    )
    ways = proposals(need) or ["a smaller network or --sizes, or chips with more memory"]
    return f"{head}. Estimates of what would fit: {'; or '.join(ways)}."
