from pathlib import Path

import pytest

import yolojax
from yolojax.models.layers import (
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
    downsampling,
    output_shapes,
    read_elsewhere,
    scale_width,
)
from yolojax.models.yolov2 import yolov2

FILTERS = [32, 64, 128, 64, 128, 256, 128, 256, 512, 256, 512, 256, 512]  # yolov2-voc.cfg
FILTERS += [1024, 512, 1024, 512, 1024, 1024, 1024, 64, 1024, 125]


def filters(table):
    return [layer.filters for layer in table if isinstance(layer, Conv)]


def test_yolov2_lists_the_layers_of_its_cfg():
    table = yolov2(125)
    assert filters(table) == FILTERS
    assert len(table) == 31
    assert [i for i, layer in enumerate(table) if isinstance(layer, MaxPool)] == [1, 3, 7, 11, 17]
    assert (table[25], table[27], table[28]) == (Route((-9,)), Reorg(2), Route((-1, -4)))
    assert table[25 - 9].name == "stage5_conv5"
    assert table[28 - 4].name == "head_conv2"


def test_downsampling_takes_the_coarsest_branch():
    table = (MaxPool(), MaxPool(), Route((0,)), Conv(1, stride=2))
    assert downsampling(table) == 4
    assert downsampling((MaxPool(stride=1), Conv(1))) == 1


def test_downsampling_ends_at_connected_layers_and_means():
    assert downsampling((Crop(4, 4), Conv(1, 7, 2), Local(1, stride=2), Dropout())) == 4
    assert downsampling((MaxPool(), AvgPool(), Conv(1, 1, 2))) == 2
    assert downsampling((MaxPool(), Connected(4), Connected(2))) == 2


def test_width_spares_the_last_layer():
    assert filters(scale_width((Conv(8), MaxPool(), Conv(30), Conv(125)), 0.25)) == [2, 8, 125]


def test_width_rounds_to_one_filter_and_to_multiples_for_reorg():
    table = (Conv(8), Conv(64), Reorg(2), Conv(7))
    assert filters(scale_width(table, 0.01)) == [1, 4, 7]
    assert filters(scale_width(table, 0.3)) == [2, 20, 7]  # 64 * 0.3 = 19.2


def test_width_reaches_every_layer_with_parameters_but_the_last():
    table = (Crop(8, 8), Conv(8), Local(6), Connected(50), Dropout(), Connected(30), AvgPool())
    half = (Crop(8, 8), Conv(4), Local(3), Connected(25), Dropout(), Connected(30), AvgPool())
    assert scale_width(table, 0.5) == half


def test_width_keeps_multiples_of_the_groups():
    table = (Conv(8), Conv(8, groups=4), Conv(7, 1))
    assert filters(scale_width(table, 0.6)) == [4, 4, 7]


def test_a_shortcut_reads_the_layer_above_and_another_one():
    table = (Conv(4), Conv(4, stride=2), Conv(4), Shortcut(-2), Route((0,)))
    assert table[3].sources(3) == (2, 1)
    assert read_elsewhere(table) == {0, 1}
    assert downsampling(table[:4]) == 2


@pytest.mark.parametrize(
    ("other", "shape"),
    [
        ((), (8, 6, 4)),
        ((Conv(6, stride=2),), (4, 3, 6)),  # the other one is larger, with fewer channels
        ((Conv(32, 1), Reorg(2), Conv(2, 1)), (4, 3, 2)),
    ],
)
def test_a_shortcut_has_the_shape_of_the_layer_above(other, shape):
    table = (Conv(4), *other, Shortcut(0))
    assert output_shapes(table, (8, 6, 3))[-1] == shape


def test_a_shortcut_needs_one_ratio_of_both_sides():
    table = (Conv(4), MaxPool(2, 2), Conv(4, 4, padding=0), Shortcut(1))
    assert output_shapes(table[:3], (12, 8, 3))[-1] == (3, 1, 4)
    with pytest.raises(ValueError, match="height and width of 6 x 4 x 4 must have the same ratio"):
        output_shapes(table, (12, 8, 3))


@pytest.mark.parametrize("groups", [2, 5])
def test_groups_divide_channels_and_filters(groups):
    with pytest.raises(ValueError, match=f"groups={groups} must divide its 3 input channels"):
        output_shapes((Conv(10, groups=groups),), (8, 8, 3))


def test_width_one_is_the_published_network():
    assert scale_width(yolov2(125), 1.0) == yolov2(125)


@pytest.mark.parametrize("width", [0, -1, float("nan")])
def test_width_must_be_positive(width):
    with pytest.raises(ValueError, match="width must be above 0"):
        scale_width((Conv(8),), width)


def test_few_files_know_a_kind_of_layer():
    package = Path(yolojax.__file__).parent
    users = {
        str(p.relative_to(package)) for p in package.rglob("*.py") if "Shortcut" in p.read_text()
    }
    assert users == {"models/layers.py", "models/network.py", "export/onnx_layers.py"}
