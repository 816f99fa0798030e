"""Ours against the C program, which runs here on the same .cfg, .weights and picture."""

import ctypes
import re
import subprocess
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import darknet_oracle as oracle
import jax
import numpy as np
import pytest
from random_models import narrow_config, random_image, random_variables

from yolojax.darknet.cfg import parse_cfg
from yolojax.darknet.cfg_writer import cfg_text
from yolojax.darknet.config import config_from_cfg
from yolojax.darknet.weights import save_weights
from yolojax.heads.predictions import scores
from yolojax.models import NETWORKS
from yolojax.models.functional import ACTIVATIONS
from yolojax.ops.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from yolojax.ops.nms import nms
from yolojax.tasks import Task, build

pytestmark = pytest.mark.skipif(
    not (oracle.LIBRARY.exists() and oracle.CFGS.is_dir()),
    reason="needs the original program, as the Debian package darknet installs it",
)
IOU = 0.45
SCORES = {"yolov2-tiny.cfg": 0.03, "yolo9000.cfg": 0.003}  # many classes have little each; else 0.1
NET = "[net]\nheight=20\nwidth=28\nchannels=3\nbatch=1\n"
CONV = "[convolutional]\nbatch_normalize=1\nsize=3\npad=1\nactivation=leaky\n"
END = "[avgpool]\n[connected]\noutput=7\nactivation=linear\n[softmax]\n"
JOINED = {  # the layers of a [shortcut] behind a map of 10 x 14 x 8 (layer 1), and of groups
    "same": "[shortcut]\nfrom=0\nactivation=leaky\n" + CONV + "filters=8\n[shortcut]\nfrom=-2\n",
    "larger map, fewer channels": CONV + "filters=12\nstride=2\n[shortcut]\nfrom=-2\n",
    "larger odd map": CONV + "filters=8\nstride=3\n[shortcut]\nfrom=1\nactivation=relu\n",
    "smaller map, more channels": "[reorg]\nstride=2\n[route]\nlayers=1\n[shortcut]\nfrom=-2\n",
    "groups": CONV + "filters=12\ngroups=4\n" + CONV + "filters=12\ngroups=12\nstride=2\n",
}
QUICK = ("tiny.cfg", "yolov2-tiny-voc.cfg")
SLOW = (
    "darknet.cfg", "darknet19.cfg", "darknet19_448.cfg", "darknet9000.cfg", "extraction.cfg",
    "yolov1-tiny.cfg", "yolov1.cfg", "yolov2-tiny.cfg", "yolov2-voc.cfg", "yolov2.cfg",
    "yolo9000.cfg",
    # None of NETWORKS, but made of the same layers.
    "alexnet.cfg", "cifar.cfg", "densenet201.cfg", "extraction.conv.cfg", "extraction22k.cfg",
    "strided.cfg", "t1.test.cfg", "vgg-16.cfg",
    # Shortcuts, and groups.
    "darknet53.cfg", "resnet18.cfg", "resnet50.cfg", "resnext50.cfg",
)  # fmt: skip


class Case(NamedTuple):
    """A network with random weights, in the files that the program reads."""

    task: Task
    variables: dict
    image: np.ndarray  # [h, w, 3] in 0..1
    classes: int
    cfg: Path
    weights: Path


def make_case(text, folder):
    config = config_from_cfg(parse_cfg(text, "n.cfg"), name="n", text=text)
    task, size = build(config), config.data.image_size
    gain = 1.0 if task.head == "classes" else 0.2
    variables = random_variables(task.model, size, gain)
    classes = len(config.model.classes)
    case = Case(
        task, variables, random_image(size), classes, folder / "n.cfg", folder / "n.weights"
    )
    case.cfg.write_text(text)
    save_weights(case.weights, task.model, variables, 7)
    return case


def setting(key, value, text):
    """`text` of a .cfg with `key` set to `value`, or left out."""
    return re.sub(rf"(?m)^\s*{key}\s*=.*$", f"{key}={value}" if value else "", text)


def published(name):
    """A .cfg of the program's share folder, set for one picture.

    Without a class tree: the softmax over one is broken in the program's CPU form.
    """
    text = setting("batch", 1, (oracle.CFGS / name).read_text())
    text = setting("tree", None, setting("map", None, text))
    return setting("subdivisions", 1, text)


def narrow(name):
    return setting("batch", 1, cfg_text(narrow_config(name)))


def ours(case, score):
    """Raw, and the class probabilities or the detections, as darknet_oracle has them."""
    run = jax.jit(partial(raw_and_meaning, case.task, score))
    raw, meaning = jax.device_get(run(case.variables, case.image[None]))
    if case.task.head == "classes":
        return raw, meaning[0]
    count = int(meaning.count[0])
    boxes, labels, found = (a[0, :count] for a in (meaning.boxes, meaning.labels, meaning.scores))
    rows = np.column_stack([labels, found, xyxy_to_cxcywh(boxes)])
    return raw, rows[np.lexsort((-found, labels))]


def raw_and_meaning(task, score, variables, images):
    raw = task.model.apply(variables, images)
    decoded = task.decode(raw)
    if task.head == "classes":
        return raw, decoded
    many = {"top_k": 2000, "max_detections": 2000}
    settings = {"iou_threshold": IOU, "score_threshold": score, **many}
    return raw, nms(decoded.boxes, scores(decoded), **settings)


def theirs(case, score):
    with oracle.darknet(case.cfg, case.weights) as network:
        raw, last = oracle.predict(network, case.image, len(case.task.model.table) - 1)
        if case.task.head == "classes":
            return raw, last.ravel()
        return raw, oracle.detections(network, case.classes, score, IOU)


