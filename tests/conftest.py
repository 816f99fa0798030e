"""Eight virtual CPU devices for every test: a mesh of one is its first, a mesh of all is a pod."""

import ctypes
import gc
import os
import resource
import shutil
import tempfile
from pathlib import Path

import jax
import pytest

MEMORY = 5 * 2**18  # KiB of a worker above which its compiled programs are released

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)


def pytest_configure(config):
    """Share compiled programs between the workers, and with the processes that tests start.

    The first pytest process makes the folder; its workers inherit the variable.
    """
    if not hasattr(config, "workerinput"):
        folder = tempfile.mkdtemp(prefix="yolojax-programs-")
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture(autouse=True, scope="module")
def bounded_memory():
    """Release compiled programs after a module, where they take much memory."""
    yield
    if _resident_kib() > MEMORY:
        jax.clear_caches()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)


def _resident_kib() -> int:
    """Memory of this process; 0 where the system has no /proc."""
    statm = Path("/proc/self/statm")
    pages = int(statm.read_text().split()[1]) if statm.exists() else 0
    return pages * resource.getpagesize() // 1024


def pytest_collection_modifyitems(items):
    """Run the files with the longest tests first, so that both workers end together."""
    items.sort(key=lambda item: not item.path.match("training/*.py"))
