"""Keys and values as they are in other people's .cfg files."""

import pytest

from yolojax.darknet.cfg import parse_cfg
from yolojax.darknet.cfg_writer import cfg_text
from yolojax.darknet.config import config_from_cfg

NET = "[net]\nheight=16\nwidth=24\nchannels=3\n"
CONV = "[convolutional]\nfilters=16\n"
ANCHORS = "anchors=1,2, 3.5,4\n"
REGION = f"[region]\n{ANCHORS}classes=3\nnum=2\nsoftmax=1\n"


def parsed(net="", conv="", region="", end=REGION):
    return parse_cfg(NET + net + CONV + conv + end + region, "my.cfg")


def problem(**lines):
    with pytest.raises(ValueError, match=r"^my\.cfg:") as error:
        parsed(**lines)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_file_of_the_original_program_has_no_note():
    net = "batch=1\nangle=0\nhue=.1\nscale=.1\nmax_batches=9\npolicy=constant\n"
    assert parsed(net, "pad=1\nbinary=0\n", "absolute=1\nbias_match=1\nmask_scale=1\n").note == ""


def test_keys_of_training_alone_are_noted_in_one_line():
    cfg = parsed("mosaic=1\ncutmix=0\nadam=1\n", "stopbackward=1\n", "ignore_thresh = .7\n")
    wanted = "ignored, no effect on inference: mosaic=1, cutmix=0, adam=1, ignore_thresh=.7"
    assert cfg.note == f"my.cfg: {wanted}"
    assert cfg._replace(note="") == parsed()


def test_keys_that_darknet_does_not_know_are_noted():
    cfg = parsed("foo=3\nfoo=4\nbar=1\n", "foo=3\n")
    assert cfg.note == "my.cfg: ignored, no keys of Darknet: foo=3, bar=1"


@pytest.mark.parametrize(
    "lines",
    [
        {"conv": "dilation=1\nantialiasing=0\nstride_x=1\nstride_y=1\nxnor=0\nbinarize=0\n"},
        {"conv": "stride=2\nstride_x=2\nstride_y=2\n"},
        {"conv": "[maxpool]\nsize=2\nstride=2\nstride_x=2\nmaxpool_depth=0\nantialiasing=0\n"},
        {"conv": "[route]\nlayers=-1\ngroups=1\ngroup_id=0\n"},
        {"conv": "[shortcut]\nfrom=-1\nweights_type=none\nweights_normalization=none\n"},
        {"region": "scale_x_y=1.0\nbackground=0\nnew_coords=0\n"},
    ],
)
def test_values_that_change_nothing_are_taken(lines):
    assert parsed(**lines).note == ""


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ({"conv": "xnor=1\n"}, "7: [convolutional] xnor=1: it changes what is computed, and only"),
        ({"conv": "bin_output=1\n"}, "7: [convolutional] bin_output=1"),
        ({"conv": "binarize=1\n"}, "7: [convolutional] binarize=1"),
        ({"conv": "dilation=2\n"}, "7: [convolutional] dilation=2: it changes what is computed"),
        ({"conv": "antialiasing=1\n"}, "7: [convolutional] antialiasing=1: it changes"),
        ({"conv": "share_index=2\n"}, "7: [convolutional] share_index=2: it changes"),
        ({"conv": "stride_x=2\n"}, "stride_x=2: it changes what is computed, and only stride_x=st"),
        ({"conv": "stride=2\nstride_y=1\n"}, "8: [convolutional] stride_y=1"),
        ({"conv": "[maxpool]\nmaxpool_depth=1\nout_channels=4\n"}, "8: [maxpool] maxpool_depth=1"),
        ({"conv": "[route]\nlayers=-1\ngroups=2\n"}, "9: [route] groups=2"),
        ({"conv": "[shortcut]\nfrom=-1\nweights_type=per_feature\n"}, "9: [shortcut] weights_type"),
        ({"region": "scale_x_y=1.2\n"}, "[region] scale_x_y=1.2"),
        ({"region": "background=1\n"}, "[region] background=1: it changes what is computed"),
        ({"end": "[softmax]\nspatial=1\n"}, "[softmax] spatial=1: it changes what is computed"),
        ({"net": "time_steps=3\n"}, "5: [net] time_steps=3"),
    ],
)
def test_keys_that_change_outputs_are_refused(lines, message):
    assert message in problem(**lines)


@pytest.mark.parametrize(
    ("lines", "wrong", "right"),
    [
        ({"end": REGION.replace("anchors", "anchros")}, "anchros", "anchors"),
        ({"end": REGION.replace("classes", "Classes")}, "Classes", "classes"),
        ({"net": "Learning_Rate=.1\n"}, "Learning_Rate", "learning_rate"),
        ({"conv": "batch-normalize=1\n"}, "batch-normalize", "batch_normalize"),
        ({"conv": "activaton=leaky\n"}, "activaton", "activation"),
        ({"conv": "szie=3\n"}, "szie", "size"),
        ({"conv": "dilatoin=2\n"}, "dilatoin", "dilation"),
    ],
)
def test_misspelt_keys_are_refused(lines, wrong, right):
    text = problem(**lines)
    assert text.endswith(f"has no key '{wrong}'. Did you mean '{right}'?")
    assert "problems" not in text  # that the right one is missing follows


