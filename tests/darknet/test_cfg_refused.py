import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolojax.darknet.cfg import Cfg, parse_cfg, read_cfg
from yolojax.models.network import Network, check_image_size, variable_shapes

CFGS = sorted((Path(__file__).parents[1] / "golden" / "cfg").glob("*.cfg"))
NET = "[net]\nheight=16\nwidth=24\nchannels=3\n"
REGION = "[region]\nanchors = 1,2, 3.5,4\nclasses=3\nnum=2\nsoftmax=1\n"

CONV = "[conv]\nfilters=16\n"
REFUSED = [
    ("", "my.cfg: no sections"),
    ("height=3\n", "my.cfg:1: a .cfg starts with [net]"),
    ("[conv]\nfilters=1", "my.cfg:1: [net] comes first"),
    (NET, "my.cfg:1: no layer of this network has parameters"),
    (NET + "[softmax]", "my.cfg:1: no layer"),
    (NET.replace("height=16", ""), "my.cfg:1: [net] without height"),
    (NET.replace("=16", "=0"), "my.cfg:2: [net] height=0: must be a whole number from 1 to 8192"),
    (NET.replace("=16", "=1e3"), "my.cfg:2: [net] height=1e3: must be a whole number"),
    (NET.replace("=3", "=1"), "my.cfg:4: [net] channels=1: it changes what is computed, and only"),
    (NET.replace("channels=3", ""), "my.cfg:1: [net] without channels: only channels=3"),
    (NET + "momentum=fast", "my.cfg:5: [net] momentum=fast: must be a number from 0 to 1"),
    (NET + "decay=nan", "my.cfg:5: [net] decay=nan: must be a number"),
    (NET + "decay=1e999", "my.cfg:5: [net] decay=1e999: must be a number"),
    (NET + "batch=1\nbatch=64", "my.cfg:6: batch is 1 in line 5 and 64 here"),
    (NET + "subdivisions=2", "my.cfg:5: [net] subdivisions=2: must be at most batch, which is 1"),
    (NET + "policy=stepps", "Did you mean 'steps'?"),
    (NET + "policy=steps", "my.cfg:1: [net] without steps: must rise"),
    (NET + "policy=steps\nsteps=9,3\nscales=1,1", "my.cfg:6: [net] steps=9,3: must rise"),
    (NET + "policy=steps\nsteps=9\nscales=1,1", "my.cfg:7: [net] scales=1,1: must have a number"),
    (NET + "time_steps=3", "my.cfg:5: [net] time_steps=3: it changes what is computed"),
    (NET + "heigth=3", "Did you mean 'height'?"),
    (NET + "[cov]", "my.cfg:5: [cov] is unknown; known: net, convolutional"),
    (NET + "[cov]", "Did you mean [conv]?"),
    (NET + "[upsample]\nstride=2", "my.cfg:5: [upsample] is not built here, where YOLOv1"),
    (NET + "[conv", "my.cfg:5: a section is [name] alone on its line"),
    (NET + "[conv]\nfilters", "my.cfg:6: a line is [section], key=value or # comment"),
    (NET + "[conv]\nfilters=", "my.cfg:6: a line is [section], key=value"),
    (NET + "[conv]\nsize=3", "my.cfg:5: [convolutional] without filters"),
    (NET + "[conv]\nfilters=1000000000", "my.cfg:6: [convolutional] filters=1000000000: must be"),
    (NET + "[conv]\nfilters=" + "9" * 5000, "999...: must be a whole number from 1 to 65536"),
    (NET + CONV + "size=65", "my.cfg:7: [convolutional] size=65: must be a whole number from 1"),
    (NET + CONV + "stride=0", "my.cfg:7: [convolutional] stride=0"),
    (NET + CONV + "filter=3", "my.cfg:7: [convolutional] has no key 'filter'"),
    (NET + CONV + "filter=3", "Did you mean 'filters'?"),
    (NET + CONV + "groups=2", "my.cfg:5: [convolutional] groups=2 must divide its 3 input chan"),
    (NET + CONV + "groups=3", "groups=3 must divide its 3 input channels and its 16 filters"),
    (NET + CONV + "groups=0", "my.cfg:7: [convolutional] groups=0: must be a whole number from 1"),
    (NET + CONV + "[shortcut]", "my.cfg:7: [shortcut] without from: must be a whole number"),
    (NET + CONV + "[shortcut]\nfrom=1", "my.cfg:7: [shortcut] it takes layer 1, and before it"),
    (NET + CONV + "[shortcut]\nfrom=-2", "my.cfg:7: [shortcut] it takes layer -2, and before it"),
    (NET + CONV + "[shortcut]\nfrom=-1\nalpha=2", "my.cfg:9: [shortcut] alpha=2: it changes"),
    (NET + CONV + "[local]\nfilters=2\nsize=16\n[shortcut]\nfrom=0", "must have the same ratio"),
    (NET + "[conn]\noutput=4\n[shortcut]\nfrom=0", "behind a connected layer there is no map"),
    (NET + CONV + "xnor=1", "only xnor=0 is built here"),
    (NET + CONV + "dontload=1", "only dontload=0 is built here"),
    (NET + CONV + "activation=elo", "my.cfg:7: [convolutional] activation=elo: known: elu, ge"),
    (NET + CONV + "batch_normalize=2", "must be a whole number from 0 to 1"),
    (NET + CONV + "size=20", "my.cfg:5: [convolutional] its window of 20 exceeds the 16 + 0"),
    (NET + CONV + "[max]\nsize=2\npadding=3", "my.cfg:9: [maxpool] padding=3: must be"),
    (NET + CONV + "[local]\nfilters=1\nsize=5\npad=1", "my.cfg:10: [local] pad=1: with size=5 it"),
    (NET + CONV + "[route]\nlayers=1", "my.cfg:7: [route] it takes layers (1,)"),
    (NET + CONV + "[route]\nlayers=-2", "my.cfg:7: [route] it takes layers (-2,)"),
    (NET + CONV + "[route]", "my.cfg:7: [route] without layers: name the layers"),
    (NET + CONV + "[route]\nlayers=" + "-1," * 64 + "-1", "at most 64"),
    (NET + CONV + "[max]\nstride=2\n[route]\nlayers=0,1", "one height and width, got 16 x 24 x 16"),
    (NET + "[reorg]\nstride=2\n" + CONV, "my.cfg:5: [reorg] stride 2 must divide"),
    (NET + CONV + "[reorg]\nstride=2\nreverse=1", "only reverse=0 is built here"),
    (NET + "[crop]\ncrop_height=20\ncrop_width=20\n" + CONV, "my.cfg:5: [crop] the crop 20 x 20 x"),
    (NET + CONV + "[crop]\ncrop_height=2\ncrop_width=2", "stands right behind [net]"),
    (NET + CONV + "[dropout]\nprobability=1", "my.cfg:8: [dropout] probability=1: must be"),
    (NET + "[connected]\noutput=8\n[max]", "my.cfg:7: [maxpool] behind a connected layer there is"),
    (NET + "[connected]\noutput=1e9", "my.cfg:6: [connected] output=1e9: must be a whole number"),
    (NET + "[connected]\noutput=16777216", "[connected] there are 19,344,130,048 parameters"),
    (NET + ("[conv]\nfilters=65536\n" * 2), "my.cfg:7: with [convolutional] there are 4,295,"),
    ((NET + CONV).replace("=24", "=8192").replace("=16", "=8192"), "more than 268,435,456 values"),
    (NET + CONV + "[softmax]\n[conv]\nfilters=1", "my.cfg:8: [convolutional] behind [softmax]"),
    (NET + CONV + REGION + REGION, "which must come last"),
    (NET + CONV + "[softmax]\ntemperature=3\ntree=a", "[softmax] temperature=3: with a tree only"),
    (NET + CONV + REGION + "coords=5", "only coords=4 is built here"),
    (NET + CONV + REGION.replace("num=2", "num=3"), "width and height of num=3 anchors; 4 numbers"),
    (NET + CONV + REGION.replace("1,2,", "1,-2,"), "my.cfg:8: [region] anchors=1,-2, 3.5,4: must"),
    (NET + CONV + REGION.replace("1,2,", "1,,2,"), "must be numbers from"),
    (
        NET + CONV + REGION.replace("classes=3", "classes=4"),
        "my.cfg:7: [region] reads 18 outputs, 2 * (5 + 4) (num, classes) channels, but "
        "[convolutional] in line 5 gives 16 x 24 x 16",
    ),
    (NET + "[conn]\noutput=16\n" + REGION, "[connected] in line 5 gives 16."),
    (NET + "[conn]\noutput=52\n[detection]\nclasses=3\nnum=2", "without coords: only coords=4"),
    (
        NET + "[conn]\noutput=50\n[detection]\nclasses=3\ncoords=4\nnum=2\nside=2",
        "my.cfg:7: [detection] reads 52 outputs, 2 * 2 * (3 + 5 * 2) (side, side, classes, num)",
    ),
    (NET + CONV * 1001, "a .cfg may have 1000 sections, no more"),
    (NET + "#" * 1_000_000, "my.cfg: longer than 1,000,000 bytes"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=range(len(REFUSED)))
def test_refused_with_file_line_and_rule(text, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        parse_cfg(text, "my.cfg")
    assert len(str(error.value)) < 1000
    assert "\n" not in str(error.value)


def test_files_that_are_no_text(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_cfg(tmp_path / "my.cfg")
    (tmp_path / "my.cfg").write_bytes(b"[net]\n\0\0")
    with pytest.raises(ValueError, match="which is text; this is a binary file"):
        read_cfg(tmp_path / "my.cfg")
    (tmp_path / "my.cfg").write_bytes((NET + CONV).encode() + "# größer".encode("latin-1"))
    assert len(read_cfg(tmp_path / "my.cfg").table) == 1


PIECES = [
    *("=", "\n", "[", "]", ",", "-", "0", "9" * 12, "1e9", "nan", "#", "\r", "é", "\u2028"),
    *(
        "[conv]\n",
        "[route]\nlayers=-1,-2\n",
        "[avg]\n",
        "[reorg]\nstride=2\n",
        "[local]\nfilters=3\n",
    ),
    *("[connected]\noutput=4\n", "[max]\nsize=3\n", "[dropout]\n", "size=7\n", "filters=65536\n"),
]
SMALL = [path.read_text() for path in CFGS if path.stem.startswith(("train", "v1cvpr"))]
SMALL.append(NET + CONV + "[route]\nlayers=-1,0\n[local]\nfilters=1\n" + REGION)
EDITS = st.lists(
    st.tuples(
        st.integers(0, 10**6), st.integers(0, 30), st.sampled_from(PIECES) | st.text(max_size=5)
    ),
    min_size=1,
    max_size=4,
)


def edited(text, edits):
    for at, length, piece in edits:
        at %= len(text) + 1
        text = text[:at] + piece + text[at + length :]
    return text


@settings(max_examples=150, deadline=None)  # each builds a network
@given(st.sampled_from(SMALL), EDITS)
def test_a_damaged_cfg_is_a_network_or_a_value_error(text, edits):
    cfg = parsed(edited(text, edits))
    if cfg is not None and fits(cfg):
        shapes = variable_shapes(Network(cfg.table), (cfg.net.height, cfg.net.width))
        assert shapes["params"]


def parsed(text):
    """The Cfg in `text`, or None where that is refused as it should be."""
    try:
        cfg = parse_cfg(text, "my.cfg")
    except ValueError as error:
        if not str(error).startswith("my.cfg"):
            raise
        return None
    assert isinstance(cfg, Cfg)
    return cfg


def fits(cfg):
    """Whether the network takes images of the size in the .cfg."""
    try:
        check_image_size((cfg.net.height, cfg.net.width), cfg.table)
    except ValueError:
        return False
    return True


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="[]=#;, \n\r\tnetcov0123456789.-é\0", max_size=200))
def test_any_text_is_a_network_or_a_value_error(text):
    with pytest.raises(ValueError, match=r"my\.cfg"):
        parse_cfg(text, "my.cfg")
