import jax.numpy as jnp
import numpy as np
import pytest

from yolojax.heads.classes import decode


@pytest.mark.parametrize("shape", [(1, 2), (1, 1, 1, 2)])
def test_logits_become_probabilities(shape):
    probs = decode(jnp.log(jnp.array([1.0, 3.0])).reshape(shape))
    np.testing.assert_allclose(probs, [[0.25, 0.75]], rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 7, 7, 2), (2,), (1, 1, 2)])
def test_a_map_of_several_cells_is_refused(shape):
    with pytest.raises(ValueError, match=r"raw must be \[B, C\]"):
        decode(jnp.zeros(shape))


def test_the_temperature_divides_the_logits():
    probs = decode(jnp.log(jnp.array([[1.0, 8.0]])), temperature=3.0)
    np.testing.assert_allclose(probs, [[1 / 3, 2 / 3]], rtol=1e-6)
