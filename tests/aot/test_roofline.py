import pytest

from yolojax.aot.hlo import Collective
from yolojax.aot.roofline import sent_bytes, times, utilisation
from yolojax.distributed.chips import Chip

CHIP = Chip("toy", 100.0, 100.0, 1000.0, hbm_bandwidth=10.0, link_bandwidth=5.0, clock=2.0)


def test_four_times_in_seconds():
    t = times(
        CHIP,
        CHIP.bf16_flops,
        flops=200,
        bytes_accessed=40,
        cycles=8,
        scatter_bytes=480,  # two cycles
        collectives=[Collective("all-reduce", 2, 1, 30)],
    )
    assert t == (2.0, 4.0, 6.0, 5.0)
    assert (t.best, t.limit, t.compiled) == (6.0, "links", 11.0)


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        ("all-reduce", 150),
        ("all-gather", 75),
        ("reduce-scatter", 75),
        ("all-to-all", 75),
        ("collective-permute", 100),
    ],
)
def test_bytes_that_a_ring_of_four_sends(kind, sent):
    assert sent_bytes(Collective(kind, 4, 1, 100)) == sent


def test_one_device_sends_nothing():
    assert sent_bytes(Collective("all-reduce", 1, 1, 100)) == 0


def test_utilisation():
    assert utilisation(model_flops=50, seconds=2, peak=100) == 0.25
