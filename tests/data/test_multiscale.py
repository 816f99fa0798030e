import pytest

from yolojax.data.multiscale import size_for

SIZES = tuple(range(320, 609, 32))  # paper, section 2


def drawn(steps, **changes):
    arguments = {"seed": 0, "sizes": SIZES} | changes
    return [size_for(step, **arguments) for step in steps]


def test_size_holds_for_ten_batches():
    for block in range(20):
        assert len(set(drawn(range(10 * block, 10 * block + 10)))) == 1


def test_every_size_comes_up():
    assert set(drawn(range(0, 2000, 10))) == set(SIZES)


def test_size_depends_on_nothing_but_seed_and_block():
    forward = drawn(range(0, 500, 10))
    backward = drawn(range(490, -10, -10))[::-1]
    assert forward == backward
    assert forward != drawn(range(0, 500, 10), seed=1)
    assert forward == drawn(range(50), every=1)


def test_end_of_the_training_is_at_the_largest():
    sizes = drawn(range(1000), total_steps=1000, last=200)
    assert set(sizes[800:]) == {608}
    assert sizes[:800] == drawn(range(800))


def test_no_end_is_known():
    assert set(drawn(range(0, 3000, 10), total_steps=0, last=200)) == set(SIZES)


def test_draws_each_batches_must_be_positive():
    with pytest.raises(ValueError, match="multiscale_every must be at least 1, got 0"):
        drawn([0], every=0)
