"""Damaged .weights files: one ValueError, no crash, no wait, no memory, no silent success."""

import os
import resource
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from yolojax.darknet import published_files
from yolojax.darknet.weights import entries, load_weights, prefix_of
from yolojax.models.layers import Connected, Conv, Local
from yolojax.models.network import Network, variable_shapes

MODEL = Network(
    (
        Conv(2, 1, name="a"),
        Conv(2, 1, batch_norm=False, name="b"),
        Local(1, 1, padding=0, name="c"),
        Connected(2, batch_norm=True, name="d"),
    )
)
SIZE = (2, 2)
COUNT = sum(e.size for e in entries(MODEL.table, variable_shapes(MODEL, SIZE)))
VERSIONS = {20: (0, 2, 0), 16: (0, 1, 0)}


def header(length, seen=1):
    version = np.array(VERSIONS[length], "<i4").tobytes()
    return version + np.array(seen, "<u8" if length == 20 else "<i4").tobytes()


GOOD = header(20) + np.linspace(0.1, 1, COUNT, dtype="<f4").tobytes()
fuzz = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "damaged.weights"


def outcome(path: Path, data: bytes, **options):
    """The variables in `data`, or None where they are refused with one clear error."""
    path.write_bytes(data)
    try:
        return load_weights(path, MODEL, image_size=SIZE, **options)[0]
    except ValueError as error:
        if str(path) not in str(error) and "upto must be" not in str(error):
            raise
        return None


def test_the_undamaged_file_loads(path):
    assert outcome(path, GOOD) is not None


@fuzz
@given(length=st.integers(0, len(GOOD) + 64), upto=st.none() | st.integers(-1, 5))
@example(length=0, upto=None)
@example(length=20, upto=None)
@example(length=len(GOOD) - 1, upto=4)
def test_any_other_length_is_refused(path, length, upto):
    data = (GOOD + bytes(64))[:length]
    loaded = outcome(path, data, upto=upto)
    if loaded is not None:
        floats = sum(leaf.size for leaf in jax.tree.leaves(loaded))
        assert 20 + 4 * floats == length
        assert floats == COUNT or upto in range(1, 4)
    if length >= 20:
        fit = prefix_of(path, MODEL, image_size=SIZE)
        assert fit is None or outcome(path, data, upto=fit) is not None


@fuzz
@given(start=st.binary(min_size=20, max_size=20))
def test_any_header_is_read_strictly_or_refused(path, start):
    # Whatever length the header claims to have, all bytes behind it must be accounted for.
    for data in (start + GOOD[20:], start[:16] + GOOD[20:]):
        loaded = outcome(path, data)
        if loaded is not None:
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(loaded))
            assert len(data) - 4 * COUNT in (16, 20)


@fuzz
@given(changes=st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=8))
@example(changes=[(len(GOOD) - 1, 0x7F), (len(GOOD) - 2, 0xC0)])  # nan
@example(changes=[(8, 255), (11, 255)])  # a negative revision
def test_changed_bytes_give_sound_values_or_an_error(path, changes):
    data = bytearray(GOOD)
    for place, byte in changes:
        data[place] = byte
    loaded = outcome(path, bytes(data))
    if loaded is not None:
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(loaded))
        assert all((layer["var"] >= 0).all() for layer in loaded["batch_stats"].values())


@fuzz
@given(data=st.binary(max_size=64))
def test_arbitrary_bytes_are_refused(path, data):
    assert outcome(path, data) is None


def test_ten_empty_gigabytes_are_not_read(tmp_path):
    huge = tmp_path / "huge.weights"
    with open(huge, "wb") as file:
        file.write(header(20))
        file.truncate(10 << 30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"follow layer 3 \(d\).*the file has 10737418240"):
        load_weights(huge, MODEL, image_size=SIZE)
    assert prefix_of(huge, MODEL, image_size=SIZE) is None
    assert published_files.recognise(huge) is None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # KB


def test_pipes_and_folders_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(ValueError, match="not a file"):
            load_weights(tmp_path / name, MODEL, image_size=SIZE)
