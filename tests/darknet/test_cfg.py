import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from yolojax.darknet.cfg import known_name, parse_cfg, read_cfg
from yolojax.models import NETWORKS
from yolojax.models.layers import (
    KINDS,
    AvgPool,
    Connected,
    Conv,
    Crop,
    Dropout,
    Local,
    MaxPool,
    Reorg,
    Route,
    Shortcut,
    output_shapes,
)

GOLDEN = Path(__file__).parents[1] / "golden"
SHARE = Path("/usr/share/darknet/cfg")  # of the Debian package of the original program
LIBRARY = Path("/usr/lib/darknet/libdarknet.so")
NET = "[net]\nheight=16\nwidth=24\nchannels=3\n"
REGION = """[region]
anchors = 1,2, 3.5,4
classes=3
num=2
softmax=1
"""
EVERY_LAYER = """
; a comment, and blanks where there may be some
[crop]
crop_height = 16
crop_width=12
[conv]
  filters = 8   # before the comment
size=4
padding=1
[convolutional]
filters=4
size=3
stride=2
pad=1
batch_normalize=1
activation=leaky
[reorg]
stride=2
[max]
size=2
[route]
layers = -1, 3
[local]
filters=2
size=3
pad=1
activation=linear
[avg]
[dropout]
probability=.25
[conn]
output=7
activation=relu
[connected]
output=5
batch_normalize=1
"""


def net_of(*lines):
    return parse_cfg(NET + "\n".join(lines), "my.cfg")


def test_every_layer_and_its_defaults():
    cfg = parse_cfg(("\ufeff" + NET + EVERY_LAYER).replace("\n", "\r\n"), "my.cfg")
    assert cfg.table == (
        Crop(16, 12),
        Conv(8, 4, 1, False, "logistic", "conv01", 1),
        Conv(4, 3, 2, True, "leaky", "conv02"),
        Reorg(2),
        MaxPool(2, 1),
        Route((-1, 3)),
        Local(2, 3, 1, "linear", "local06", 1),
        AvgPool(),
        Dropout(0.25),
        Connected(7, False, "relu", "connected09"),
        Connected(5, True, "logistic", "connected10"),
    )
    assert [type(layer) for layer in cfg.table[3:5]] == [Reorg, MaxPool]
    assert cfg.head.kind == "classes"
    assert not cfg.head.softmax


@pytest.mark.parametrize(
    ("section", "layer"),
    [
        ("[conv]\nfilters=2\nsize=3", Conv(2, 3, 1, False, "logistic", "conv00", 0)),
        ("[conv]\nfilters=2\nsize=3\npadding=1", Conv(2, 3, 1, False, "logistic", "conv00")),
        ("[conv]\nfilters=2", Conv(2, 1, 1, False, "logistic", "conv00")),
        ("[conv]\nfilters=2\nsize=4\npad=1", Conv(2, 4, 1, False, "logistic", "conv00")),
        ("[max]\nstride=2\n[conv]\nfilters=1", MaxPool(2, 2)),
        ("[max]\nsize=3\nstride=2\npadding=0\n[conv]\nfilters=1", MaxPool(3, 2, 0)),
        ("[max]\nsize=3\npadding=2\n[conv]\nfilters=1", MaxPool(3, 1)),
        ("[local]\nfilters=2\nsize=3", Local(2, 3, 1, "logistic", "local00", 0)),
        ("[crop]\ncrop_height=16\ncrop_width=24\n[conv]\nfilters=1", Crop()),
    ],
)
def test_padding_and_stride_by_default(section, layer):
    assert net_of(section).table[0] == layer


