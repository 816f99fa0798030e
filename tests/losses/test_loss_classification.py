import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolojax.losses.classification import classification_loss

EVEN = jnp.zeros((2, 4))


def run(raw, labels, **options):
    total, metrics = jax.jit(classification_loss(**options))(raw, {"label": jnp.array(labels)}, 0)
    assert total == metrics["loss"]
    return {name: float(value) for name, value in metrics.items()}


def test_even_logits_cost_the_logarithm_of_the_classes():
    metrics = run(EVEN, [0, 3])
    assert metrics["loss"] == pytest.approx(np.log(4))
    assert metrics == {"loss": metrics["loss"], "top1": 0.5, "top5": 1.0, "count": 2}


def test_a_map_of_one_cell_is_a_vector():
    raw = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)
    assert run(raw, [1, 2, 6]) == run(raw[:, None, None], [1, 2, 6])


def test_top5_counts_the_five_best_of_more():
    raw = -jnp.arange(7.0)[None].repeat(4, axis=0)  # class k is in place k
    metrics = run(raw, [0, 4, 5, 6])
    assert metrics["top1"] == 0.25
    assert metrics["top5"] == 0.5


@pytest.mark.parametrize("nothing", [-1, 7])
def test_a_label_outside_the_classes_counts_for_nothing(nothing):
    raw = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)
    alone, filled = run(raw[:1], [4]), run(raw, [4, nothing, nothing])
    assert filled == pytest.approx(alone)
    assert run(raw, [nothing] * 3) == {"loss": 0, "top1": 0, "top5": 0, "count": 0}


def test_smoothing_spreads_a_share_of_the_target_evenly():
    raw = jnp.array([[0.3, -1.0, 2.0, 0.1]])
    slope = jax.grad(
        lambda z: classification_loss(label_smoothing=0.2)(z, {"label": jnp.array([2])}, 0)[0]
    )
    wanted = jax.nn.softmax(raw) - jnp.array([[0.05, 0.05, 0.85, 0.05]])
    np.testing.assert_allclose(slope(raw), wanted, atol=1e-6)


@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_smoothing_is_a_share(value):
    with pytest.raises(ValueError, match="label_smoothing must be in"):
        classification_loss(label_smoothing=value)


def test_the_gradient_with_a_temperature_is_darknet_s():
    # softmax_layer.c, backward: probability minus target, not divided by the temperature.
    raw, loss = jnp.log(jnp.array([[1.0, 8.0]])), classification_loss(temperature=3.0)
    batch = {"label": jnp.array([0])}
    gradient, metrics = jax.grad(loss, has_aux=True)(raw, batch, 0)
    np.testing.assert_allclose(gradient, [[1 / 3 - 1, 2 / 3]], rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], np.log(3), rtol=1e-5)
