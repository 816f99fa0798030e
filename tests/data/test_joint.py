from functools import partial

import numpy as np
import pytest

from yolojax.config import AugmentConfig
from yolojax.data import joint
from yolojax.data.joint import JointSource, row_at
from yolojax.data.loader import fingerprint
from yolojax.data.pipeline import train_loader
from yolojax.data.sources.load import load_source
from yolojax.data.tree_labels import to_nodes

NODES = ("shape", "round", "pointed", "circle", "polygon", "star", "square", "triangle")
OF_SHAPE = (3, 6, 7, 5)  # circle, square, triangle, star
SAMPLE = partial(joint.train_sample, augment=AugmentConfig(), max_boxes=6)


def mapped(split):
    return to_nodes(load_source(f"shapes:{split}"), NODES, NODES, "")


def load(mix=(4, 1), **options):
    source = JointSource(mapped("train"), mapped("single"), mix)
    options = {"image_size": (32, 32), "batch_size": 10, "seed": 3, "threads": 0} | options
    return train_loader(source, SAMPLE, **options)


def test_one_of_five_rows_has_a_label():
    batch = next(load())
    labelled = batch["label"] >= 0
    assert labelled.reshape(2, 5).sum(axis=1).tolist() == [1, 1]
    assert not batch["mask"][labelled].any()
    assert batch["mask"][~labelled].any(axis=1).all()
    assert set(batch["label"][labelled]) <= set(OF_SHAPE)
    assert set(batch["labels"][batch["mask"]]) <= set(OF_SHAPE)
    shapes = {name: (array.shape, array.dtype) for name, array in batch.items()}
    assert shapes["image"] == ((10, 32, 32, 3), np.uint8)
    assert shapes["boxes"] == ((10, 6, 4), np.float32)
    assert shapes["label"] == ((10,), np.int32)


@pytest.mark.parametrize("mix", [(4, 1), (1, 1), (2, 3)])
def test_every_row_of_each_kind_appears_once(mix):
    rows = [row_at(i, mix, seed=0) for i in range(40 * sum(mix))]
    for kind, count in zip((False, True), mix, strict=True):
        positions = [row.position for row in rows if row.labelled == kind]
        assert sorted(positions) == list(range(40 * count))


@pytest.mark.parametrize("stride", [2, 4, 5])
def test_strided_sub_batches_have_both_kinds(stride):
    kinds = np.array([row_at(i, (1, 1), seed=0).labelled for i in range(400)])
    for k in range(stride):
        assert 0.2 < kinds[k::stride].mean() < 0.8


def test_a_row_depends_on_seed_and_position_only():
    whole = [next(it) for it in [load()] for _ in range(3)]
    assert fingerprint(whole[2]) == fingerprint(next(load(start_batch=2)))
    halves = [next(load(start_batch=1, host=h, hosts=2, threads=2)) for h in range(2)]
    joined = {k: np.concatenate([half[k] for half in halves]) for k in halves[0]}
    assert fingerprint(joined) == fingerprint(whole[1])
    assert fingerprint(next(load(seed=4))) != fingerprint(whole[0])


def test_sizes_change_for_both_kinds_together():
    batches = [next(load(sizes=(32, 64), sizes_every=1, start_batch=i)) for i in range(6)]
    assert {batch["image"].shape for batch in batches} == {(10, 32, 32, 3), (10, 64, 64, 3)}


def test_both_kinds_have_independent_draws():
    """The same pictures as both kinds have another order."""
    boxes = mapped("single")
    source = JointSource(boxes, boxes, (1, 1))
    batch = next(
        train_loader(source, SAMPLE, image_size=(32, 32), batch_size=20, seed=0, threads=0)
    )
    labelled = batch["label"] >= 0
    assert set(batch["image_id"][labelled]) != set(batch["image_id"][~labelled])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mix": (4, 0)}, r"data\.mix must be two numbers of 1 or more"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_arguments_out_of_range_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        next(load(**change))


def test_labelled_pictures_need_a_label():
    with pytest.raises(ValueError, match="its pictures have boxes, not one class each"):
        JointSource(mapped("train"), mapped("train"), (4, 1))
