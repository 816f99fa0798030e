from functools import partial
from pathlib import Path

import numpy as np
import pytest

from yolojax.config import ClassifierAugmentConfig
from yolojax.data import classification
from yolojax.data.loader import fingerprint
from yolojax.data.pipeline import train_loader
from yolojax.data.sources.load import load_source

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "image_synth.npz")
STILL = {"scales": (1.0, 1.0), "angle": 0.0, "aspect": 1.0, "flip": 0.0}
STILL |= {"hue": 0.0, "saturation": 1.0, "exposure": 1.0}


def load(split="single", **options):
    options = {"image_size": (32, 48), "batch_size": 4, "seed": 3, "threads": 0} | options
    sample = partial(classification.train_sample, augment=ClassifierAugmentConfig())
    return train_loader(load_source(f"shapes:{split}"), sample, **options)


def test_rotate_crop_is_darknets():
    image = GOLDEN["crop_u8"].transpose(1, 2, 0)
    radians, scale, w, h, dx, dy, aspect = GOLDEN["rotate_crop_args"]
    view = classification.rotate_crop(
        np.ascontiguousarray(image), radians, scale, (int(h), int(w)), (dx, dy), aspect
    )
    expected = 255 * GOLDEN["rotate_crop"].transpose(1, 2, 0)
    difference = np.abs(view - expected)
    assert np.median(difference) < 1.5  # OpenCV places in 1/32 of a pixel and rounds to bytes
    assert np.quantile(difference, 0.99) < 12


def test_a_view_without_changes_is_the_picture():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    view = classification.random_view(image, np.random.default_rng(1), size=(32, 32), **STILL)
    np.testing.assert_array_equal(view, image)


def test_views_differ_and_have_the_given_scale():
    image = np.full((64, 64, 3), 200, np.uint8)
    options = STILL | {"scales": (0.5, 0.5)}
    views = [
        classification.random_view(image, np.random.default_rng(i), size=(64, 64), **options)
        for i in range(3)
    ]
    for view in views:  # half as large: a quarter of the input, the rest black
        assert abs((view[..., 0] > 100).mean() - 0.25) < 0.03
    assert not np.array_equal(views[0], views[1])


def test_centre_crop_has_the_middle():
    image = np.zeros((40, 120, 3), np.uint8)
    image[:, 40:80] = 255
    crop = classification.centre_crop(image, (20, 20))
    assert crop.shape == (20, 20, 3)
    assert crop.min() == 255


def test_a_row_depends_on_seed_and_position_only():
    whole = [next(it) for it in [load()] for _ in range(3)]
    later = next(load(start_batch=2))
    assert fingerprint(whole[2]) == fingerprint(later)
    halves = [next(load(start_batch=1, host=h, hosts=2, threads=2)) for h in range(2)]
    joined = {k: np.concatenate([half[k] for half in halves]) for k in halves[0]}
    assert fingerprint(joined) == fingerprint(whole[1])


def test_multiscale_changes_the_size():
    sides = {
        next(load(sizes=(32, 64), sizes_every=1, start_batch=i))["image"].shape[1] for i in range(8)
    }
    assert sides == {32, 64}


def test_evaluation_has_every_picture_once():
    source = load_source("shapes:single-val")
    batches = list(
        classification.eval_loader(
            source, image_size=(32, 32), resize="opencv", batch_size=64, threads=0
        )
    )
    index = np.concatenate([b["image_id"] for b in batches])
    assert sorted(index[index >= 0]) == list(range(len(source)))
    assert {b["image"].shape for b in batches} == {(64, 32, 32, 3)}
    labels = np.concatenate([b["label"] for b in batches])
    assert [source[i].label for i in index[:5]] == labels[:5].tolist()


def test_pictures_without_a_class_are_refused():
    with pytest.raises(ValueError, match="have boxes, not one class each"):
        classification.check_labelled(load_source("shapes:train"))
