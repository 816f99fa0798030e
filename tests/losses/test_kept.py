import jax
import jax.numpy as jnp
import pytest

from yolojax.losses.kept import taken_apart
from yolojax.losses.region import region_loss
from yolojax.losses.terms import reduce_terms

RAW = jnp.ones((2, 3))


def two_terms(raw, batch, seen):
    return reduce_terms({"ones": raw, "squares": raw**2})


def plain(raw, batch, seen):
    return jnp.sum(raw), {}


def mapped(raw, batch, seen):
    return jax.vmap(lambda one: reduce_terms({"a": one[None]})[0])(raw).sum(), {}


def scanned(raw, batch, seen):
    def add(total, one):
        return total + reduce_terms({"a": one[None]})[0], None

    return jax.lax.scan(add, 0.0, raw)[0], {}


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_terms_are_seen_as_they_are(wrap):
    found = wrap(taken_apart(two_terms))(RAW, {}, 0)
    assert found.terms.keys() == {"ones", "squares"}
    assert found.terms["squares"].shape == RAW.shape
    assert found.scalar == 6
    assert found.found is None


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
@pytest.mark.parametrize(
    "loss", [plain, mapped, scanned, jax.jit(two_terms), jax.checkpoint(two_terms)]
)
def test_what_cannot_leave_the_loss_is_not_seen(loss, wrap):
    found = wrap(taken_apart(loss))(RAW, {}, 0)
    assert found.terms == {}
    assert found.scalar == loss(RAW, {}, 0)[0]


@pytest.mark.parametrize("loss", [plain, mapped, jax.jit(two_terms), jax.checkpoint(two_terms)])
def test_such_a_loss_can_be_differentiated_afterwards(loss):
    def both(raw):
        taken_apart(loss)(raw, {}, 0)
        return loss(raw, {}, 0)[0]

    assert jnp.isfinite(jax.jit(jax.grad(both))(RAW)).all()


def test_ours_show_their_assignment():
    batch = {"boxes": jnp.zeros((1, 2, 4)), "labels": jnp.zeros((1, 2), int)}
    batch |= {"mask": jnp.zeros((1, 2), bool)}
    raw = jnp.zeros((1, 3, 4, 6))
    found = jax.jit(taken_apart(region_loss(anchors=((1.0, 1.0),))))(raw, batch, 0)
    assert found.terms.keys() == {"coord", "object", "noobject", "class"}
    assert found.found.responsible.shape == (1, 3, 4, 1)
