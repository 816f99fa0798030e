"""Images as networks take them."""

import jax.numpy as jnp


def to_float(image):
    """uint8 [..., 3] -> float32 in 0..1; floats pass."""
    return image.astype(jnp.float32) / 255 if image.dtype == jnp.uint8 else image
