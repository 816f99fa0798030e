"""Read the costs in the text of a compiled TPU program.

Cycles are the compiler's "estimated_cycles". Three kinds of operations have none:
select-and-scatter (XLA's gradient of a max-pool), collectives, and pure memory movement.
"""

import math
import re
from collections import Counter
from typing import NamedTuple

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
WIDTHS = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2} | {
    f"{sign}{bits}": bits // 8 for sign in "suf" for bits in (32, 64)
}  # element type -> bytes; tokens and types of less than a byte are not counted

_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_LINE = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*?[\]})]) ([a-z][\w\-]*)\((.*)$")
_ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
_CYCLES = re.compile(r'"estimated_cycles":"?(\d+)')
_TRIPS = re.compile(r'"known_trip_count":\{"n":"?(\d+)')
_CALLS = re.compile(r"\b(?:calls|body|condition)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"\b(?:branch_computations=\{([^}]*)\}|(?:true|false)_computation=([^,]*))")


class Operation(NamedTuple):
    """One line of a program."""

    name: str
    shape: str  # as in HLO; a tuple has brackets
    kind: str  # fusion, all-reduce, while, ...
    rest: str  # operands and attributes


class Collective(NamedTuple):
    """The collectives of one kind over groups of one size."""

    kind: str  # of COLLECTIVES
    group: int  # devices that take part in one
    count: int  # in one run of the program
    bytes: int  # of all arrays that are summed, gathered, scattered or moved


class Costs(NamedTuple):
    """Costs of one run of a program, per device."""

    cycles: int  # estimated; loop bodies times their trip counts
    cycles_once: int  # the same with every loop body counted once
    scatter_bytes: int  # read and written by select-and-scatter, which has no estimate
    open_loops: int  # loops of unknown length, counted once
    collectives: tuple[Collective, ...]


def read_costs(text: str, devices: int) -> Costs:
    """Read the costs from `text`, the HLO of a program compiled for `devices`."""
    computations, entry = parse(text)
    runs, once = Counter(), Counter()
    _count_runs(computations, entry, 1, runs)
    _count_runs(computations, entry, 1, once, loops=False)
    shapes = {op.name: op.shape for ops in computations.values() for op in ops}
    cycles = cycles_once = scatter = loops = 0
    collectives = Counter()
    for name, times in runs.items():
        for op in computations[name]:
            estimate = int(found[1]) if (found := _CYCLES.search(op.rest)) else 0
            cycles, cycles_once = cycles + estimate * times, cycles_once + estimate * once[name]
            loops += op.kind == "while" and trips(op, computations) is None
            if op.kind == "select-and-scatter":
                scatter += times * _touched(op, shapes)
            kind = op.kind.removesuffix("-start")
            if kind in COLLECTIVES:
                group = group_size(op.rest, devices)
                collectives[kind, group, "count"] += times
                collectives[kind, group, "bytes"] += times * payload(op, group)
    kinds = sorted({key[:2] for key in collectives})
    rows = (Collective(*k, collectives[*k, "count"], collectives[*k, "bytes"]) for k in kinds)
    return Costs(cycles, cycles_once, scatter, loops, tuple(rows))


def parse(text: str) -> tuple[dict[str, list[Operation]], str]:
    """Parse HLO into the operations of each computation and the name of the entry computation."""
    computations, entry, current = {}, "", []
    for line in text.splitlines():
        if head := _HEAD.match(line):
            current = computations[head[2]] = []
            entry = head[2] if head[1] else entry
        elif found := _LINE.match(line):
            current.append(Operation(*found.groups()))
    return computations, entry


def _count_runs(computations, name: str, times: int, runs: Counter, *, loops=True) -> None:
    """Add to `runs` how often `name` and the computations it calls run.

    Every branch of a conditional counts; the functions of reductions do not. Without `loops` the
    body of a loop counts once.
    """
    runs[name] += times
    for op in computations[name]:
        if op.kind.endswith(("-done", "-update")):  # they repeat the calls of their -start
            continue
        times_here = times * ((loops and trips(op, computations)) or 1)
        for called in _called(op):
            if called in computations:
                _count_runs(computations, called, times_here, runs, loops=loops)


def trips(op: Operation, computations: dict[str, list[Operation]]) -> int | None:
    """Return the trip count of a loop; None if it depends on the data or `op` is not a loop.

    If the compiler does not state it, it is read from a condition "counter < constant", since the
    counters of `lax.scan` and of our loops go up from 0 by one.
    """
    if op.kind != "while":
        return None
    if found := _TRIPS.search(op.rest):
        return int(found[1])
    condition = computations.get(re.search(r"condition=%?([\w.\-]+)", op.rest)[1], ())
    constants = {o.name: o.rest.split(")")[0] for o in condition if o.kind == "constant"}
    for test in condition:
        if test.kind == "compare" and "direction=LT" in test.rest:
            limit = constants.get(_operands(test)[-1], "")
            return int(limit) if limit.isdecimal() else None
    return None


def _called(op: Operation) -> list[str]:
    branches = ",".join(a or b for a, b in _BRANCHES.findall(op.rest))
    return _CALLS.findall(op.rest) + [n.strip(" %") for n in branches.split(",") if n.strip()]


def size_in_bytes(shape: str) -> int:
    """Bytes of an array or of a whole tuple: "(f32[2,3]{1,0}, bf16[4])" -> 32."""
    return sum(
        WIDTHS.get(element, 0) * math.prod(map(int, filter(None, lengths.split(","))))
        for element, lengths in _ARRAY.findall(shape)
    )


def payload(op: Operation, group: int) -> int:
    """Bytes of the whole arrays that a collective sums, gathers, scatters or moves."""
    total = size_in_bytes(op.shape)
    kind, started = op.kind.removesuffix("-start"), op.kind.endswith("-start")
    if kind == "all-gather" and started:  # (part, whole): the whole is `group` parts
        return total * group // (group + 1)
    if kind == "collective-permute" and started:  # (sent, received, two words)
        return total // 2
    return total * group if kind == "reduce-scatter" else total


def group_size(rest: str, devices: int) -> int:
    """Return the number of devices in a collective with the attributes `rest`.

    The forms of XLA: {{0,1},{2,3}}, [2,4]<=[8] (groups, size) and mesh['data'=8] {'data'}.
    """
    if found := re.search(r"replica_groups=\[\d+,(\d+)\]", rest):
        return int(found[1])
    if found := re.search(r"replica_groups=\{\{([\d,]+)\}", rest):
        return found[1].count(",") + 1
    if found := re.search(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", rest):
        lengths = dict(re.findall(r"'(\w+)'=(\d+)", found[1]))
        return math.prod(int(lengths[axis]) for axis in re.findall(r"'(\w+)'", found[2]))
    return devices


def _touched(op: Operation, shapes: dict[str, str]) -> int:
    """Bytes that an operation reads and writes, without tile padding."""
    return sum(size_in_bytes(shapes.get(n, "")) for n in [*_operands(op), op.name])


def _operands(op: Operation) -> list[str]:
    return re.findall(r"%?([\w.\-]+)", op.rest.split(")")[0])
