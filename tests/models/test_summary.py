import pytest

from yolojax.models import build_network
from yolojax.models.summary import format_table, layer_table, totals

# Darknet's own count: trainable parameters, floats in a .weights file, BFLOPs of convolutions.
COUNTS = [
    ("yolov2", 20, 416, 50_655_389, 50_676_061, "29.360"),
    ("yolov2", 20, 544, 50_655_389, 50_676_061, "50.208"),
    ("yolov2", 20, 608, 50_655_389, 50_676_061, "62.716"),
    ("yolov2", 80, 608, 50_962_889, 50_983_561, "62.938"),
    ("yolov2", 80, 416, 50_962_889, 50_983_561, "29.464"),
    ("yolov2_tiny_voc", 20, 416, 15_861_773, 15_867_885, "6.971"),
    ("yolov2_tiny_coco", 80, 416, 11_232_057, 11_237_145, "5.406"),
]


@pytest.mark.parametrize(("name", "classes", "size", "params", "floats", "bflops"), COUNTS)
def test_totals_equal_the_c_program_s(name, classes, size, params, floats, bflops):
    model = build_network(name, num_classes=classes, num_anchors=5)
    total = totals(layer_table(model, (size, size)))
    assert (total["params"], total["floats"]) == (params, floats)
    assert f"{total['bflops']:.3f}" == bflops


def test_rows_say_what_goes_in_and_out():
    rows = layer_table(build_network("yolov2", num_classes=20, num_anchors=5), (416, 320))
    first, route, output = rows[0], rows[28], rows[30]
    assert (first.input, first.output) == ((416, 320, 3), (416, 320, 32))
    assert first.params == 3 * 3 * 3 * 32 + 2 * 32
    assert first.floats == first.params + 2 * 32
    assert first.bflops == pytest.approx(2 * 3 * 3 * 3 * 32 * 416 * 320 / 1e9)
    assert (route.input, route.output) == ((13, 10, 256), (13, 10, 1280))
    assert (rows[25].input, rows[25].output) == (rows[16].output, rows[16].output)
    assert (route.params, route.bflops) == (0, 0)
    assert output.floats == output.params == 1024 * 125 + 125


def test_text_has_a_line_for_each_layer_and_the_totals():
    rows = layer_table(build_network("yolov2_tiny_voc", num_classes=20, num_anchors=5), (416, 416))
    lines = format_table(rows).splitlines()
    assert len(lines) == 1 + len(rows) + 2
    first = " ".join(lines[1].split())
    assert first == "0 conv 16 3 x 3 / 1 416 x 416 x 3 -> 416 x 416 x 16 0.150 464 stage1_conv1"
    assert lines[-1].startswith("15,861,773 trainable parameters")
