import jax
import pytest

from yolojax.ops.platforms import by_platform, traced_for


def program(x):
    return by_platform(x, cpu=lambda x: x + 1, tpu=lambda x: x + 2, default=lambda x: x + 3)


@pytest.mark.parametrize(("platform", "added"), [("cpu", 1), ("tpu", 2), ("gpu", 3)])
def test_one_form_alone_is_traced_where_the_platform_is_known(platform, added):
    with traced_for(platform):
        assert jax.jit(program)(0) == added
        assert len(jax.make_jaxpr(program)(0).eqns) == 1


def test_all_are_traced_where_it_is_not_known():
    traced = jax.jit(program).trace(0)
    texts = [traced.lower(lowering_platforms=(p,)).as_text() for p in ("cpu", "tpu", "cuda")]
    assert [f"dense<{n}>" in text for n, text in enumerate(texts, 1)] == [True] * 3


def test_a_jitted_function_does_not_keep_the_form_of_another_platform():
    jitted = jax.jit(program)
    found = [jitted(0)]
    for platform in ("tpu", "gpu"):
        with traced_for(platform):
            found.append(jitted(0))
    assert found == [1, 2, 3]
