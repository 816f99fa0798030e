"""Estimate the duration of a program on a chip from its costs: roofline and as compiled."""

from collections.abc import Iterable
from typing import NamedTuple

from yolojax.aot.hlo import Collective
from yolojax.distributed.chips import Chip

# A convention, not a measurement: what select-and-scatter reads and writes in a cycle.
SCATTER_BYTES_PER_CYCLE = 240


class Times(NamedTuple):
    """Seconds of one run on every device."""

    compute: float  # operations at the peak rate
    hbm: float  # bytes at the peak bandwidth
    link: float  # collectives at the bandwidth of all links of a chip, latency left out
    cycles: float  # the compiler's estimate plus select-and-scatter; no collectives

    @property
    def best(self) -> float:
        """The roofline: the longest of the three; the others overlap with it."""
        return max(self.compute, self.hbm, self.link)

    @property
    def compiled(self) -> float:
        """The estimated cycles plus the collectives, without overlap."""
        return self.cycles + self.link

    @property
    def limit(self) -> str:
        """What bounds `best`: "compute", "HBM" or "links"."""
        return {self.compute: "compute", self.hbm: "HBM", self.link: "links"}[self.best]


def times(
    chip: Chip,
    peak: float,
    *,
    flops: float,
    bytes_accessed: float,
    cycles: float,
    scatter_bytes: float,
    collectives: Iterable[Collective],
) -> Times:
    """Compute the times of one device; `peak` is its peak operations per second."""
    return Times(
        compute=flops / peak,
        hbm=bytes_accessed / chip.hbm_bandwidth,
        link=sum(map(sent_bytes, collectives)) / chip.link_bandwidth,
        cycles=adjusted(cycles, scatter_bytes) / chip.clock,
    )


def adjusted(cycles: float, scatter_bytes: float) -> float:
    """Add a guess for select-and-scatter to `cycles`, as the compiler does not estimate it."""
    return cycles + scatter_bytes / SCATTER_BYTES_PER_CYCLE


def sent_bytes(collective: Collective) -> float:
    """Bytes that each device of a ring sends in `collective` with the optimal algorithm.

    Of an array of B bytes over n devices: 2 B (n - 1) / n for an all-reduce, half of that for its
    halves, reduce-scatter and all-gather, and for an all-to-all (Thakur, Rabenseifner, Gropp 2005,
    "Optimization of collective communication operations in MPICH"); B for a permutation.
    """
    n, size = collective.group, collective.bytes
    if collective.kind == "collective-permute":
        return size
    return (2 if collective.kind == "all-reduce" else 1) * size * (n - 1) / n


def utilisation(model_flops: float, seconds: float, peak: float) -> float:
    """MFU, model FLOPs utilisation: the share of the peak rate that the network uses.

    Chowdhery et al. 2022 (PaLM), appendix B: recomputation and padding do not count as use.
    """
    return model_flops / (seconds * peak)
