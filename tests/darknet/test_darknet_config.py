import re
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolojax.config import Config, from_dict, to_dict
from yolojax.darknet.cfg import parse_cfg, read_cfg
from yolojax.darknet.cfg_writer import cfg_text
from yolojax.darknet.config import config_from_cfg
from yolojax.models import NETWORKS
from yolojax.models.summary import layer_table, totals
from yolojax.tasks import build, build_model, for_inference

CFGS = sorted((Path(__file__).parents[1] / "golden" / "cfg").glob("*.cfg"))
LIBRARY = Path("/usr/lib/darknet/libdarknet.so")
RECIPE = """[net]
batch=64
subdivisions=8
height=64
width=96
channels=3
momentum=0.8
decay=0.0002
saturation=1.4
exposure=1.3
hue=.2
learning_rate=0.001
burn_in=10
power=3
max_batches=500
policy=steps
steps=-1,100,400
scales=.1,10,.5
"""
OUTPUT = "[conv]\nfilters=12\nsize=1\nstride=32\nactivation=linear\n"
REGION = """[region]
anchors=1,2, 3,4
classes=1
num=2
softmax=1
jitter=.25
rescore=1
bias_match=1
object_scale=5
noobject_scale=2
class_scale=3
coord_scale=4
thresh=.7
random=1
"""


def config_of(text, **options):
    return config_from_cfg(parse_cfg(text, "my.cfg"), name="my.cfg", text=text, **options)


def small(name):
    """A config of network `name`, an eighth as wide."""
    config = Config()
    config.model.name, config.model.width = name, 0.125
    config.model.classes = ("cat", "dog")
    config.model.anchors = ((0.1, 1 / 3), (2.0, 1e-5))
    config.model.boxes, config.model.side, config.model.square_root = 3, 2, False
    config.data.image_size = (64, 96)
    config.optimizer.step_images = (64 * 100, 64 * 300)
    config.optimizer.step_scales = (0.1, 1e-5)
    return config


def test_net_and_region_become_a_config():
    config = config_of(RECIPE + OUTPUT + REGION, classes=("cat",))
    model, data, loss, optimizer = config.model, config.data, config.loss, config.optimizer
    assert (model.name, model.cfg) == ("my.cfg", RECIPE + OUTPUT + REGION)
    assert (model.classes, model.anchors) == (("cat",), ((1, 2), (3, 4)))
    assert (model.epsilon, model.width) == ("cpu", 1)
    assert (data.image_size, data.resize, data.letterbox) == ((64, 96), "darknet", True)
    assert data.multiscale == (320, 352, 384, 416, 448, 480, 512, 544, 576, 608)
    augment = data.augment
    assert (augment.geometry, augment.jitter, augment.flip) == ("letterbox", 0.25, 0.5)
    assert (augment.saturation, augment.exposure, augment.hue) == (1.4, 1.3, 0.2)
    assert (loss.coord_weight, loss.object_weight) == (4, 5)
    assert (loss.noobject_weight, loss.class_weight) == (2, 3)
    assert (loss.ignore_threshold, loss.rescore, loss.assignment) == (0.7, True, "prior")
    assert (optimizer.batch_size, optimizer.subdivisions) == (64, 8)
    assert (optimizer.images, optimizer.burn_in_images) == (500 * 64, 10 * 64)
    assert (optimizer.burn_in_power, optimizer.momentum) == (3, 0.8)
    assert optimizer.weight_decay == 0.0002
    assert (config.eval.score_threshold, config.eval.iou_threshold) == (0.005, 0.45)
    assert (config.eval.top_k, config.eval.max_detections) == (4096, 1000)


def test_max_limits_the_ground_truth_boxes_of_a_picture():
    detection = "[connected]\noutput=44\n[detection]\nclasses=1\ncoords=4\nnum=2\nside=2\n"
    for text in (RECIPE + OUTPUT + REGION, RECIPE + detection):
        assert config_of(text).data.max_boxes == 30
        config = config_of(f"{text}max=77\n")
        assert config.data.max_boxes == 77
        assert "\nmax=77\n" in cfg_text(config)