@pytest.mark.skipif(not LIBRARY.is_file(), reason="the original program is not installed")
def test_defaults_are_those_of_the_c_program(tmp_path):
    # 0: size 1. 2: size of the stride. 3: stride 1. 4: padding alone. 5, 6: local without and with.
    text = NET + "[conv]\nfilters=2\n[conv]\nfilters=4\nsize=3\n[max]\nstride=2\n[max]\nsize=3\n"
    text += "[conv]\nfilters=4\nsize=5\npadding=1\nstride=2\n[max]\nsize=2\nstride=2\npadding=0\n"
    path = tmp_path / "my.cfg"
    path.write_text(text)
    script = "import ctypes, sys\nctypes.CDLL(sys.argv[1]).parse_network_cfg(sys.argv[2].encode())"
    command = [sys.executable, "-c", script, str(LIBRARY), str(path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    found = re.findall(r"-> +(\d+) x +(\d+) x +(\d+)", printed)
    cfg = read_cfg(path)
    wanted = output_shapes(cfg.table, (16, 24, 3))
    assert [(int(h), int(w), int(c)) for w, h, c in found] == wanted


def test_shortcut_and_groups_are_read_and_written():
    text = "[conv]\nfilters=4\n[conv]\nfilters=8\nsize=3\npad=1\ngroups=4\n[shortcut]\nfrom=-2"
    table = net_of(text).table
    grouped = Conv(8, 3, 1, False, "logistic", "conv01", groups=4)
    assert table[1:] == (grouped, Shortcut(-2, "linear"))
    assert table[1].to_keys()["groups"] == 4
    assert "groups" not in table[0].to_keys()
    assert table[2].to_keys() == {"from": -2, "activation": "linear"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_keys_of_each_kind_make_the_layer_again(kind):
    layers = {Conv: Conv(6, 5, 2, padding=1, groups=3), Route: Route((-1, 2)), MaxPool: MaxPool(3)}
    layers |= {Local: Local(4), Connected: Connected(9), Shortcut: Shortcut(1, "relu")}
    layer = layers.get(kind) or kind()
    defaults = {name: key.default for name, key in kind.keys.items()}
    defaults |= {"padding": 2} if kind is MaxPool else {}
    assert kind.from_keys({**defaults, **layer.to_keys()}) == layer


def test_net_has_darknet_s_defaults():
    net = net_of("[conv]\nfilters=1").net
    assert (net.height, net.width, net.batch, net.subdivisions) == (16, 24, 1, 1)
    assert (net.learning_rate, net.momentum, net.decay, net.power) == (0.001, 0.9, 0.0001, 4)
    assert (net.policy, net.steps, net.scales, net.max_batches) == ("constant", (), (), 0)
    assert (net.saturation, net.exposure, net.hue, net.aspect, net.angle) == (1, 1, 0, 1, 0)


def test_region_detection_and_softmax():
    region = net_of("[conv]\nfilters=16", REGION).head
    assert (region.kind, region.anchors) == ("region", ((1, 2), (3.5, 4)))
    assert (region.classes, region.num, region.softmax, region.rescore) == (3, 2, True, False)
    assert (region.thresh, region.jitter, region.coord_scale) == (0.5, 0.2, 1)
    body = "[connected]\noutput=52\n"
    detection = net_of(body, "[detection]\nclasses=3\ncoords=4\nnum=2\nside=2\nsqrt=1").head
    assert detection.kind == "yolov1"
    assert (detection.side, detection.num, detection.classes) == (2, 2, 3)
    assert (detection.sqrt, detection.softmax) == (True, False)
    softmax = net_of(body, "[softmax]\ngroups=1\ntree=my.tree\n[cost]\ntype=masked").head
    assert (softmax.kind, softmax.softmax, softmax.tree) == ("classes", True, "my.tree")


@pytest.mark.parametrize(
    "name",
    [
        "v2_narrow",
        "v2tiny_narrow",
        "v1_narrow",
        "v1tiny_narrow",
        "v1cvpr_narrow",
        "darknet19_narrow",
    ],
)
def test_shapes_are_those_the_c_program_recorded(name):
    cfg = read_cfg(GOLDEN / "cfg" / f"{name}.cfg")
    arrays = np.load(GOLDEN / f"e2e_{name}.npz")
    recorded = {int(key[1:3]): arrays[key].shape for key in arrays.files if key[0] == "l"}
    shapes = output_shapes(cfg.table, (cfg.net.height, cfg.net.width, 3))
    for i, shape in enumerate(shapes):
        if i in recorded:  # no dropout is
            c, *places = recorded[i][1:]
            assert shape == ((*places, c) if places else (*shape[:-1], c)), i


def test_a_published_network_has_its_names():
    text = "\n".join(f"[conv]\nfilters={n}\nsize=3\npad=1\n[max]\nstride=2" for n in (16, 32))
    assert known_name(net_of(text).table) is None
    for name, architecture in NETWORKS.items():
        table = architecture.table(98)
        assert known_name(table) == name
        bare = tuple(replace(x, name="") if hasattr(x, "name") else x for x in table)
        assert known_name(bare) == name
        assert known_name(table[1:]) is None


@pytest.mark.skipif(not SHARE.is_dir(), reason="the original program is not installed")
def test_the_files_of_the_original_program_are_read_or_refused_by_line():
    known, refused = {}, {}
    for path in sorted(SHARE.glob("*.cfg")):
        try:
            known[path.stem] = known_name(read_cfg(path).table)
        except ValueError as error:
            refused[path.stem] = str(error).removeprefix(str(path))
    assert {name: network for name, network in known.items() if network} == {
        "darknet": "darknet_reference",
        "darknet19": "darknet19",
        "darknet19_448": "darknet19",
        "darknet9000": "darknet19",
        "extraction": "extraction",
        "tiny": "tiny_darknet",
        "yolo9000": "yolo9000",
        "yolov1": "yolov1",
        "yolov1-tiny": "yolov1_tiny",
        "yolov2": "yolov2",
        "yolov2-tiny": "yolov2_tiny_coco",
        "yolov2-tiny-voc": "yolov2_tiny_voc",
        "yolov2-voc": "yolov2",
    }
    assert {"alexnet", "cifar", "densenet201", "strided", "vgg-16"} <= set(known)
    assert {"darknet53", "resnet18", "resnet50", "resnet101", "resnext50"} <= set(known)
    families = r"go|gru|rnn|yolov3|cifar\.test"
    assert all(re.match(families, name) for name in refused)
    assert all(
        re.match(r":(\d+:| \d+ problems\.) .*(built here|leave one)", text)
        for text in refused.values()
    )
