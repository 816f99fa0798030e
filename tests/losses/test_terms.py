import jax
import jax.numpy as jnp
import numpy as np

from yolojax.losses.terms import (
    LossTerms,
    Square,
    SumOfTerms,
    cross_entropy,
    darknet_cost,
    squared_error,
    terms_of,
)


def test_squared_error_and_its_derivative():
    value, slope = jax.value_and_grad(squared_error)(1.0, 4.0, 2.0)
    assert value == 9.0  # 2 * 3**2 / 2
    assert slope == -6.0  # 2 * (1 - 4)


def test_squared_error_of_weight_zero_is_zero_however_far_the_value():
    value, slope = jax.value_and_grad(squared_error)(1e30, 0.0, 0.0)
    assert value == 0
    assert slope == 0


def test_cross_entropy_of_even_odds():
    out = cross_entropy(jnp.zeros((2, 4)), jnp.array([0, 3]), jnp.array([1.0, 3.0]))
    np.testing.assert_allclose(out, [np.log(4), 3 * np.log(4)], rtol=1e-6)


def test_cross_entropy_has_the_gradient_probability_minus_one_hot():
    logits = jnp.array([0.3, -1.0, 2.0])
    gradient = jax.grad(lambda z: cross_entropy(z, jnp.array(2), 1.0))(logits)
    wanted = jax.nn.softmax(logits) - jnp.array([0, 0, 1.0])
    np.testing.assert_allclose(gradient, wanted, rtol=1e-5)


def test_cross_entropy_of_a_label_outside_the_classes_is_nothing():
    assert cross_entropy(jnp.array([1.0, 2.0]), jnp.array(-1), 1.0) == 0


def test_terms_are_summed_and_images_averaged():
    terms = {"a": jnp.ones((2, 3)), "b": jnp.full((2, 3, 2), 2.0)}
    loss = SumOfTerms(lambda raw, batch, seen: LossTerms(terms, {"seen": seen}))
    total, metrics = loss(None, {}, 7)
    assert metrics == {"loss": 15.0, "loss_a": 3.0, "loss_b": 12.0, "seen": 7}
    assert total == 15.0
    assert terms_of(loss, None, {}, 0).terms is terms


def test_other_losses_have_no_terms():
    assert terms_of(lambda raw, batch, seen: (raw.sum(), {}), jnp.ones(2), {}, 0).terms == {}


def test_darknets_cost_squares_the_weights_and_averages_images():
    squares = [Square(jnp.ones((2, 3)), 3.0, jnp.array(5.0)), Square(jnp.zeros(2), 1.0, 2.0)]
    assert darknet_cost(squares) == (6 * (5 * 2) ** 2 + 2 * 2**2) / 2
