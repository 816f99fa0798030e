"""The state split over the devices: the same numbers in less memory, and the same checkpoints."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from configs.quickstart import get_config
from yolojax.distributed.sharding import make_mesh, shardings_of, state_shardings, to_devices
from yolojax.tasks import build
from yolojax.training import checkpoint
from yolojax.training.optimizer import make_optimizer
from yolojax.training.state import create_state
from yolojax.training.step import jit_train_step, make_train_step


def narrow(shard_state, subdivisions=1):
    config = get_config("smoke")
    config.model.name, config.data.image_size = "yolov2_tiny_voc", (64, 64)
    config.optimizer.batch_size, config.optimizer.subdivisions = 16, subdivisions
    config.mesh.shard_state = shard_state
    return config


def new_state(config, devices=8):
    mesh, task = make_mesh(jax.devices()[:devices]), build(config)
    return create_state(task, make_optimizer(config.optimizer), config, mesh), task, mesh


def batch_of_16():
    random = np.random.default_rng(0)
    corner = random.uniform(0, 0.6, (16, 30, 2))
    return {
        "image": random.integers(0, 255, (16, 64, 64, 3), np.uint8),
        "boxes": np.concatenate([corner, corner + 0.3], -1).astype(np.float32),
        "labels": random.integers(0, 4, (16, 30)).astype(np.int32),
        "mask": random.random((16, 30)) < 0.2,
        "image_id": np.arange(16, dtype=np.int32),
    }


def updated(shard_state, subdivisions=1):
    config = narrow(shard_state, subdivisions)
    state, task, mesh = new_state(config)
    step = make_train_step(config, task, make_optimizer(config.optimizer), mesh)
    step = jit_train_step(step, mesh, shardings_of(state))
    return step(state, to_devices(batch_of_16(), mesh))


def bytes_of_a_device(state):
    return sum(leaf.addressable_data(0).nbytes for leaf in jax.tree.leaves(state))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((3, 3, 128, 256), PartitionSpec(None, None, None, "data")),  # the longest
        ((3, 3, 256, 128), PartitionSpec(None, None, "data")),
        ((3, 3, 256, 256), PartitionSpec(None, None, None, "data")),  # the last of two
        ((3, 3, 256, 1001), PartitionSpec(None, None, "data")),  # 8 does not divide 1001
        ((1001, 1001), PartitionSpec()),
        ((3, 3, 32, 64), PartitionSpec()),  # small
        ((), PartitionSpec()),
    ],
)
def test_the_longest_axis_that_the_devices_divide_is_split(shape, expected):
    leaf = jax.ShapeDtypeStruct(shape, np.float32)
    assert state_shardings(leaf, make_mesh(), sharded=True).spec == expected
    assert state_shardings(leaf, make_mesh()).spec == PartitionSpec()


@pytest.mark.parametrize("subdivisions", [1, 2])
def test_the_update_is_that_of_the_whole_state(subdivisions):
    whole, numbers = updated(False, subdivisions)
    parts, same = updated(True, subdivisions)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6 * max(np.abs(a).max(), 1))
    assert float(numbers["loss"]) == pytest.approx(float(same["loss"]), rel=1e-6)
    assert shardings_of(parts) == state_shardings(parts, make_mesh(), sharded=True), (
        "the next step compiles"
    )


def test_a_device_holds_a_part_of_what_is_large():
    whole, *_ = new_state(narrow(False))
    parts, *_ = new_state(narrow(True))
    large = sum(x.nbytes for x in jax.tree.leaves(whole) if x.size >= 2**16)
    saved = bytes_of_a_device(whole) - bytes_of_a_device(parts)
    assert saved == pytest.approx(large * 7 / 8)
    assert saved > 0.5 * bytes_of_a_device(whole)


def test_a_split_state_goes_on_whole_on_fewer_devices(tmp_path):
    config = narrow(True)
    parts, *_ = new_state(config)
    with checkpoint.open_manager(tmp_path, 2) as manager:
        checkpoint.finish(manager, parts, config)
    config.mesh.shard_state = False
    whole, *_ = new_state(config, devices=2)
    empty = jax.tree.map(lambda leaf: leaf * 0, whole)
    with checkpoint.open_manager(tmp_path, 2) as manager:
        restored = checkpoint.resume(manager, empty)
    assert shardings_of(restored) == shardings_of(whole)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(restored), jax.device_get(parts))
