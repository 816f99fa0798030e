import jax
import jax.numpy as jnp
import pytest

from yolojax.aot import compiler
from yolojax.aot.compiler import Facts, cache_dir, read_cache, reason, write_cache
from yolojax.aot.hlo import Collective, Costs

MEMORY = {"arguments": 10, "outputs": 8, "shared": 8, "temporary": 5, "code": 1, "peak": 12}
COSTS = Costs(30, 10, 4, 0, (Collective("all-reduce", 4, 2, 100),))
REFUSAL = """RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total
memory required for HLO temporaries (20.91G) exceeds available HBM (15.75G). HLO module: jit_f."""
OLDER = """RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space
hbm. Used 20.91G of 15.75G hbm. Exceeded hbm capacity by 5.16G."""


def test_what_is_kept_comes_back(tmp_path):
    path, facts = tmp_path / "a" / "b.json", Facts(1.5, MEMORY, 2.0, 3.0, COSTS)
    write_cache(path, facts)
    assert read_cache(path) == facts
    assert read_cache(tmp_path / "other.json") is None


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"costs": {"collectives": [[1]]}}', '{"costs'])
def test_damaged_results_count_as_none(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    assert read_cache(tmp_path / "a.json") is None


def test_without_a_folder_nothing_is_kept(monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    assert cache_dir() is None
    write_cache(None, Facts(1.0, MEMORY))
    assert read_cache(None) is None


def test_results_lie_where_the_programs_are_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    assert cache_dir() == tmp_path / "compile"


def test_memory_is_the_sum_of_its_parts_or_the_peak():
    assert Facts(1.0, MEMORY).used == 10 + 8 - 8 + 5 + 1
    assert Facts(1.0, MEMORY | {"peak": 99}).used == 99


@pytest.mark.parametrize("error", [REFUSAL, OLDER])
def test_a_refusal_reports_the_memory_needed(error):
    facts = Facts(1.0, {}, refused=reason(error))
    assert facts.refused == "needs 20.91G of 15.75G"
    assert (facts.used, facts.available) == (20.91 * 2**30, 15.75 * 2**30)


def test_a_refusal_without_sizes():
    facts = Facts(1.0, {}, refused=reason("RESOURCE_EXHAUSTED: too\n large"))
    assert facts.refused == "RESOURCE_EXHAUSTED: too large"
    assert (facts.used, facts.available) == (None, float("inf"))


def test_flops_of_loops_are_scaled_by_the_cycles_in_them():
    assert Facts(1.0, MEMORY, costs=COSTS).loops == 3
    assert Facts(1.0, MEMORY).loops == 1


def test_the_key_differs_by_program_and_topology(monkeypatch):
    monkeypatch.setattr(compiler.metadata, "version", lambda name: "1")
    sine, cosine = (jax.jit(f).lower(jnp.float32(1)) for f in (jnp.sin, jnp.cos))
    keys = {compiler.key_of(sine, "v5e:1x1"), compiler.key_of(sine, "v5e:2x2")}
    assert len(keys | {compiler.key_of(cosine, "v5e:1x1")}) == 3
    assert compiler.key_of(jax.jit(jnp.sin).lower(jnp.float32(1)), "v5e:1x1") in keys


def test_the_key_differs_by_options(monkeypatch):
    monkeypatch.setattr(compiler.metadata, "version", lambda name: "1")
    sine = jax.jit(jnp.sin).lower(jnp.float32(1))
    usual = compiler.key_of(sine, "v5e:1x1")
    monkeypatch.setattr(compiler, "tpu_options", lambda environment: {})
    assert compiler.key_of(sine, "v5e:1x1") != usual


class Lowered:
    """Of a program that the compiler does not take."""

    def __init__(self, message):
        self.message = message

    def compile(self):
        raise jax.errors.JaxRuntimeError(self.message)


def test_what_does_not_fit_is_a_result_and_other_failures_are_errors():
    assert compiler.compile_for(Lowered(REFUSAL), 1).refused == "needs 20.91G of 15.75G"
    with pytest.raises(ValueError, match="compiler failed: INTERNAL"):
        compiler.compile_for(Lowered("INTERNAL: a bug"), 1)
