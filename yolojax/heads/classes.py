"""Decode the raw output of a classifier."""

import jax


def decode(raw, *, temperature: float = 1.0):
    """Compute class probabilities [B, C] from logits [B, 1, 1, C] or [B, C] (softmax_layer.c).

    They are the softmax of the logits divided by `temperature`.

    Raises:
        ValueError: as `flat_logits`.
    """
    return jax.nn.softmax(flat_logits(raw) / temperature)


def flat_logits(raw):
    """Return the logits [B, C] of raw [B, 1, 1, C] or [B, C].

    Raises:
        ValueError: raw has another shape, such as a map of several cells.
    """
    if raw.ndim == 2 or (raw.ndim == 4 and raw.shape[1:3] == (1, 1)):
        return raw.reshape(len(raw), -1)
    raise ValueError(
        f"raw must be [B, C] or [B, 1, 1, C], got {raw.shape}; a classifier ends in an average "
        "over all cells ([avgpool]) or in a connected layer."
    )
