import jax
import jax.numpy as jnp
import pytest

from yolojax.models import NETWORKS, build_network, count_outputs
from yolojax.models.layers import (
    AvgPool,
    Connected,
    Conv,
    Crop,
    Dropout,
    Local,
    MaxPool,
    Shortcut,
)
from yolojax.models.network import Network, variable_shapes
from yolojax.models.published import PUBLISHED
from yolojax.models.summary import format_table, layer_table, totals

# Darknet's own count: trainable parameters, floats in a .weights file, BFLOPs of convolutions,
# and 2 * multiplications / 1e9 of all layers.
COUNTS = [
    ("yolov2_voc", 416, 50_655_389, 50_676_061, "29.360", "29.360"),
    ("yolov2_voc", 544, 50_655_389, 50_676_061, "50.208", "50.208"),
    ("yolov2_voc", 608, 50_655_389, 50_676_061, "62.716", "62.716"),
    ("yolov2_coco", 608, 50_962_889, 50_983_561, "62.938", "62.938"),
    ("yolov2_coco", 416, 50_962_889, 50_983_561, "29.464", "29.464"),
    ("yolov2_tiny_voc", 416, 15_861_773, 15_867_885, "6.971", "6.971"),
    ("yolov2_tiny_coco", 416, 11_232_057, 11_237_145, "5.406", "5.406"),
    ("yolo9000", 544, 48_793_101, 48_807_501, "49.062", "49.062"),
    ("yolov1_paper", 448, 271_703_550, 271_703_550, "40.147", "40.570"),
    ("yolov1", 448, 197_301_875, 197_328_243, "40.147", "40.421"),
    ("yolov1_tiny", 448, 27_095_374, 27_099_950, "3.179", "3.216"),
    ("darknet19", 224, 20_842_376, 20_856_776, "5.582", "5.582"),
    ("darknet19", 256, 20_842_376, 20_856_776, "7.291", "7.291"),
    ("darknet19_448", 448, 20_842_376, 20_856_776, "22.328", "22.328"),
    ("darknet9000", 448, 29_470_826, 29_485_226, "25.707", "25.707"),
    ("extraction", 224, 23_437_224, 23_455_400, "8.519", "8.519"),
    ("darknet_reference", 224, 7_319_416, 7_323_480, "0.774", "0.774"),
    ("darknet_reference", 256, 7_319_416, 7_323_480, "0.965", "0.965"),
]


def published(name):
    return build_network(PUBLISHED[name].network, PUBLISHED[name].outputs)


@pytest.mark.parametrize(("name", "size", "params", "floats", "bflops", "bflops_all"), COUNTS)
def test_totals_equal_the_c_program_s(name, size, params, floats, bflops, bflops_all):
    total = totals(layer_table(published(name), (size, size)))
    assert (total["params"], total["floats"]) == (params, floats)
    assert f"{total['bflops']:.3f}" == bflops
    assert f"{total['bflops_all']:.3f}" == bflops_all


# Sizes of the published files: 4 bytes a float, after a header of 16 bytes (0.1) or 20 (0.2).
@pytest.mark.parametrize(
    ("name", "size", "header"),
    [("yolov2_voc", 202_704_260, 16), ("tiny_darknet", 4_185_968, 16)],
)
def test_published_files_have_the_floats_of_the_table(name, size, header):
    floats = totals(layer_table(published(name), PUBLISHED[name].image_size))["floats"]
    assert 4 * floats + header == size


@pytest.mark.parametrize("name", NETWORKS)
def test_arithmetic_agrees_with_jax(name):
    boxes, side = (2, 7) if NETWORKS[name].head == "yolov1" else (2, 0)
    outputs = count_outputs(NETWORKS[name].head, classes=3, boxes=boxes, side=side)
    model = build_network(name, outputs, width=0.0625)
    rows, variables = layer_table(model, (64, 96)), variable_shapes(model, (64, 96))
    image = jax.ShapeDtypeStruct((1, 64, 96, 3), jnp.float32)
    shapes = jax.eval_shape(lambda v, x: model.apply(v, x, all_outputs=True), variables, image)
    assert [row.output for row in rows] == [shape.shape[1:] for shape in shapes]
    for row in rows:
        params, statistics = (
            sum(leaf.size for leaf in jax.tree.leaves(variables.get(kind, {}).get(row.name, {})))
            for kind in ("params", "batch_stats")
        )
        assert (row.params, row.floats) == (params, params + statistics)


