"""Ours against OpenCV's reader of Darknet files, on the .cfg and .weights that we write.

It knows neither [detection] nor [local], and loads no weights behind a [crop]: such sections are
left out here, and what they do to the picture is done by hand.
"""

import re

import cv2
import jax
import numpy as np
import pytest
import small_detector
from random_models import narrow_config, random_image, random_variables

from yolojax.config import Config, DataConfig, ModelConfig
from yolojax.darknet.cfg import parse_cfg
from yolojax.darknet.cfg_writer import cfg_text
from yolojax.darknet.config import config_from_cfg
from yolojax.darknet.weights import save_weights
from yolojax.tasks import build

LAST = {  # OpenCV's name of the layer before the head
    "yolov2": "conv_30",
    "yolov2_tiny_voc": "conv_14",
    "yolov2_tiny_coco": "conv_14",
    "yolo9000": "conv_23",
    "yolov1_paper": "fullyConnected_30",
    "yolov1_tiny": "fullyConnected_14",
    "fast_yolo": "fullyConnected_18",
    "darknet19": "avgpool_24",
    "extraction": "avgpool_25",
    "darknet_reference": "conv_14",
    "tiny_darknet": "avgpool_20",
}


def make_case(config, folder):
    """The task, its random variables, a picture, and OpenCV's network of the same."""
    task, size = build(config), config.data.image_size
    variables = random_variables(task.model, size, 0.2 if task.head != "classes" else 1.0)
    text = re.sub(r"\[(crop|detection)\]\n([a-z_]+=.*\n)*", "", cfg_text(config))
    (folder / "n.cfg").write_text(text)
    save_weights(folder / "n.weights", task.model, variables, 0)
    net = cv2.dnn.readNetFromDarknet(str(folder / "n.cfg"), str(folder / "n.weights"))
    return task, variables, random_image(size), net


def run(net, image, layer):
    """The output of `layer`, an array [B, H, W, C] or [B, C]."""
    net.setInput(image.transpose(2, 0, 1)[None])
    output = net.forward(layer)
    return output.transpose(0, 2, 3, 1) if output.ndim == 4 else output


def compare(config, folder, layer):
    task, variables, image, net = make_case(config, folder)
    ours = jax.jit(task.model.apply)(variables, image[None])
    cropped = config.model.name in ("yolov1_paper", "fast_yolo")
    theirs = run(net, 2 * image - 1 if cropped else image, layer)
    np.testing.assert_allclose(ours, theirs, atol=1e-3 * np.std(ours), rtol=0)


@pytest.mark.parametrize("name", LAST)
def test_raw_equals_opencv_s(name, tmp_path):
    compare(narrow_config(name), tmp_path, LAST[name])


@pytest.mark.parametrize("name", ["yolov2", "yolov2_tiny_voc"])
def test_boxes_equal_opencv_s(name, tmp_path):
    task, variables, image, net = make_case(narrow_config(name), tmp_path)
    ours = jax.jit(lambda v, x: task.decode(task.model.apply(v, x)))(variables, image[None])
    rows = run(net, image, "detection_out")  # centre x, y, w, h, objectness, classes
    x, y, w, h = rows[:, :4].T
    corners = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 1)
    np.testing.assert_allclose(ours.boxes[0], corners, atol=1e-4)
    np.testing.assert_allclose(ours.objectness[0], rows[:, 4], atol=1e-4)


def test_shortcuts_and_groups_equal_opencv_s(tmp_path):
    text = small_detector.CFG.replace("[maxpool]", f"{small_detector.JOINED}[maxpool]")
    config = config_from_cfg(parse_cfg(text, "n.cfg"), name="n", text=text)
    compare(config, tmp_path, "conv_5")


@pytest.mark.slow
def test_full_size_yolov2_equals_opencv_s(tmp_path):
    classes = tuple(map(str, range(20)))
    anchors = ((1.3, 1.7), (3.2, 4.0), (5.1, 8.1), (9.5, 4.8), (11.2, 10.0))
    model = ModelConfig(name="yolov2", classes=classes, anchors=anchors, epsilon="cpu")
    config = Config(model=model, data=DataConfig(image_size=(416, 416)))
    compare(config, tmp_path, "conv_30")
