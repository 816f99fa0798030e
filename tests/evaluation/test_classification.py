"""Top-1 and top-5 accuracy of hits, and of a fake classifier on a source."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolojax.config import Config, DataConfig, EvalConfig, ModelConfig
from yolojax.data.records import BadRecord
from yolojax.data.sources.shapes import SHAPES, load_shapes
from yolojax.distributed.sharding import make_mesh
from yolojax.evaluation.classification import (
    accuracies,
    evaluate_source,
    format_table,
    make_programs,
)
from yolojax.evaluation.significance import read_hits
from yolojax.tasks import Task

HITS = np.array([[1, 1], [0, 1], [0, 0], [1, 1]], bool)  # of top-1, of top-5
LABELS = np.array([0, 0, 0, 2])


def numbers(hits=HITS, labels=LABELS, **settings):
    settings = EvalConfig(**({"metric": "top1", "bootstrap": 0} | settings))
    return accuracies(hits, labels, ("cat", "dog", "owl"), settings)


def test_hits_are_counted_over_all_and_by_class():
    found = numbers()
    assert (found["top1"], found["top5"], found["images"]) == (0.5, 0.75, 4)
    assert found["per_class"] == {
        "cat": {"top1": 1 / 3, "top5": 2 / 3, "images": 3},
        "dog": {"top1": None, "top5": None, "images": 0},
        "owl": {"top1": 1.0, "top5": 1.0, "images": 1},
    }


def test_interval_is_binomial():
    share, images = 0.6, 2500
    hits = np.arange(images)[:, None] < np.array([share, 1]) * images
    found = numbers(hits, np.zeros(images, int), bootstrap=4000)
    half = 1.96 * np.sqrt(share * (1 - share) / images)  # the normal approximation
    np.testing.assert_allclose(found["interval"], [share - half, share + half], atol=0.003)
    everything = numbers(hits, np.zeros(images, int), bootstrap=10, metric="top5")
    assert everything["interval"] == [1.0, 1.0]


def test_accuracy_is_undefined_without_images():
    found = numbers(np.zeros((0, 2), bool), np.zeros(0, int), bootstrap=10)
    assert (found["top1"], found["top5"], found["interval"]) == (None, None, None)
    assert numbers()["interval"] is None


CLASSES = (*SHAPES, "a", "b", "c")  # more than five, so that top-5 may fail


class FewScenes:
    """The first 5 scenes of shapes:single-val: not a multiple of the batch of 2."""

    source = load_shapes("single-val", classes=CLASSES)
    name, classes, skipped = source.name, source.classes, source.skipped

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return self.source[index]


def fake_task(rank):
    """A classifier that ranks the true class of a scene, identified by its mean, at `rank`."""
    scenes = FewScenes()
    means = jnp.array([scenes[i].image.mean() / 255 for i in range(len(scenes))])
    labels = jnp.array([scenes[i].label for i in range(len(scenes))])

    def decode(means_seen):
        label = labels[jnp.abs(means_seen[:, None] - means).argmin(1)]
        place = (jnp.arange(len(CLASSES)) - label[:, None] + rank) % len(CLASSES)
        return 1.0 - place / len(CLASSES)

    model = SimpleNamespace(apply=lambda variables, image, train: image.mean((1, 2, 3)))
    return Task(model, decode, None, "classes")


@pytest.mark.parametrize(
    ("rank", "resize", "top1", "top5"),
    [(0, "opencv", 1.0, 1.0), (4, "darknet", 0.0, 1.0), (5, "opencv", 0.0, 0.0)],
)
def test_a_source_is_evaluated_and_written(rank, resize, top1, top5, tmp_path, capsys):
    config = Config(
        model=ModelConfig(classes=CLASSES),
        data=DataConfig(image_size=(128, 128), resize=resize, threads=0),  # a scene as it is
        eval=EvalConfig(batch_size=2, bootstrap=10, metric="top1"),
    )
    programs = make_programs(fake_task(rank), config.eval)
    mesh = make_mesh(jax.devices()[:1])
    result = evaluate_source(programs, {}, FewScenes(), config, mesh, tmp_path, "few")
    assert (result["top1"], result["top5"], result["images"]) == (top1, top5, 5)
    assert sum(row["images"] for row in result["per_class"].values()) == 5
    assert json.loads((tmp_path / "eval" / "few.json").read_text())["top5"] == top5
    hits, labels, ids = read_hits(tmp_path / "eval" / "few_hits.npz", "top5")
    assert (hits.mean(), ids.tolist()) == (top5, [0, 1, 2, 3, 4])
    assert labels.tolist() == [FewScenes()[i].label for i in range(5)]
    assert format_table(result) in capsys.readouterr().out
    assert programs.top._cache_size() == 1


def test_error_analysis_needs_boxes(tmp_path):
    with pytest.raises(ValueError, match="a classifier does not have"):
        evaluate_source(None, {}, FewScenes(), Config(), None, tmp_path, errors=True)


class HalfBroken(FewScenes):
    """The same, but the first picture is damaged, and the second record too."""

    def __getitem__(self, index):
        if index == 1:
            raise BadRecord("record 1 is bad")
        record = super().__getitem__(index)
        return record if index else record._replace(image=b"<html>")


def test_pictures_that_cannot_be_read_count_as_wrong(tmp_path, capsys):
    config = Config(
        model=ModelConfig(classes=CLASSES),
        data=DataConfig(image_size=(128, 128), threads=0, on_bad_record="skip"),
        eval=EvalConfig(batch_size=2, bootstrap=0, metric="top1"),
    )
    programs = make_programs(fake_task(0), config.eval)
    mesh = make_mesh(jax.devices()[:1])
    with pytest.warns(UserWarning, match="bad record number"):
        result = evaluate_source(programs, {}, HalfBroken(), config, mesh, tmp_path)
    assert (result["top1"], result["top5"], result["images"]) == (0.6, 0.6, 5)
    assert sum(row["images"] for row in result["per_class"].values()) == 4
    assert result["unreadable"] == [FewScenes()[0].image_id, "record 1"]
    assert "count as missed or wrong: 2 of 5 pictures" in capsys.readouterr().out
