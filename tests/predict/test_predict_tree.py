import functools
import json
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from yolojax import predict
from yolojax.config import Config, DataConfig, ModelConfig
from yolojax.heads import yolo9000
from yolojax.loading import Loaded
from yolojax.tasks import Task
from yolojax.wordtree.tree import bucket_layout, make_tree


def tree_model(grid=1):
    """A model with a dog in every cell, which is a terrier with probability .6."""
    raw = np.zeros((1, grid, grid, 9), np.float32)
    raw[..., 4] = 5
    raw[..., 5:] = np.log([1, 1, 0.6, 0.4])[bucket_layout(make_tree(ANIMALS["tree"])).node]
    config = Config(model=ModelConfig(**ANIMALS), data=DataConfig(image_size=(96, 96)))
    model = SimpleNamespace(apply=lambda variables, images, train: jnp.asarray(raw))
    decode = functools.partial(yolo9000.decode, anchors=[(0.5, 0.5)], tree=ANIMALS["tree"])
    return Loaded(Task(model, decode, loss=None, has_tree=True), config, {}, 0)


ANIMALS = {
    "classes": ("n01", "n02", "n03", "n04"),
    "class_names": ("animal", "dog", "terrier", "poodle"),
    "tree": (-1, 0, 1, 1),
}


def test_tree_threshold_and_semantics_are_options(monkeypatch):
    monkeypatch.setattr(predict.api, "load_model", lambda *args, **options: tree_model())
    image = np.zeros((96, 96, 3), np.uint8)
    result = predict.load("run").predict(image)
    assert result.paths == [["animal", "dog", "terrier"]]
    found = json.loads(json.dumps(result.to_dict()))["detections"][0]
    assert (found["wnid"], found["path"]) == ("n03", ["animal", "dog", "terrier"])
    assert predict.load("run", tree_threshold=0.7).predict(image).names == ["dog"]
    stopped = predict.load("run", tree_threshold=0.7, tree_semantics="darknet").predict(image)
    assert stopped.names == ["dog"]
    with pytest.raises(ValueError, match="tree_threshold must be a probability, from 0 to 1"):
        predict.load("run", tree_threshold=7.0).predict(image)


def test_tree_options_need_a_tree(monkeypatch):
    flat = tree_model()
    flat.config.model.tree = ()
    monkeypatch.setattr(predict.api, "load_model", lambda *args, **options: flat)
    with pytest.raises(ValueError, match="tree_threshold need a detector with a class tree"):
        predict.load("run", tree_threshold=0.5)


def test_max_detections_can_exceed_that_of_the_config_with_a_tree(monkeypatch):
    monkeypatch.setattr(predict.api, "load_model", lambda *args, **options: tree_model(grid=20))
    detector, image = predict.load("run"), np.zeros((96, 96, 3), np.uint8)
    assert [len(detector.predict(image, max_detections=n).scores) for n in (9, 350)] == [9, 350]


def test_no_limit_of_the_config_leaves_fewer_than_max_detections(monkeypatch):
    model = tree_model(grid=20)
    model.config.eval.max_detections, model.config.eval.top_k = 350, 10
    monkeypatch.setattr(predict.api, "load_model", lambda *args, **options: model)
    detector, image = predict.load("run"), np.zeros((96, 96, 3), np.uint8)
    assert len(detector.predict(image, max_detections=350).scores) == 350
