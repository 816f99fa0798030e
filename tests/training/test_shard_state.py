"""config.mesh.shard_state: the same update in less memory, and the same checkpoints."""

import chex
import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from small_runs import WIDE, assert_same_update, small_run, updated

from yolojax.distributed.sharding import make_mesh, shardings_of, state_shardings
from yolojax.tasks import build
from yolojax.training import checkpoint
from yolojax.training.optimizer import make_optimizer
from yolojax.training.state import create_state


def wide(shard_state, subdivisions=1):
    config = small_run()
    config.model.cfg, config.mesh.shard_state = WIDE, shard_state
    config.optimizer.batch_size, config.optimizer.subdivisions = 16, subdivisions
    return config


def new_state(config, devices=8):
    mesh = make_mesh(jax.devices()[:devices])
    return create_state(build(config), make_optimizer(config.optimizer), config, mesh)


def bytes_per_device(state):
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
def test_the_longest_axis_that_the_devices_divide_is_sharded(shape, expected):
    leaf = jax.ShapeDtypeStruct(shape, np.float32)
    assert state_shardings(leaf, make_mesh(), sharded=True).spec == expected
    assert state_shardings(leaf, make_mesh()).spec == PartitionSpec()


def test_the_update_equals_that_of_a_replicated_state():
    """With two subdivisions; test_hosts.py has a run without."""
    replicated, metrics = updated(wide(False, subdivisions=2), jax.devices())
    sharded, same = updated(wide(True, subdivisions=2), jax.devices())
    assert_same_update(replicated, sharded)
    assert float(metrics["loss"]) == pytest.approx(float(same["loss"]), rel=1e-6)
    specs = [leaf.spec for leaf in jax.tree.leaves(shardings_of(sharded))]
    assert PartitionSpec(None, None, None, "data") in specs
    expected = state_shardings(sharded, make_mesh(), sharded=True)
    assert shardings_of(sharded) == expected, "the next step would compile"


def test_a_device_holds_a_part_of_each_large_leaf():
    replicated, sharded = new_state(wide(False)), new_state(wide(True))
    large = sum(leaf.nbytes for leaf in jax.tree.leaves(replicated) if leaf.size >= 2**16)
    saved = bytes_per_device(replicated) - bytes_per_device(sharded)
    assert saved == pytest.approx(large * 7 / 8)
    assert saved > 0.5 * bytes_per_device(replicated)


def test_a_sharded_state_resumes_replicated_on_fewer_devices(tmp_path):
    config = wide(True)
    sharded = new_state(config)
    with checkpoint.open_manager(tmp_path, 2) as manager:
        checkpoint.finish(manager, sharded, config)
    replicated = new_state(wide(False), devices=2)
    zeros = jax.tree.map(lambda leaf: leaf * 0, replicated)
    with checkpoint.open_newest(tmp_path, 2) as (manager, newest):
        restored = checkpoint.restore(manager, zeros, newest)
    assert shardings_of(restored) == shardings_of(replicated)
    chex.assert_trees_all_equal(jax.device_get(restored), jax.device_get(sharded))
