"""Images as the networks expect them."""

import jax.numpy as jnp


def to_float(image):
    """Convert uint8 [..., 3] to float32 in 0..1; floats are returned unchanged."""
    return image.astype(jnp.float32) / 255 if image.dtype == jnp.uint8 else image
