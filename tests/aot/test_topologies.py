import jax
import pytest

from yolojax.aot import topologies
from yolojax.aot.topologies import describe, expand
from yolojax.distributed.chips import CHIPS


def test_shapes_and_numbers_of_chips():
    assert expand("v5e:1,16,8x8") == ["v5e:1x1", "v5e:4x4", "v5e:8x8"]
    assert expand("v4:64") == ["v4:4x4x4"]


@pytest.mark.parametrize("text", ["v5e", "v5e:3", "v5e:2x2x1", "v9:4", "", "v5e:4,"])
def test_unknown_ones_name_the_known(text):
    with pytest.raises(ValueError, match="v5e: 1x1, 2x2, 2x4, 4x4"):
        expand(text)


def test_every_kind_has_rates():
    for kind in topologies.SHAPES:
        assert CHIPS[kind].clock > 0
        assert CHIPS[kind].link_bandwidth > 0


def test_the_error_for_a_missing_compiler_names_the_package(monkeypatch):
    monkeypatch.setattr(topologies.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'yolojax\[tpu\]'"):
        describe("v5e:1x1")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("ABORTED: Internal error when accessing libtpu multi-process lockfile.", "one process"),
        ("INVALID_ARGUMENT: no such thing", "cannot describe v5e:1x1: INVALID_ARGUMENT"),
    ],
)
def test_a_compiler_that_does_not_answer(monkeypatch, error, message):
    def fail(**arguments):
        raise jax.errors.JaxRuntimeError(error)

    monkeypatch.setattr(topologies.importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(topologies.topologies, "get_topology_desc", fail)
    with pytest.raises(ValueError, match=message):
        describe("v5e:1x1")
