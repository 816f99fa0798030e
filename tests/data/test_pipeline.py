import functools
import itertools
import threading
import warnings
from typing import NamedTuple

import numpy as np
import pytest

from yolojax.config import AugmentConfig
from yolojax.data.loader import fingerprint
from yolojax.data.pipeline import eval_loader, record_at, side_of, train_loader, train_sample
from yolojax.data.records import BadRecord, Record
from yolojax.data.transforms import GREY, boxes_to_original, fitter, letterbox, squash
from yolojax.data.transforms import augment as augment_picture

SIZE = (32, 64)


class Pictures(NamedTuple):
    """A source in memory."""

    records: list
    name: str = "memory"
    classes: tuple = ("a", "b")
    skipped: tuple = ()

    def __len__(self):
        return len(self.records)

    def __getitem__(self, index):
        return self.records[index]


def record(index, image=None, difficult=(False, False, False), crowd=(False, False, False)):
    draw = np.random.default_rng(index)
    if image is None:
        image = draw.integers(0, 256, (30 + index, 40, 3), np.uint8)
    boxes = np.tile(np.array([0.2, 0.2, 0.8, 0.8], np.float32), (3, 1))
    labels = np.array([0, 1, 0], np.int32)
    flags = (np.array(flag) for flag in (difficult, crowd))
    return Record(str(index), image, boxes, labels, *flags, np.ones(3, np.float32))


def pictures(count=7, bad=()):
    """`count` records, of which those in `bad` are bytes that no decoder knows."""
    return Pictures([record(k, b"no picture" if k in bad else None) for k in range(count)])


def training(source=None, **changes):
    arguments = {
        "sample": sample_of(max_boxes=5),
        "image_size": SIZE,
        "batch_size": 4,
        "seed": 3,
        "threads": 0,
    }
    return train_loader(source or pictures(), **(arguments | changes))


def sample_of(augment=None, **options):
    return functools.partial(train_sample, augment=augment or AugmentConfig(), **options)


def first(loader, count):
    batches = list(itertools.islice(loader, count))
    loader.close()
    return batches


def prints(loader, count=6):
    return [fingerprint(batch) for batch in first(loader, count)]


def test_batch_has_the_documented_arrays():
    (batch,) = first(training(), 1)
    seen = {name: (array.shape, array.dtype.name) for name, array in batch.items()}
    assert seen == {
        "image": ((4, 32, 64, 3), "uint8"),
        "boxes": ((4, 5, 4), "float32"),
        "labels": ((4, 5), "int32"),
        "mask": ((4, 5), "bool"),
        "image_id": ((4,), "int32"),
    }


def test_rows_are_made_by_the_sample_function():
    batch = first(training(), 2)[1]
    source = pictures()
    for index in range(4):
        row = train_sample(
            source, 4 + index, seed=3, size=SIZE, augment=AugmentConfig(), max_boxes=5
        )
        assert fingerprint(row) == fingerprint({name: batch[name][index] for name in batch})


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_threads_change_nothing(threads):
    assert prints(training(threads=threads)) == prints(training())


@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_share_the_same_global_batch(hosts):
    alone = first(training(), 5)
    parts = [first(training(host=host, hosts=hosts), 5) for host in range(hosts)]
    for whole, *shares in zip(alone, *parts, strict=True):
        joined = {name: np.concatenate([share[name] for share in shares]) for name in whole}
        assert fingerprint(joined) == fingerprint(whole)


@pytest.mark.parametrize("start", [1, 4])
def test_resumed_is_uninterrupted(start):
    sizes = {"sizes": (32, 64), "sizes_every": 2, "threads": 2}
    whole = prints(training(**sizes), 8)
    assert prints(training(**sizes, start_batch=start), 8 - start) == whole[start:]


def test_another_batch_size_resumes_at_the_same_image():
    eights = first(training(batch_size=8), 3)[2]
    fours = first(training(start_batch=4), 2)
    joined = {name: np.concatenate([batch[name] for batch in fours]) for name in eights}
    assert fingerprint(joined) == fingerprint(eights)


def test_seed_changes_the_run():
    assert not set(prints(training(seed=4))) & set(prints(training()))


def test_resuming_reads_no_earlier_records():
    read = []

    class Counting(Pictures):
        def __getitem__(self, index):
            read.append(index)
            return super().__getitem__(index)

    first(training(Counting(pictures().records), start_batch=10**9), 1)
    assert len(read) == 4


def test_every_epoch_has_each_record_once_in_another_order():
    ids = np.concatenate([batch["image_id"] for batch in first(training(), 14)]).reshape(8, 7)
    for epoch in ids:
        assert sorted(epoch) == list(range(7))
    assert len({tuple(epoch) for epoch in ids}) > 4


