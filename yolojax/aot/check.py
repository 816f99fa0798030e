"""Compile the programs of a config for a topology, or read earlier results from the cache."""

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
    """One program on one topology. Figures are per chip and per run of the program."""

    topology: Topology
    program: Program
    config: Config  # with the batch size of this topology
    facts: Facts

    @property
    def fits(self) -> bool:
        """Whether the program fits the memory of the chip."""
        return not self.facts.refused and self.facts.used <= self.topology.chip.hbm_bytes

    @property
    def peak(self) -> float:
        """Peak operations per second of a chip."""
        return peak_flops(self.topology.chip, self.config.model.dtype)

    @property
    def times(self) -> Times:
        """Estimated durations of one run."""
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
    """Return `config` with `batch_per_device` images per chip of `topology`, if it is given."""
    if batch_per_device is None:
        return config
    batch = batch_per_device * topology.mesh.size
    return replace(config, optimizer=replace(config.optimizer, batch_size=batch))


def programs_of(
    config: Config, task: Task, topology: Topology, parts: Sequence[str], sizes: Sequence[Size]
) -> Iterator[Program]:
    """Yield the train step at each of `sizes` ("train" in `parts`) and the evaluation ("eval")."""
    if "train" in parts:
        _check_batch(config, topology)
        yield from train_programs(config, task, topology.mesh, sizes)
    if "eval" in parts:
        yield from eval_programs(config, task, topology.mesh)


def _check_batch(config: Config, topology: Topology) -> None:
    """Raise ValueError unless every sub-batch can be split equally over the chips."""
    batch, chips = config.optimizer.batch_size, topology.mesh.size
    if batch % (chips * config.optimizer.subdivisions):
        raise ValueError(
            f"config.optimizer.batch_size is {batch}, with subdivisions "
            f"{config.optimizer.subdivisions}; it cannot be split equally over the {chips} chips "
            f"of {topology.name}. Give --batch-per-device N, a multiple of the subdivisions."
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
    """Yield a row for each program of `config` on `topology`; progress is printed to stderr.

    `cache` is the folder of earlier results; with `force` they are not read.
    """
    task = build(config)
    for program in programs_of(config, task, topology, parts, sizes):
        say(f"{topology.name} {program.name}: ", end="")
        lowered = program.lower()
        path = cache and cache / f"{compiler.key_of(lowered, topology.name)}.json"
        facts = None if force else compiler.read_cache(path)
        if facts is None:
            say("compiling, which may take minutes ... ", end="")
            facts = compiler.compile_for(lowered, topology.mesh.size)
            compiler.write_cache(path, facts)
            say(f"{facts.seconds:.0f} s")
        else:
            say(f"from the cache (it took {facts.seconds:.0f} s)")
        yield Row(topology, program, config, facts)


def say(text: str, end: str = "\n") -> None:
    """Print progress to stderr."""
    print(text, end=end, file=sys.stderr, flush=True)


def advice(row: Row) -> str:
    """Explain in one paragraph how to make a program fit that does not."""
    chip, settings = row.topology.chip, row.config.optimizer
    limit, used = min(chip.hbm_bytes, row.facts.available), row.facts.used
    head = f"{row.program.name} does not fit the memory of a chip of {row.topology.name}"
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