def compare(text, folder, score=0.1):
    case = make_case(text, folder)
    raw, meaning = ours(case, score)
    their_raw, their_meaning = theirs(case, score)
    np.testing.assert_allclose(raw.ravel(), their_raw.ravel(), atol=1e-4 * raw.std(), rtol=0)
    assert len(their_meaning) > 3  # classes or detections
    np.testing.assert_allclose(meaning, their_meaning, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", QUICK)
def test_a_published_network_equals_the_original_program(name, tmp_path):
    compare(published(name), tmp_path)


@pytest.mark.parametrize("joined", JOINED)
def test_shortcuts_and_groups_equal_the_original_program(joined, tmp_path):
    start = CONV + "filters=8\n" + CONV + "filters=8\nstride=2\n"
    text = NET + start + JOINED[joined] + CONV + "filters=9\n" + END
    compare(text, tmp_path)
    case = make_case(text, tmp_path)
    with oracle.darknet(case.cfg, case.weights) as network:
        for index in range(1, len(case.task.model.table) - 2):
            wanted, _ = oracle.predict(network, case.image, index)
            found = case.task.model.apply(case.variables, case.image[None], all_outputs=True)
            np.testing.assert_allclose(found[index][0], wanted, atol=1e-5 * np.std(wanted) + 1e-5)


def test_activations_equal_the_original_program():
    c = oracle.library()
    c.activate.argtypes, c.activate.restype = [ctypes.c_float, ctypes.c_int], ctypes.c_float
    x = np.linspace(-9, 9, 145, dtype=np.float32)
    fork = {"gelu", "hard_mish", "mish", "relu6", "revleaky", "swish"}
    for name in set(ACTIVATIONS) - fork:
        number = c.get_activation(name.encode())
        theirs = [c.activate(value, number) for value in x]
        np.testing.assert_allclose(ACTIVATIONS[name](x), theirs, 1e-5, 1e-6, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_every_published_network_equals_the_original_program(name, tmp_path):
    compare(published(name), tmp_path, SCORES.get(name, 0.1))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_program_reads_the_cfg_and_weights_of_each_network(name, tmp_path):
    compare(narrow(name), tmp_path)


@pytest.mark.parametrize("name", ["yolov1", "groups"])
def test_the_program_writes_the_same_bytes(name, tmp_path):
    # yolov1: convolutions, a local and a connected layer
    text = narrow(name) if name in NETWORKS else NET + CONV + "filters=8\n" + JOINED[name] + END
    case = make_case(text, tmp_path)
    with oracle.darknet(case.cfg, case.weights) as network:
        oracle.save_weights(network, tmp_path / "again.weights")
    assert (tmp_path / "again.weights").read_bytes() == case.weights.read_bytes()


def test_the_cost_of_boxes_of_two_classes_at_one_anchor_is_the_program_s(tmp_path):
    """One image of one colour, with boxes that a flip leaves in place: nothing here is random."""
    net = "[net]\nheight=64\nwidth=64\nchannels=3\nlearning_rate=1e-7\nmax_batches=7\n"
    head = "[region]\nclasses=3\nnum=2\nanchors=1,1,2,1\ncoords=4\njitter=0\nthresh=.6\nsoftmax=0\n"
    conv = "[convolutional]\nfilters=16\nsize=32\nstride=32\nactivation=linear\n"
    case = make_case(net + conv + head, tmp_path)
    save_weights(case.weights, case.task.model, case.variables, 4)
    box, labels = (0.5, 0.3, 0.6, 0.4), (0, 2)
    files = {
        "a.txt": "".join(f"{label} {' '.join(map(str, box))}\n" for label in labels),
        "train.txt": f"{tmp_path}/a.png\n",
        "names": "a\nb\nc\n",
        "n.data": f"classes=3\ntrain={tmp_path}/train.txt\nnames={tmp_path}/names\n"
        f"backup={tmp_path}\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    cv2.imwrite(f"{tmp_path}/a.png", np.full((64, 64, 3), 90, np.uint8))
    command = ["stdbuf", "-oL", "darknet", "detector", "train", "n.data", "n.cfg", "n.weights"]
    out = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    wanted = float(re.search(r"^5: ([\d.]+),", out, re.MULTILINE)[1])

    raw = np.full((1, 64, 64, 3), 90 / 255, np.float32)
    raw = jax.jit(case.task.model.apply)(case.variables, raw)
    batch = {
        "boxes": cxcywh_to_xyxy(np.float32([[box, box]])),
        "labels": np.int32([labels]),
        "mask": np.ones((1, 2), bool),
    }
    metrics = jax.jit(case.task.loss)(raw, batch, 5)[1]
    assert metrics["darknet_cost"] == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("side", [75, 70])
def test_sizes_that_pools_round_up_equal_the_original_program(side, tmp_path):
    # 75 -> 38, 19, 10, 5; 70 -> 35, 18, 9, 5
    net = NET.replace("20", str(side)).replace("28", str(side))
    body = "".join(f"{CONV}filters={n}\n[maxpool]\nsize=2\nstride=2\n" for n in (4, 8, 8, 16))
    output = "[convolutional]\nfilters=16\nsize=1\nactivation=linear\n"
    region = "[region]\nanchors=1,2, 3.5,4\nclasses=3\nnum=2\nsoftmax=1\n"
    compare(net + body + output + region, tmp_path, score=0.03)


def test_the_temperature_of_a_softmax_equals_the_original_program(tmp_path):
    compare(NET + CONV + "filters=9\n" + END + "temperature=3\n", tmp_path)
