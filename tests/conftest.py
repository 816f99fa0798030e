"""Eight virtual CPU devices for every test: a mesh of one is its first, a mesh of all is a pod."""

import os

import jax

os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", "")
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
