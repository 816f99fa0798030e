"""Peak rates and memory of accelerators as their makers publish them, for estimates.

Google: Cloud TPU documentation, "System architecture". NVIDIA: the data sheet of each card, dense
rates without sparsity.
"""

from typing import NamedTuple

GB, TERA = 1e9, 1e12


class Chip(NamedTuple):
    """One device as JAX counts them; on TPU v3 a device is a core, half a chip."""

    name: str  # v5e, h100, ...
    bf16_flops: float  # operations per second of bfloat16 products, accumulated in float32
    f32_flops: float  # of float32 products in XLA's default precision (bf16, TF32)
    hbm_bytes: float
    hbm_bandwidth: float  # bytes per second
    link_bandwidth: float = 0.0  # bytes per second out of a chip, all links; 0: unknown
    clock: float = 0.0  # Hz, of the compiler's cycles; 0: unknown


# TPUs multiply float32 in one pass of bfloat16 by default, so both rates are equal. The clock is
# computed from the rate: 4 units of 128 x 128 on v5e (2 * 4 * 128**2 * 1.5e9 = 197e12).
CHIPS = {
    chip.name: chip
    for chip in (
        Chip("v3", 61.5 * TERA, 61.5 * TERA, 16 * 2**30, 450 * GB, 41 * GB, 0.94e9),
        Chip("v4", 275 * TERA, 275 * TERA, 32 * 2**30, 1228 * GB, 300 * GB, 1.05e9),
        Chip("v5e", 197 * TERA, 197 * TERA, 16 * 2**30, 819 * GB, 200 * GB, 1.5e9),
        Chip("v5p", 459 * TERA, 459 * TERA, 95 * 2**30, 2765 * GB, 600 * GB, 1.75e9),
        Chip("v6e", 918 * TERA, 918 * TERA, 32 * 2**30, 1640 * GB, 448 * GB, 1.75e9),
        Chip("l4", 121 * TERA, 60 * TERA, 24 * GB, 300 * GB),
        Chip("a100-40gb", 312 * TERA, 156 * TERA, 40 * GB, 1555 * GB, 300 * GB),
        Chip("a100-80gb", 312 * TERA, 156 * TERA, 80 * GB, 2039 * GB, 300 * GB),
        Chip("h100", 989 * TERA, 494 * TERA, 80 * GB, 3352 * GB, 450 * GB),
    )
}
KINDS = {  # Device.device_kind -> name
    "TPU v3": "v3",
    "TPU v4": "v4",
    "TPU v5 lite": "v5e",
    "TPU v5e": "v5e",
    "TPU v5": "v5p",
    "TPU v5p": "v5p",
    "TPU v6 lite": "v6e",
    "TPU v6e": "v6e",
    "NVIDIA L4": "l4",
    "NVIDIA A100-SXM4-40GB": "a100-40gb",
    "NVIDIA A100-SXM4-80GB": "a100-80gb",
    "NVIDIA H100 80GB HBM3": "h100",
}


def chip_of(kind: str) -> Chip | None:
    """Return the chip whose Device.device_kind is `kind`, or None if it is unknown."""
    return CHIPS.get(KINDS.get(kind, ""))


def peak_flops(chip: Chip, dtype: str) -> float:
    """Return the peak operations per second for config.model.dtype `dtype`."""
    return chip.bf16_flops if dtype == "bfloat16" else chip.f32_flops