def test_rows_have_input_and_output_shapes():
    rows = layer_table(published("yolov2_voc"), (416, 320))
    first, route, output = rows[0], rows[28], rows[30]
    assert (first.input, first.output) == ((416, 320, 3), (416, 320, 32))
    assert first.params == 3 * 3 * 3 * 32 + 2 * 32
    assert first.floats == first.params + 2 * 32
    assert first.bflops == pytest.approx(2 * 3 * 3 * 3 * 32 * 416 * 320 / 1e9)
    assert (route.input, route.output) == ((13, 10, 256), (13, 10, 1280))
    assert (rows[25].input, rows[25].output) == (rows[16].output, rows[16].output)
    assert (route.params, route.bflops) == (0, 0)
    assert output.floats == output.params == 1024 * 125 + 125


def test_every_kind_of_layer_has_its_row():
    table = (
        Crop(8, 8),
        Conv(4, name="conv"),
        MaxPool(),
        Local(2, name="local"),
        Dropout(0.25),
        Connected(5, batch_norm=True, name="connected"),
    )
    rows = layer_table(Network(table, jnp.float32), (10, 12))
    assert [row.kind for row in rows] == [
        *("crop", "conv", "maxpool", "local", "dropout", "connected")
    ]
    assert [row.output for row in rows[3:]] == [(4, 4, 2), (4, 4, 2), (5,)]
    local, connected = rows[3], rows[5]
    assert local.params == 16 * (9 * 4 * 2 + 2)  # a kernel and biases at each of 4 x 4 places
    assert local.bflops_all == pytest.approx(2 * 16 * 9 * 4 * 2 / 1e9)
    assert connected.params == 32 * 5 + 5 + 5
    assert connected.floats == connected.params + 2 * 5
    assert connected.bflops_all == pytest.approx(2 * 32 * 5 / 1e9)
    assert (local.bflops, connected.bflops) == (0, 0)  # Darknet counts convolutions alone
    settings = [" ".join(row.settings.split()) for row in rows]
    assert settings == ["8 x 8", "4 3 x 3 / 1", "2 x 2 / 2", "2 3 x 3 / 1", "p = 0.25", "5"]


def test_groups_divide_parameters_and_products():
    table = (Conv(8, name="a"), Conv(6, groups=2, name="b"), Shortcut(-2, "leaky"))
    _, parts, shortcut = layer_table(Network(table), (4, 5))
    assert parts.params == 9 * (8 // 2) * 6 + 2 * 6
    assert parts.bflops == pytest.approx(2 * 9 * 4 * 6 * 4 * 5 / 1e9)
    assert " ".join(parts.settings.split()) == "6 3 x 3 / 1 in 2"
    assert (shortcut.kind, shortcut.settings, shortcut.params) == ("shortcut", "-2", 0)
    assert (shortcut.input, shortcut.output) == ((4, 5, 6), (4, 5, 6))


def test_average_pool_ends_in_one_cell():
    rows = layer_table(Network((Conv(4, name="conv"), AvgPool()), jnp.float32), (8, 6))
    assert (rows[1].output, rows[1].params) == ((1, 1, 4), 0)


def test_text_has_a_line_for_each_layer_and_the_totals():
    rows = layer_table(published("yolov2_tiny_voc"), (416, 416))
    lines = format_table(rows).splitlines()
    assert len(lines) == 1 + len(rows) + 2
    first = " ".join(lines[1].split())
    assert first == "0 conv 16 3 x 3 / 1 416 x 416 x 3 -> 416 x 416 x 16 0.150 464 stage1_conv1"
    assert lines[-1].startswith("15,861,773 trainable parameters")