def test_order_of_one_record():
    assert [record_at(pictures(1), k, seed=0) for k in range(3)] == [0, 0, 0]


def test_a_record_looks_different_each_epoch():
    batches = first(training(pictures(1)), 1)
    images = batches[0]["image"]
    assert len({image.tobytes() for image in images}) == 4


def test_multiscale_changes_between_batches_only():
    sizes = {"sizes": (32, 96), "sizes_every": 2, "total_batches": 12, "sizes_last": 3}
    shapes = [batch["image"].shape for batch in first(training(**sizes), 12)]
    assert {shape[1:3] for shape in shapes} == {(32, 32), (96, 96)}
    assert all(shapes[k] == shapes[k + 1] for k in range(0, 8, 2))
    assert {shape[1] for shape in shapes[9:]} == {96}


def test_difficult_and_crowd_boxes_are_not_trained_on():
    source = Pictures([record(0, None, (True, False, False), (False, False, True))])
    plain = AugmentConfig(geometry="none")
    row = train_sample(source, 0, seed=0, size=SIZE, augment=plain)
    assert row["mask"].sum() == 1
    assert row["labels"][0] == 1


def test_boxes_beyond_max_boxes_are_dropped():
    sample = sample_of(AugmentConfig(geometry="none"), max_boxes=2)
    (batch,) = first(training(sample=sample), 1)
    assert batch["mask"].all()
    assert batch["boxes"].shape == (4, 2, 4)


def test_config_reaches_the_augmentation():
    config = AugmentConfig("none", 0.0, 1.0, 0.0, 1.0, 1.0)
    source = Pictures([record(0)])
    row = train_sample(source, 0, seed=0, size=SIZE, augment=config)
    expected, _ = letterbox(source[0].image, SIZE)
    np.testing.assert_array_equal(row["image"], expected[:, ::-1])


def test_augment_takes_every_field_of_the_config():
    fields = set(AugmentConfig.__dataclass_fields__)
    assert fields <= set(augment_picture.__kwdefaults__)


@pytest.mark.parametrize("threads", [0, 2])
def test_bad_picture_stops_the_run_and_is_named(threads):
    source = pictures(bad=[2])
    with pytest.raises(BadRecord, match="2: not a picture that can be decoded"):
        first(training(source, threads=threads), 3)


@pytest.mark.parametrize("threads", [0, 2])
def test_bad_picture_is_replaced_by_the_next_with_one_warning(threads):
    source = pictures(bad=[2, 3])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        batches = first(training(source, threads=threads, on_bad_record="skip"), 14)
    ids = np.concatenate([batch["image_id"] for batch in batches]).reshape(8, 7)
    order = [[record_at(source, 7 * epoch + k, seed=3) for k in range(7)] for epoch in range(8)]
    np.testing.assert_array_equal(ids, np.where(np.isin(order, [2, 3]), 4, order))
    messages = sorted(str(warning.message) for warning in caught)
    assert len(messages) == 2
    assert messages[0].startswith("memory: skipped, bad record number 1")
    assert messages[1].startswith("memory: skipped, bad record number 2")


@pytest.mark.filterwarnings("ignore:memory")
def test_only_bad_pictures_is_an_error():
    with pytest.raises(BadRecord, match="none of its 3 pictures"):
        first(training(pictures(3, bad=[0, 1, 2]), on_bad_record="skip"), 1)


def test_threads_end_with_the_loader():
    before = set(threading.enumerate())
    loader = training(threads=2)
    next(loader)
    started = set(threading.enumerate()) - before
    assert len(started) == 2
    loader.close()
    for thread in started:
        thread.join(timeout=10)
    assert not any(thread.is_alive() for thread in started)


def evaluation(source=None, **changes):
    arguments = {"image_size": SIZE, "letterbox": True, "batch_size": 4, "threads": 2}
    return list(eval_loader(source or pictures(), **(arguments | changes)))


@pytest.mark.parametrize(("keep_aspect", "expected"), [(True, letterbox), (False, squash)])
def test_evaluation_has_each_picture_once_in_order(keep_aspect, expected):
    source = pictures()
    batches = evaluation(source, letterbox=keep_aspect)
    assert [batch["image_id"].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, -1]]
    assert {batch["image"].shape for batch in batches} == {(4, *SIZE, 3)}
    image, affine = expected(source[5].image, SIZE)
    np.testing.assert_array_equal(batches[1]["image"][1], image)
    np.testing.assert_allclose(batches[1]["affine"][1], affine, rtol=1e-6)
    assert batches[1]["size"][1].tolist() == [35, 40]
    assert (batches[1]["image"][3] == GREY).all()


