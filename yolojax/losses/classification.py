"""The loss of a classifier (Darknet's softmax_layer.c)."""

import jax
import jax.numpy as jnp

from yolojax.heads.classes import flat_logits
from yolojax.losses.terms import cross_entropy


def classification_loss(*, temperature: float = 1.0, label_smoothing: float = 0.0):
    """Make `loss(raw, batch, seen) -> (scalar, metrics)`, the mean softmax cross-entropy.

    Args:
        temperature: by which the logits are divided before the softmax. The scalar is multiplied by
            it, so that its gradient is Darknet's: probability minus target.
        label_smoothing: share of the target that is spread over all classes (Szegedy et al. 2015,
            section 7); Darknet's is 0.

    `loss` takes raw [B, C] or [B, 1, 1, C], the logits; a batch with label int32 [B]; and `seen`,
    which is not used. Images with a label outside 0..C-1, such as the -1 of padding, are left out.
    The metrics are scalars:

    * loss: the loss that Darknet prints, averaged over the labels;
    * top1, top5: the share of labels among the one or five (at most all) largest logits;
    * count: the number of labels.

    Raises:
        ValueError: label_smoothing is not in 0..1, 1 excluded.
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must be in 0..1, 1 excluded, got {label_smoothing}.")

    def loss(raw, batch, seen):
        logits, labels = flat_logits(raw) / temperature, batch["label"]
        classes = logits.shape[-1]
        mask = (labels >= 0) & (labels < classes)
        count = jnp.sum(mask)

        def mean(values):
            return jnp.sum(jnp.where(mask, values, 0)) / jnp.maximum(count, 1)

        spread = -jnp.mean(jax.nn.log_softmax(logits), axis=-1)
        cost = cross_entropy(logits, labels, 1 - label_smoothing)
        total = mean(cost + label_smoothing * spread)
        ranked = jax.lax.top_k(logits, min(5, classes))[1] == labels[:, None]
        metrics = {
            "loss": total,
            "top1": mean(ranked[:, 0]),
            "top5": mean(ranked.any(axis=-1)),
            "count": count,
        }
        return temperature * total, jax.lax.stop_gradient(metrics)

    return loss
