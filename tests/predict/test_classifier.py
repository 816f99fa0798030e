import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import jax.numpy as jnp
import numpy as np
import pytest

from yolojax import predict
from yolojax.config import Config, DataConfig, ModelConfig
from yolojax.data.classification import viewer
from yolojax.data.records import BadRecord
from yolojax.tasks import Task

GOLDEN = Path(__file__).parents[1] / "golden"
TINY = Path(__file__).parents[3] / "shared" / "data" / "weights"
COLOURS = ("n01", "n02", "n03")  # wnids of red, green, blue
NAMES = ("red", "green", "blue")


def make_classifier(batch_size=1, **data):
    """A classifier whose probabilities are the shares of the three colours in its input."""
    model = SimpleNamespace(apply=lambda variables, images, train: images.mean((1, 2)))
    task = Task(model, lambda raw: raw / jnp.sum(raw, -1, keepdims=True), None, "classes")
    data = DataConfig(image_size=(32, 32), **data)
    config = Config(model=ModelConfig(classes=COLOURS, class_names=NAMES), data=data)
    return predict.Classifier(task, config, {}, batch_size=batch_size)


def picture(height, width):
    """Green with some red in its middle square, blue around it."""
    image = np.full((height, width, 3), (0, 0, 255), np.uint8)
    side, top, left = min(height, width), max(0, height - width) // 2, max(0, width - height) // 2
    image[top : top + side, left : left + side] = (51, 204, 0)
    return image


@pytest.mark.parametrize("resize", ["opencv", "darknet"])
@pytest.mark.parametrize("size", [(32, 32), (64, 160), (160, 64)])
def test_the_centre_crop_is_classified(size, resize):
    classifier = make_classifier(resize=resize, classifier_view="centre_crop")
    result = classifier.predict(picture(*size))
    assert result.names[:2] == ["green", "red"]
    np.testing.assert_allclose(result.probs, [0.8, 0.2, 0.0], atol=0.02)
    assert (result.labels.tolist(), result.classes) == ([1, 0, 2], NAMES)


@pytest.mark.parametrize("resize", ["opencv", "darknet"])
def test_the_letterboxed_picture_is_classified(resize):
    """As `darknet classifier predict`: three fifths of the picture are blue, and half is grey."""
    result = make_classifier(resize=resize).predict(picture(64, 160))
    assert result.names[0] == "blue"


def test_results_are_in_the_order_of_the_pictures():
    classifier = make_classifier(batch_size=2)
    pictures = [np.roll(picture(40, 40), turn, axis=-1) for turn in (0, 1, 2)]
    results = classifier.predict(pictures)
    assert [result.names[0] for result in results] == ["green", "blue", "red"]
    assert classifier._programs.top._cache_size() == 1


def test_classification_as_json_and_as_drawing():
    result = make_classifier().predict(picture(60, 60))
    found = json.loads(json.dumps(result.to_dict()))
    assert (found["file"], found["width"], found["height"]) == ("", 60, 60)
    assert found["classes"][0] == {"class": "green", "class_id": 1, "probability": 0.8}
    assert len(found["classes"]) == 3
    drawn = result.draw()
    assert drawn.shape == (60, 60, 3)
    assert (drawn[0] != result.image[0]).any()
    np.testing.assert_array_equal(drawn[30:50, 20:40], result.image[30:50, 20:40])


def test_result_has_the_path_to_each_class_of_a_tree():
    classifier = make_classifier()
    classifier.config.model.tree = (-1, 0, 0)
    result = classifier.predict(picture(60, 60))
    assert result.paths[0] == ["red", "green"]
    found = json.loads(json.dumps(result.to_dict()))["classes"][0]
    assert (found["wnid"], found["path"]) == ("n02", ["red", "green"])


def test_a_bad_picture_raises_or_calls_on_bad(tmp_path):
    (tmp_path / "bad.jpg").write_text("no picture")
    pictures = [picture(9, 9), tmp_path / "bad.jpg"]
    with pytest.raises(BadRecord, match=r"bad\.jpg: not a picture"):
        make_classifier().predict(pictures)
    errors = []
    assert len(make_classifier().predict(pictures, on_bad=errors.append)) == len(errors) == 1


def test_load_weights_of_a_classifier_with_their_cfg():
    name = "darknet19_narrow"
    weights, cfg = GOLDEN / "weights" / f"{name}.weights", GOLDEN / "cfg" / f"{name}.cfg"
    classifier = predict.load(weights, cfg=cfg, image_size=64)
    assert isinstance(classifier, predict.Classifier)
    assert (classifier.image_size, classifier.config.data.resize) == ((64, 64), "darknet")
    result = classifier.predict(picture(50, 90))
    assert len(result.labels) == 5
    assert (np.diff(result.probs) <= 0).all()


@pytest.mark.skipif(not TINY.exists(), reason="needs Tiny Darknet in ../shared/data")
def test_tiny_darknet_classifies_the_dog():
    classifier = predict.load(TINY / "tiny-darknet" / "tiny.weights")
    middle = viewer("centre_crop", "darknet")(
        cv2.imread(str(TINY / "dog.jpg"))[..., ::-1], (224, 224)
    )
    result = classifier.predict(np.rint(255 * middle).astype(np.uint8))
    # `darknet classifier predict` on the same 224 x 224 pixels.
    assert result.labels.tolist() == [252, 14, 97, 123, 148]
    np.testing.assert_allclose(
        result.probs, [0.4408, 0.1188, 0.0643, 0.0511, 0.0378], rtol=0, atol=1e-4
    )
    # ... and on the whole picture, which it letterboxes.
    result = classifier.predict(TINY / "dog.jpg")
    assert result.labels.tolist() == [14, 59, 252, 155, 148]
    np.testing.assert_allclose(result.probs, [0.1418, 0.0613, 0.0548, 0.0454, 0.0394], atol=2e-3)