def test_one_error_names_all_problems():
    end = REGION.replace("classes=3", "classes=4")
    text = problem(net="foo=1\npolicy=stepps\n", conv="xnor=1\n" + CONV + "xnor=1\n", end=end)
    first, second, third = text.split(" Line")[1:]
    assert text.startswith("my.cfg: 3 problems. Line 6: [net] policy=stepps: known: constant")
    assert first.endswith("Did you mean 'steps'?")
    assert second.startswith("s 9, 12: [convolutional] xnor=1")
    assert third.startswith(" 13: [region] reads 18 outputs")


def test_sections_that_are_not_built_are_all_named():
    text = problem(
        net="heigth=3\n", conv="[upsample]\n[route]\nlayers=7\n[upsample]\n", end="[yolo]"
    )
    assert text.startswith("my.cfg: 3 problems. Line 5: [net] has no key 'heigth'")
    assert "Lines 8, 11: [upsample] is not built here" in text
    assert "Line 12: [yolo] is not built here" in text


def test_the_same_problem_in_many_lines_is_one_text():
    text = problem(conv=("dilation=2\n" + CONV) * 9)
    assert "my.cfg:7: [convolutional] dilation=2: it changes what is computed" in text
    assert text.endswith("(also in lines 10, 13, 16, 19, 22 and 3 more).")


@pytest.mark.parametrize(
    "anchors",
    [
        "anchors=1,2, 3.5,4,\n",
        "anchors=1,2, 3.5,4 , # the priors\n",
        "anchors=1 2  3.5 4\n",
        "anchors = 1,2\t3.5,4;old\n",
        "anchors=1,2,\n  3.5,4\n",
        "anchors=1,2, \\\n 3.5,4\n",
        "anchors=1,2\n3.5,4\n",
    ],
)
def test_lists(anchors):
    assert parsed(end=REGION.replace(ANCHORS, anchors)).head == parsed().head


def test_a_continued_list_is_noted():
    end = REGION.replace(ANCHORS, "anchors=1,2\n 3.5,4\n")
    assert parsed(end=end).note == "my.cfg: anchors continues in line 9"
    assert "anchors=1, 2: must have the width" in problem(
        end=REGION.replace(ANCHORS, "anchors=1\n2\n")
    )
    assert "filters=16, 3: must be a whole number" in problem(conv="3\n")


@pytest.mark.parametrize("comment", ["# note", " ; note", "#note", "; note", " // note"])
def test_comments_behind_values(comment):
    cfg = parsed(conv=f"size=3{comment}\nactivation=leaky{comment}\n")
    assert cfg.table == parsed(conv="size=3\nactivation=leaky\n").table


def test_a_file_name_keeps_its_signs():
    assert (
        parse_cfg(NET + CONV + "[softmax]\ntree=a#1/b//c.tree # x", "a").head.tree
        == "a#1/b//c.tree"
    )


def test_random_is_a_factor_in_newer_files():
    assert parsed(region="random=1.4\n").head.random is True
    assert parsed(region="random=1.4\n").note == "my.cfg: random=1.4 is taken as 1"
    assert parsed(region="random=0\n").head.random is False


def test_sgdr_is_a_policy():
    net = parsed("policy=sgdr\nsgdr_cycle=1000\nsgdr_mult=2\n")
    assert net.net.policy == "sgdr"
    assert net.note == "my.cfg: ignored, no effect on inference: sgdr_cycle=1000, sgdr_mult=2"


@pytest.mark.parametrize(("value", "letterbox"), [("0", False), ("1", True), (None, True)])
def test_letter_box_and_flip(value, letterbox):
    net = f"letter_box={value}\nflip={value}\n" if value else ""
    text = NET.replace("24", "16") + net + CONV + REGION
    data = config_from_cfg(parse_cfg(text, "a"), name="a", text=text).data
    assert data.letterbox is letterbox
    assert data.augment.geometry == ("letterbox" if letterbox else "crop")
    assert data.augment.flip == (0.5 if letterbox else 0)
    again = config_from_cfg(parse_cfg(text, "a"), name="a", text=text)
    again = parse_cfg(cfg_text(again), "b")
    assert (again.net.letter_box, again.net.flip) == (None if letterbox else False, letterbox)


def test_a_repeated_key_counts_where_it_is_read():
    assert "filters is 16 in line 6 and 8 here (Darknet takes the first)" in problem(
        conv="filters=8\n"
    )
    assert parsed("mosaic=1\nmosaic=0\n").note.endswith("inference: mosaic=1")


def test_the_temperature_of_a_softmax():
    text = f"{NET}[connected]\noutput=4\n[softmax]\ntemperature=3\n"
    config = config_from_cfg(parse_cfg(text, "a"), name="a", text=text)
    assert config.model.temperature == 3
    assert parse_cfg(cfg_text(config), "b").head.temperature == 3
