"""Format the rows of a check as Markdown tables or JSON."""

from collections.abc import Sequence
from functools import partial

from yolojax.aot.check import Row
from yolojax.aot.roofline import SCATTER_BYTES_PER_CYCLE, adjusted, utilisation
from yolojax.text_table import text_table

MS = 1e3
NOTE = "Estimates of the compiler and arithmetic on them; nothing ran on hardware."
NEEDS = ("topology", "program", "images/chip", "HBM GiB", "of chip", "TFLOP", "GB", "Mcycles")
NEEDS += ("scatter GB", "kcycles/image", "collectives", "their MB")
TIMES = ("topology", "program", "compute", "HBM", "links", "cycles", "bound by")
TIMES += ("images/s/chip", "images/s", "MFU %")
SCALING = ("chips", "images", "ms", "collectives ms", "of the step", "images/s", "efficiency")


def as_text(rows: Sequence[Row]) -> str:
    """Format tables of memory, cost and duration of each program, with notes."""
    table = partial(text_table, align="<<>", markdown=True)
    fitting = [row for row in rows if not row.facts.refused]
    lines = ["Needs of one run on each chip:", "", table(NEEDS, map(needs, rows))]
    if fitting:
        lines += ["", "Milliseconds of one run, and ranges between two estimates:", ""]
        lines.append(table(TIMES, map(durations, fitting)))
    for name in dict.fromkeys(row.program.name for row in fitting):
        same = [row for row in fitting if row.program.name == name]
        if len(same) > 1 and not any(row.facts.costs.open_loops for row in same):
            lines += ["", f"Scaling of {name}, as compiled:", "", table(SCALING, scaling(same))]
    return "\n".join([*lines, "", *notes(rows)])


def notes(rows: Sequence[Row]) -> list[str]:
    """Notes below the tables."""
    lines = [
        f"{NOTE} Mcycles are the compiler's; those of an image and milliseconds have a guess of "
        f"{SCATTER_BYTES_PER_CYCLE} bytes a cycle for select-and-scatter, which it does not "
        "estimate.",
        "Ranges are between as compiled (cycles, then collectives) and roofline (the longest of "
        "compute, HBM and links). Bytes that stay on the chip count as HBM.",
    ]
    if any(row.facts.costs.open_loops for row in rows):
        lines.append(
            "* contains a loop whose length depends on the data; the figures count one iteration."
        )
    return lines


def needs(row: Row) -> list[str]:
    """Cells under NEEDS."""
    facts, chip = row.facts, row.topology.chip
    gib = "?" if row.facts.used is None else f"{row.facts.used / 2**30:.2f}"
    share = "?" if row.facts.used is None else f"{100 * row.facts.used / chip.hbm_bytes:.0f} %"
    start = [row.topology.name, title(row), str(row.program.images), gib, share]
    if facts.refused:
        return [*start, *["does not fit"] + [""] * 6]
    collectives = facts.costs.collectives
    cycles = adjusted(facts.costs.cycles, facts.costs.scatter_bytes)
    return [
        *start,
        f"{facts.flops * facts.loops / 1e12:.3f}",
        f"{facts.bytes_accessed * facts.loops / 1e9:.2f}",
        f"{facts.costs.cycles / 1e6:.1f}",
        f"{facts.costs.scatter_bytes / 1e9:.2f}",
        f"{cycles / row.program.images / 1e3:.1f}",
        ", ".join(f"{c.count} {c.kind}" for c in collectives) or "none",
        f"{sum(c.bytes for c in collectives) / 1e6:.1f}",
    ]


def durations(row: Row) -> list[str]:
    """Cells under TIMES."""
    t, chips = row.times, row.topology.mesh.size
    cells = [f"{MS * seconds:.2f}" for seconds in (t.compute, t.hbm, t.link, t.cycles)]
    cells = [row.topology.name, title(row), *cells]
    if row.facts.costs.open_loops:
        return [*cells, "", "", "", ""]
    slow, fast = sorted(row.program.images / seconds for seconds in (t.compiled, t.best))
    use = sorted(100 * share for share in mfu(row))
    return [
        *cells,
        t.limit,
        f"{slow:.0f} - {fast:.0f}",
        f"{slow * chips:.0f} - {fast * chips:.0f}",
        f"{use[0]:.1f} - {use[1]:.1f}",
    ]


def scaling(rows: Sequence[Row]) -> list[list[str]]:
    """Cells under SCALING, of one program on several topologies; efficiency is to the first's."""
    chips = [row.topology.mesh.size for row in rows]
    rates = [row.program.images / row.times.compiled for row in rows]  # of one chip
    return [
        [
            str(n),
            str(n * row.program.images),
            f"{MS * row.times.compiled:.2f}",
            f"{MS * row.times.link:.2f}",
            f"{100 * row.times.link / row.times.compiled:.1f} %",
            f"{rate * n:.0f}",
            f"{100 * rate / rates[0]:.1f} %",
        ]
        for row, n, rate in zip(rows, chips, rates, strict=True)
    ]


def title(row: Row) -> str:
    """The name of the program, with a star if it has a loop of unknown length."""
    return row.program.name + "*" * bool(row.facts.costs.open_loops)


def mfu(row: Row) -> tuple[float, float]:
    """MFU as compiled and by the roofline."""
    seconds = (row.times.compiled, row.times.best)
    return tuple(utilisation(row.program.model_flops, s, row.peak) for s in seconds)


def as_json(rows: Sequence[Row]) -> dict:
    """All figures as JSON, in bytes, seconds and operations per chip and run."""
    return {"note": NOTE, "rows": [_fields(row) for row in rows]}


def _fields(row: Row) -> dict:
    facts, mesh, chip = row.facts, row.topology.mesh, row.topology.chip
    settings = row.config.optimizer
    about = {
        "topology": row.topology.name,
        "chips": mesh.size,
        "program": row.program.name,
        "images_per_chip": row.program.images,
        "subdivisions": settings.subdivisions,
        "shard_state": row.config.mesh.shard_state,
        "fits": row.fits,
        "refused": facts.refused,
        "hbm_used": row.facts.used,
        "hbm_limit": chip.hbm_bytes,
        "memory": facts.memory,
        "compile_seconds": facts.seconds,
    }
    if facts.refused:
        return about
    t, costs = row.times, facts.costs
    return about | {
        "flops": facts.flops * facts.loops,
        "model_flops": row.program.model_flops,
        "bytes": facts.bytes_accessed * facts.loops,
        "cycles": costs.cycles,
        "scatter_bytes": costs.scatter_bytes,
        "adjusted_cycles": adjusted(costs.cycles, costs.scatter_bytes),
        "open_loops": costs.open_loops,
        "collectives": [c._asdict() for c in costs.collectives],
        "seconds": t._asdict() | {"compiled": t.compiled, "best": t.best},
        "bound_by": t.limit,
        "images_per_second": [row.program.images * mesh.size / s for s in (t.compiled, t.best)],
        "mfu": mfu(row),
    }