def test_classes_without_softmax_have_sigmoids():
    without = config_of(RECIPE + OUTPUT + REGION.replace("softmax=1", "softmax=0"))
    assert without.model.class_activation == "sigmoid"
    assert "\nsoftmax=0\n" in cfg_text(without)
    assert config_of(RECIPE + OUTPUT + REGION).model.class_activation == "softmax"


@pytest.mark.parametrize(
    ("assignment", "key"), [("prior", 1), ("predicted_shape", 0), ("neighbours", 1)]
)
def test_bias_match_is_the_assignment_to_priors(assignment, key):
    config = small("yolov2")
    config.loss.assignment = assignment
    text = cfg_text(config)
    assert f"\nbias_match={key}\n" in text
    assert config_of(text).loss.assignment == ("prior" if key else "predicted_shape")


def test_anchor_location_has_no_cfg():
    config = small("yolov2")
    config.model.location = "anchor"
    with pytest.raises(ValueError, match=r"location is 'anchor', but Darknet.* as \.safetensors"):
        cfg_text(config)


CLASSIFIER = RECIPE + "[conv]\nfilters=3\n[avg]\n[softmax]"


def test_a_classifier_uses_the_first_names_of_a_longer_list():
    assert config_of(CLASSIFIER, classes=("a", "b", "c", "d")).model.classes == ("a", "b", "c")
    with pytest.raises(ValueError, match="has 3 classes, but there are 2 names"):
        config_of(CLASSIFIER, classes=("a", "b"))
    with pytest.raises(ValueError, match="has 1 classes, but there are 2 names"):
        config_of(RECIPE + OUTPUT + REGION, classes=("a", "b"))


def test_repeated_names_get_unique_classes():
    model = config_of(CLASSIFIER, classes=("crane", "dog", "crane")).model
    assert model.classes == ("crane 0", "dog", "crane 2")
    assert model.shown == ("crane", "dog", "crane")


@pytest.mark.parametrize("policy", ["step", "exp", "sigmoid", "random"])
def test_a_policy_without_stored_values_is_not_written(policy):
    config = config_of(RECIPE.replace("steps\n", f"{policy}\n", 1) + OUTPUT + REGION)
    assert config.optimizer.policy == policy
    with pytest.raises(ValueError, match=f"policy is '{policy}', .* set one of constant, steps"):
        cfg_text(config)


def test_unset_weights_are_the_defaults_of_the_loss():
    v1 = parse_cfg(cfg_text(small("yolov1_tiny")), "a").head
    v2 = parse_cfg(cfg_text(small("yolov2_tiny_voc")), "a").head
    assert (v1.coord_scale, v1.object_scale, v1.noobject_scale, v1.class_scale) == (5, 1, 0.5, 1)
    assert (v2.coord_scale, v2.object_scale, v2.noobject_scale, v2.class_scale) == (1, 5, 1, 1)


def test_a_step_before_the_first_update_applies_from_the_start():
    optimizer = config_of(RECIPE + OUTPUT + REGION).optimizer
    assert optimizer.learning_rate == pytest.approx(0.1 * 0.001)
    assert (optimizer.step_images, optimizer.step_scales) == ((6400, 25600), (10, 0.5))


def test_without_names_classes_are_numbered():
    text = RECIPE + OUTPUT.replace("12", "14") + REGION.replace("classes=1", "classes=2")
    assert config_of(text).model.classes == ("class 0", "class 1")
    with pytest.raises(
        ValueError, match=r"my\.cfg: the network has 2 classes, but there are 1 names"
    ):
        config_of(text, classes=("cat",))


def test_detection_is_squashed_and_cropped():
    head = "[detection]\nclasses=2\ncoords=4\nnum=3\nside=2\nsqrt=1\nsoftmax=1\nrandom=1\njitter=.1"
    config = config_of(f"{RECIPE}[connected]\noutput=68\n{head}")
    model, data = config.model, config.data
    assert (model.boxes, model.side, model.square_root, model.class_softmax) == (3, 2, True, True)
    assert (data.letterbox, data.multiscale, data.augment.geometry) == (False, (), "crop")
    assert (data.augment.jitter, len(model.classes)) == (0.1, 2)
    assert config.eval.iou_threshold == 0.5


