"""Defaults of JAX and XLA; flags that the environment sets are kept."""

import os
from collections.abc import Mapping
from pathlib import Path

import jax

# Overlaps collectives with computation (NVIDIA's JAX images set it too).
GPU_FLAGS = {"xla_gpu_enable_latency_hiding_scheduler": "true"}
GPU_VARIABLES = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.9"}  # of the memory; JAX's default is 0.75
# Memory that one operation may take of the 128 MiB on the chip, in KiB; XLA's default is 16 MiB.
# Measured in docs/notes/performance_tpu.md.
TPU_OPTIONS = {"xla_tpu_scoped_vmem_limit_kib": "32768"}
CACHE = Path.home() / ".cache" / "yolojax" / "xla"  # of compiled programs


def set_up() -> None:
    """Set defaults for GPUs and the cache of compiled programs; call before any other use of JAX.

    The cache is in $JAX_COMPILATION_CACHE_DIR, by default in CACHE.
    """
    if Path("/dev/nvidiactl").exists():
        os.environ.update(gpu_defaults(os.environ))
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR", str(CACHE))
    jax.config.update("jax_compilation_cache_dir", folder)
    # By default, programs that compile in less than a second are not cached.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def gpu_defaults(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to set for GPUs that `environment` does not set."""
    flags, given = environment.get("XLA_FLAGS", "").split(), _given(environment, "XLA_FLAGS")
    flags += [f"--{name}={value}" for name, value in GPU_FLAGS.items() if name not in given]
    return {"XLA_FLAGS": " ".join(flags)} | {
        name: value for name, value in GPU_VARIABLES.items() if name not in environment
    }


def tpu_options(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the compiler options of a train step on TPUs that `environment` does not set."""
    given = _given(environment, "XLA_FLAGS", "LIBTPU_INIT_ARGS")
    return {name: value for name, value in TPU_OPTIONS.items() if name not in given}


def _given(environment: Mapping[str, str], *variables: str) -> set[str]:
    """Return the names of the flags in `variables` of `environment`."""
    flags = " ".join(environment.get(variable, "") for variable in variables).split()
    return {flag.lstrip("-").partition("=")[0] for flag in flags}
