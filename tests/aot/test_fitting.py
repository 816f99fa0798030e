from yolojax.aot.fitting import Need, bytes_per_device, images_that_fit, proposals, round_down
from yolojax.distributed.sharding import make_mesh, with_shardings

NEED = Need(
    used=11 * 2**30,  # 1 of the state, 10 of 40 images: a quarter each
    limit=10 * 2**30,  # 8.5 with the margin
    state=2**30,
    split_state=2**29,
    gradient=2**29,
    batch=40,
    subdivisions=1,
)


def test_images_that_fit_by_a_line_through_the_state():
    assert images_that_fit(NEED, NEED.state) == 30  # 7.5 / 0.25
    assert images_that_fit(NEED._replace(subdivisions=2), NEED.state) == 15  # 7.5 / 0.5
    assert images_that_fit(NEED, NEED.limit + 1) == 0


def test_proposals_are_the_batch_the_accumulation_and_the_split_state():
    batch, parts, split = proposals(NEED)
    assert batch == "--batch-per-device 24"
    assert parts.startswith(
        "--config.optimizer.subdivisions=2 (gradients accumulate over 20 images"
    )
    assert split == "--config.mesh.shard_state=True (frees 0.50 GiB, not enough alone)"


def test_a_split_state_may_be_enough():
    need = NEED._replace(used=10.25 * 2**30)
    assert "which is enough" in proposals(need)[-1]


def test_nothing_is_proposed_that_helps_nothing():
    assert proposals(NEED._replace(limit=2**29, split_state=NEED.state)) == []


def test_batches_are_rounded_down_to_tiles():
    assert [round_down(n) for n in (5, 8, 15, 131)] == [5, 8, 8, 128]


def test_bytes_on_one_of_eight_devices():
    import jax
    import jax.numpy as jnp

    tree = {"large": jax.ShapeDtypeStruct((2**16,), jnp.float32), "step": jnp.int32(0)}
    mesh = make_mesh()
    assert bytes_per_device(with_shardings(tree, mesh)) == 4 * 2**16 + 4
    assert bytes_per_device(with_shardings(tree, mesh, sharded=True)) == 4 * 2**13 + 4
