import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from yolojax.distributed.sharding import make_mesh
from yolojax.models import network
from yolojax.models.backbones import DARKNET19
from yolojax.models.fast import strips
from yolojax.models.fast.pool_unit import unit
from yolojax.models.fast.strips import cut, places_in_strips, strips_for, units_for, with_neighbours
from yolojax.models.layers import Conv, MaxPool, Route, scale_width
from yolojax.models.network import Network

OUTPUT = Conv(5, 1, batch_norm=False, activation="linear", name="output")
TABLE = (*scale_width(DARKNET19[:8], 0.125), OUTPUT)  # three units and what lies between


@pytest.mark.parametrize(
    ("images", "wanted"), [(4, 8), (16, 8), (32, 4), (48, 2), (64, 2), (65, 1), (128, 1), (500, 1)]
)
def test_strips_fill_the_lanes(images, wanted):
    assert strips_for(images) == wanted


def test_strips_by_size_and_table():
    def count(size, table=TABLE):
        found = units_for(table, size, 8)
        return getattr(found[0], "keywords", {"strips": 1})["strips"]

    assert [count(size) for size in [(96, 64), (80, 64), (88, 64), (30, 64), (96, 30)]] == [
        *(8, 4, 2, 1, 1)
    ]
    assert count((96, 96), (Conv(2), MaxPool(), Conv(2, 1))) == 1
    assert places_in_strips(TABLE, (96, 64), 4) == [0, 2, 4, 5, 6]  # three pools
    assert places_in_strips(TABLE, (96, 64), 8) == [0, 2]  # 96 is no multiple of 64
    assert places_in_strips((*TABLE[:4], Conv(2, stride=2), *TABLE[5:]), (96, 64), 4) == [0, 2]
    assert places_in_strips((*TABLE, Route((4,))), (96, 64), 4) == [0, 2]  # it would get strips
    pairs = (Conv(2), MaxPool(), Conv(2), MaxPool())
    assert places_in_strips((Conv(2), *pairs), (96, 96), 8) == []
    assert count((96, 96), (*pairs, Route((3,)))) == 8
    assert count((96, 96), (*pairs, Route((1,)))) == 1  # it would get strips


def test_strips_include_the_rows_next_to_them():
    x = jnp.arange(1.0, 17).reshape(2, 8, 1, 1)
    rows = cut(x, 2)[..., 0, 0]
    assert rows.tolist() == [
        [0, 1, 2, 3, 4, 5],
        [4, 5, 6, 7, 8, 0],
        [0, 9, 10, 11, 12, 13],
        [12, 13, 14, 15, 16, 0],
    ]
    pieces, wanted = x.reshape(4, 4, 1, 1), cut(x, 2)
    np.testing.assert_array_equal(with_neighbours(pieces, 2), wanted)
    weights = jax.random.normal(jax.random.key(0), wanted.shape)
    ours = jax.grad(lambda x: (with_neighbours(x, 2) * weights).sum())(pieces)
    plain = jax.grad(lambda x: (cut(x, 2) * weights).sum())(x)
    np.testing.assert_allclose(ours.reshape(plain.shape), plain, atol=1e-6)


def outcome(count, mesh=None, *, kind=np.uint8):
    """Loss, statistics and gradients of a narrow network, with scales of both signs."""
    model = Network(TABLE, jnp.float64, strips=count, mesh=mesh)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 64, 32, 3), np.uint8)
    images = jnp.asarray(images if kind == np.uint8 else images / 255)
    shapes = network.variable_shapes(model, (64, 32))
    variables = jax.tree.map(lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape)), shapes)

    def loss(params):
        values = variables | {"params": params}
        raw, new = model.apply(values, images, train=True, mutable=["batch_stats"])
        return jnp.square(raw - 1).mean(), new

    return jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])


def test_the_whole_network_is_that_of_the_plain_form(monkeypatch):
    with jax.enable_x64(True):
        plain = outcome(1, kind=np.float64)  # on CPU
        monkeypatch.setattr(
            strips, "pool_unit", lambda x, k, *rest: unit(x.astype(k.dtype), k, *rest)
        )
        for arguments in [(1,), (4,), (4, make_mesh(jax.devices()[:2]))]:
            found = outcome(*arguments)
            for ours, wanted in zip(*map(jax.tree.leaves, (found, plain)), strict=True):
                assert ours.dtype == jnp.float64
                assert np.linalg.norm(ours - wanted) <= 1e-11 * np.linalg.norm(wanted)


def test_devices_exchange_sums_only():
    mesh = make_mesh(jax.devices())
    model = Network(TABLE, strips=4, mesh=mesh)
    place = NamedSharding(mesh, PartitionSpec("data"))
    images = jax.ShapeDtypeStruct((8, 32, 32, 3), jnp.float32, sharding=place)
    variables = network.variable_shapes(model, (32, 32))

    def loss(variables, images):
        raw, new = model.apply(variables, images, train=True, mutable=["batch_stats"])
        return jnp.square(raw).sum(), new

    compiled = jax.jit(jax.grad(loss, has_aux=True)).lower(variables, images).compile().as_text()
    assert "all-reduce" in compiled
    for kind in ("all-gather", "collective-permute", "all-to-all", "reduce-scatter"):
        assert kind not in compiled