def test_evaluation_gives_darknets_weights_darknets_input():
    source = pictures()
    batches = evaluation(source, resize="darknet")
    image, affine = fitter(letterbox=True, resize="darknet")(source[5].image, SIZE)
    assert {batch["image"].dtype for batch in batches} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(batches[1]["image"][1], image)
    np.testing.assert_allclose(batches[1]["affine"][1], affine, rtol=1e-6)
    assert (batches[1]["image"][3] == 0.5).all()


def test_evaluation_has_the_map_back_to_the_picture():
    whole = np.tile(np.array([-9, -9, 9, 9], np.float32), (4, 1, 1))
    first_batch, _ = evaluation()
    back = boxes_to_original(whole, first_batch["affine"], SIZE, first_batch["size"])
    np.testing.assert_allclose(back[:, 0], [[0, 0, 40, 30 + k] for k in range(4)])


def test_hosts_evaluate_equally_many_batches():
    whole = evaluation(pictures(5))
    parts = [evaluation(pictures(5), host=host, hosts=2) for host in (0, 1)]
    assert [len(part) for part in parts] == [2, 2]
    for batch, *shares in zip(whole, *parts, strict=True):
        joined = {name: np.concatenate([share[name] for share in shares]) for name in batch}
        assert fingerprint(joined) == fingerprint(batch)


def test_evaluation_names_a_bad_picture():
    with pytest.raises(BadRecord, match="1: not a picture"):
        evaluation(pictures(bad=[1]))


def test_evaluation_can_skip_a_bad_picture():
    with pytest.warns(UserWarning, match="1: not a picture"):
        batches = evaluation(pictures(bad=[1]), on_bad_record="skip")
    assert batches[0]["image_id"].tolist() == [0, 1, 2, 3]
    assert batches[0]["size"].any(axis=1).tolist() == [True, False, True, True]


def test_fingerprint_sees_values_types_shapes_and_names():
    zeros = np.zeros((2, 2), np.int32)
    others = [
        {"a": zeros.astype(np.float32)},
        {"a": zeros.reshape(4)},
        {"b": zeros},
        {"a": np.eye(2, dtype=np.int32)},
    ]
    assert len({fingerprint(batch) for batch in [{"a": zeros}, *others]}) == 5
    assert fingerprint({"a": zeros, "b": zeros}) == fingerprint({"b": zeros, "a": zeros})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 5, "hosts": 2}, "batch_size must be a multiple of hosts \\(2\\), got 5"),
        ({"batch_size": 0}, "batch_size"),
        ({"host": 2, "hosts": 2}, "got host 2 of 2"),
        ({"threads": -1}, "threads must be at least 0, got -1"),
        ({"on_bad_record": "ignore"}, "'ignore'"),
        ({"seed": -1}, "seed must be in"),
        ({"source": Pictures([])}, "memory has no records"),
    ],
)
def test_bad_arguments_are_named(changes, message):
    arguments = {"source": pictures(), "image_size": SIZE, "batch_size": 4, "seed": 0}
    with pytest.raises(ValueError, match=message):
        train_loader(**(arguments | {"sample": sample_of()} | changes))


SIDES = tuple(range(320, 609, 32))  # paper, section 2


def sides(batches, **changes):
    arguments = {"seed": 0, "sizes": SIDES} | changes
    return [side_of(batch, **arguments) for batch in batches]


def test_side_holds_for_ten_batches():
    for block in range(20):
        assert len(set(sides(range(10 * block, 10 * block + 10)))) == 1


def test_every_side_is_drawn():
    assert set(sides(range(0, 2000, 10))) == set(SIDES)


def test_side_depends_on_seed_and_block_only():
    forward = sides(range(0, 500, 10))
    backward = sides(range(490, -10, -10))[::-1]
    assert forward == backward
    assert forward != sides(range(0, 500, 10), seed=1)
    assert forward == sides(range(50), every=1)


def test_the_last_batches_have_the_largest_side():
    drawn = sides(range(1000), total_batches=1000, last=200)
    assert set(drawn[800:]) == {608}
    assert drawn[:800] == sides(range(800))


def test_an_unknown_end_has_no_last_batches():
    assert set(sides(range(0, 3000, 10), total_batches=0, last=200)) == set(SIDES)


def test_multiscale_every_must_be_positive():
    with pytest.raises(ValueError, match="multiscale_every must be at least 1, got 0"):
        sides([0], every=0)