def test_classifier_has_its_own_augmentation():
    crop = "angle=7\naspect=.75\nmax_crop=144\n"
    config = config_of(f"{RECIPE}{crop}[conv]\nfilters=5\n[avg]\n[softmax]")
    assert (len(config.model.classes), config.eval.metric) == (5, "top1")
    data = config.data
    assert (data.image_size, data.letterbox, data.resize) == ((64, 96), False, "darknet")
    assert data.classifier.scales == (1, 1.5)
    assert (data.classifier.angle, data.classifier.aspect) == (7, 0.75)
    assert data.classifier.saturation == 1.4


def test_a_known_network_is_set_by_its_name():
    config = small("yolov2_tiny_voc")
    config.model.width = 1.0
    text = cfg_text(config)
    model = config_of(text).model
    assert (model.name, model.cfg) == ("yolov2_tiny_voc", "")
    softmax = text[: text.index("[region]")] + "[avgpool]\n[softmax]\n"
    assert config_of(softmax).model.cfg == softmax  # no longer a detector


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            RECIPE.replace("subdivisions=8", "subdivisions=128") + OUTPUT + REGION,
            "my.cfg:3: [net] subdivisions=128: must be at most batch, which is 64",
        ),
        (RECIPE + OUTPUT, "its output 2 x 3 x 12 is a map; add an [avgpool]"),
    ],
)
def test_bad_net_and_missing_head_raise(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        config_of(text)


@pytest.mark.parametrize("name", NETWORKS)
def test_config_to_cfg_and_back(name):
    config = small(name)
    text = cfg_text(config)
    cfg = parse_cfg(text, "my.cfg")
    network, head = build_model(config.model)
    ours, theirs = (
        [replace(x, name="") if hasattr(x, "name") else x for x in table]
        for table in (network.table, cfg.table)
    )
    assert ours == theirs
    assert cfg.head.kind == head
    again = config_of(text, classes=config.model.classes)
    assert cfg_text(again) == text
    assert again == from_dict(to_dict(again))
    for field in ("batch_size", "images", "step_images", "step_scales", "learning_rate"):
        assert getattr(again.optimizer, field) == getattr(config.optimizer, field)
    assert again.data.image_size == (64, 96)
    if head == "region":
        assert again.model.anchors == config.model.anchors
    if head == "yolov1":
        assert (again.model.boxes, again.model.side, again.model.square_root) == (3, 2, False)


@pytest.mark.parametrize("path", CFGS, ids=lambda path: path.stem)
def test_cfg_to_config_and_back(path):
    cfg = read_cfg(path)
    again = parse_cfg(cfg_text(config_of(path.read_text())), "again.cfg")
    assert (again.table, again.head) == (cfg.table, cfg.head)
    for field in ("height", "width", "batch", "policy", "steps", "scales", "momentum", "decay"):
        assert getattr(again.net, field) == getattr(cfg.net, field)


@pytest.mark.parametrize("name", ["yolov2", "yolov2_tiny_coco"])
def test_opencv_reads_the_cfg(tmp_path, name):
    config = small(name)
    config.model.anchors = ((1.0, 2.0), (3.0, 4.0))
    rows = layer_table(build_model(config.model)[0], (64, 96))
    floats = np.full(totals(rows)["floats"], 0.01, np.float32).tobytes()
    (tmp_path / "my.cfg").write_text(cfg_text(config))
    (tmp_path / "my.weights").write_bytes(struct.pack("<iiiq", 0, 2, 0, 0) + floats)
    network = cv2.dnn.readNetFromDarknet(str(tmp_path / "my.cfg"), str(tmp_path / "my.weights"))
    network.setInput(np.zeros((1, 3, 64, 96), np.float32))
    height, width, channels = rows[-1].output
    assert network.forward(f"conv_{rows[-1].index}").shape == (1, channels, height, width)


@pytest.mark.skipif(not LIBRARY.is_file(), reason="the original program is not installed")
@pytest.mark.parametrize("name", ["yolov2", "yolov1", "yolov1_paper", "tiny_darknet"])
def test_the_original_program_reads_the_cfg(tmp_path, name):
    path = tmp_path / "my.cfg"
    path.write_text(cfg_text(small(name)))
    script = "import ctypes, sys\nctypes.CDLL(sys.argv[1]).parse_network_cfg(sys.argv[2].encode())"
    command = [sys.executable, "-c", script, str(LIBRARY), str(path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert not re.search("Unused|not recogn|Couldn't find", printed)
    rows = layer_table(build_model(small(name).model)[0], (64, 96))
    wanted = [row.output for row in rows if row.kind in ("conv", "maxpool")]
    lines = [line for line in printed.splitlines() if re.match(r" +\d+ (conv|max) ", line)]
    found = [re.search(r"-> +(\d+) x +(\d+) x +(\d+)", line).groups() for line in lines]
    assert [(int(h), int(w), int(c)) for w, h, c in found] == wanted


TINY = """[net]
height={size}
width={size}
channels=3
"""


@pytest.mark.parametrize(("size", "cells"), [(150, 5), (224, 7), (300, 10), (208, 7)])
def test_sizes_that_pools_round_up(size, cells):
    pool, output = "[maxpool]\nsize=2\nstride=2\n", "[conv]\nfilters=8\nactivation=linear\n"
    region = "[region]\nanchors=1,2\nclasses=3\nnum=1\n"
    text = TINY.format(size=size) + pool * 5 + output + region
    config = config_of(text)
    assert config.data.image_size == (size, size)
    task, image = build(config), jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    raw, _ = jax.eval_shape(task.model.init_with_output, jax.random.key(0), image)
    assert raw.shape == (1, cells, cells, 8)
    assert [row.output for row in layer_table(task.model, (size, size))][-1] == (cells, cells, 8)
    # Boxes are in parts of the real grid: the first has its centre in the middle of the first cell.
    low, high = np.split(np.asarray(task.decode(jnp.zeros(raw.shape)).boxes[0, 0]), 2)
    np.testing.assert_allclose((low + high) / 2, 0.5 / cells, rtol=1e-6)
    np.testing.assert_allclose(high - low, np.array([1, 2]) / cells, rtol=1e-6)


def test_the_folded_network_takes_sizes_that_pools_round_up():
    text = TINY.format(size=7) + "[conv]\nfilters=8\n[maxpool]\nsize=2\nstride=2\n"
    text += "[region]\nanchors=1,2\nclasses=3\nnum=1\n"
    task, image = build(config_of(text)), jnp.ones((1, 7, 7, 3))
    raw, variables = task.model.init_with_output(jax.random.key(0), image)
    folded, variables = for_inference(task, variables, "cpu")
    assert raw.shape == (1, 4, 4, 8)
    np.testing.assert_allclose(folded.model.apply(variables, image), raw, rtol=1e-6)


def test_a_known_network_of_a_rounded_size_keeps_its_cfg():
    config = small("yolov2_tiny_voc")
    config.model.width = 1.0
    text = cfg_text(config)
    sizes = (f"height={n}\nwidth={n}\n" for n in (64, 75))
    given, rounded = (re.sub(r"height=.*\nwidth=.*\n", size, text) for size in sizes)
    assert (config_of(given).model.name, config_of(given).model.cfg) == ("yolov2_tiny_voc", "")
    assert config_of(rounded).model.cfg == rounded
    assert build_model(config_of(rounded).model)[0].any_size


def test_layers_that_do_not_fit_a_rounded_size_are_refused():
    text = TINY.format(size=64) + "[conv]\nfilters=16\n[reorg]\nstride=4\n[conv]\nfilters=8\n"
    config = config_of(text + "[region]\nanchors=1,2\nclasses=3\nnum=1\n")
    with pytest.raises(
        ValueError, match=r"= \(66, 64\): stride 4 must divide .*; try multiples of 4"
    ):
        layer_table(build(config).model, (66, 64))
