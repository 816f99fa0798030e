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
    """A dog in every cell, that is a terrier with probability .6; the tree of `ANIMALS`."""
    raw = np.zeros((1, grid, grid, 9), np.float32)
    raw[..., 4] = 5
    raw[..., 5:] = np.log([1, 1, 0.6, 0.4])[bucket_layout(make_tree(ANIMALS["tree"])).node]
    config = Config(model=ModelConfig(**ANIMALS), data=DataConfig(image_size=(96, 96)))
    model = SimpleNamespace(apply=lambda variables, images, train: jnp.asarray(raw))
    decode = functools.partial(yolo9000.decode, anchors=[(0.5, 0.5)], tree=ANIMALS["tree"])
    return Loaded(Task(model, decode, loss=None), config, {}, 0)


ANIMALS = {
    "classes": ("n01", "n02", "n03", "n04"),
    "class_names": ("animal", "dog", "terrier", "poodle"),
    "tree": (-1, 0, 1, 1),
}


def test_how_far_down_the_tree_is_an_option(monkeypatch):
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


def test_no_tree_is_no_place_to_go_down(monkeypatch):
    flat = tree_model()
    flat.config.model.tree = ()
    monkeypatch.setattr(predict.api, "load_model", lambda *args, **options: flat)
    with pytest.raises(
        ValueError, match=r"only a detector whose classes form a tree .* leave tree"
    ):
        predict.load("run", tree_threshold=0.5)


def test_of_a_tree_too_more_detections_are_found_where_asked_for(monkeypatch):
    monkeypatch.setattr(predict.api, "load_model", lambda *args, **options: tree_model(grid=20))
    detector, image = predict.load("run"), np.zeros((96, 96, 3), np.uint8)
    assert [len(detector.predict(image, max_detections=n).scores) for n in (9, 350)] == [9, 350]
