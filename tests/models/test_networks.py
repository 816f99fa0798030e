import jax
import jax.numpy as jnp
import pytest

from yolojax.models import NETWORKS, build_network, count_outputs
from yolojax.models.layers import (
    WITH_PARAMETERS,
    AvgPool,
    Connected,
    Conv,
    Crop,
    MaxPool,
    downsampling,
    scale_width,
)
from yolojax.models.network import variable_shapes

# Of each network: height and width of its images, and the shape of raw for 2 images and 60 outputs.
SHAPES = {
    "yolov2": ((64, 96), (2, 2, 3, 60)),
    "yolov2_plain": ((64, 96), (2, 2, 3, 60)),
    "yolov2_extraction": ((64, 96), (2, 2, 3, 60)),
    "yolov2_tiny_voc": ((64, 96), (2, 2, 3, 60)),
    "yolov2_tiny_coco": ((64, 96), (2, 2, 3, 60)),
    "yolo9000": ((64, 96), (2, 2, 3, 60)),
    "yolov1": ((448, 448), (2, 60)),
    "yolov1_paper": ((448, 448), (2, 60)),
    "yolov1_tiny": ((448, 448), (2, 60)),
    "fast_yolo": ((448, 448), (2, 60)),
    "darknet19": ((64, 96), (2, 1, 1, 60)),
    "extraction": ((64, 96), (2, 1, 1, 60)),
    "darknet_reference": ((64, 96), (2, 1, 1, 60)),
    "tiny_darknet": ((64, 96), (2, 1, 1, 60)),
}


def kinds(name, kind):
    return [layer for layer in NETWORKS[name].table(60) if isinstance(layer, kind)]


def test_every_network_has_its_shape_here():
    assert SHAPES.keys() == NETWORKS.keys()


@pytest.mark.parametrize("name", NETWORKS)
def test_raw_has_the_shape_that_the_head_reads(name):
    size, wanted = SHAPES[name]
    model = build_network(name, 60, width=1 / 16)
    shapes = variable_shapes(model, size)
    image = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    assert jax.eval_shape(model.apply, shapes, image).shape == wanted


@pytest.mark.parametrize("name", NETWORKS)
def test_names_are_unique_and_the_last_is_output(name):
    layers = kinds(name, WITH_PARAMETERS)
    names = [layer.name for layer in layers]
    assert all(names)
    assert len(set(names)) == len(names)
    last = layers[-1]
    assert (last.name, last.batch_norm) == ("output", False)
    assert getattr(last, "filters", 0) + getattr(last, "outputs", 0) == 60
    assert last.activation == ("leaky" if name == "extraction" else "linear")


@pytest.mark.parametrize("name", NETWORKS)
def test_downsampling_of_each_network(name):
    wanted = {"yolov1": 64, "yolov1_paper": 64, "tiny_darknet": 16}.get(name, 32)
    wanted = {"yolov1_tiny": 64, "fast_yolo": 64, "darknet_reference": 64}.get(name, wanted)
    assert downsampling(NETWORKS[name].table(60)) == wanted


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("yolov1", {"stage1_conv1", "stage4_conv10", "stage6_conv4", "head_local", "output"}),
        ("yolov1_paper", {"stage5_conv4", "stage6_conv1", "head_connected1", "output"}),
        ("yolov1_tiny", {"stage7_conv1", "head_conv1", "output"}),
        ("fast_yolo", {"stage7_conv1", "head_conv2", "head_connected1", "head_connected2"}),
        ("darknet19", {"stage1_conv1", "stage6_conv5", "output"}),
        ("extraction", {"stage1_conv1", "stage4_conv10", "stage5_conv4", "output"}),
        ("darknet_reference", {"stage1_conv1", "stage7_conv1", "output"}),
        ("tiny_darknet", {"stage3_conv4", "stage5_conv5", "output"}),
        ("yolov2", {"stage3_conv2", "head_conv3", "passthrough_conv", "output"}),
    ],
)
def test_variables_are_named_by_place(name, names):
    assert names <= {layer.name for layer in kinds(name, WITH_PARAMETERS)}


def test_variables_with_and_without_batch_normalisation():
    shapes = variable_shapes(build_network("yolov2", 10), (32, 32))
    assert set(shapes["params"]["stage3_conv2"]) == {"kernel", "scale", "bias"}
    assert set(shapes["params"]["output"]) == {"kernel", "bias"}
    assert set(shapes["batch_stats"]["stage3_conv2"]) == {"mean", "var"}
    assert "output" not in shapes["batch_stats"]


@pytest.mark.parametrize(
    ("name", "number"),
    [("yolov1", 24), ("yolov1_paper", 24), ("fast_yolo", 9), ("yolov1_tiny", 8), ("extraction", 21),
     ("darknet19", 19), ("darknet_reference", 8), ("tiny_darknet", 16), ("yolo9000", 19),
     ("yolov2_extraction", 25), ("yolov2_plain", 22)],
)  # fmt: skip
def test_convolutions_are_as_many_as_published(name, number):
    assert len(kinds(name, Conv)) == number


@pytest.mark.parametrize("name", ["yolov1_paper", "fast_yolo"])
def test_the_networks_of_the_first_paper_have_no_batch_normalisation(name):
    assert kinds(name, Crop) == [Crop()]  # all of the image, as -1..1
    assert not any(layer.batch_norm for layer in kinds(name, Conv | Connected))


def test_detector_and_classifier_share_the_layers_of_the_backbone():
    for detector, classifier, layers in (
        ("yolov1", "extraction", 24),
        ("yolov2_extraction", "extraction", 24),
        ("yolov2", "darknet19", 23),
        ("yolov2_plain", "darknet19", 23),
        ("yolov1_tiny", "darknet_reference", 13),
    ):
        shared = NETWORKS[detector].table(60)[:layers]
        assert shared == NETWORKS[classifier].table(60)[:layers]
        rest = NETWORKS[classifier].table(60)[layers:]
        assert {type(layer) for layer in rest} == {Conv, AvgPool}
    assert sum(isinstance(layer, MaxPool) for layer in shared) == 6


def test_a_classifier_takes_any_size():
    # darknet.cfg pools six times, and was trained at 224: 3.5 cells, of which ceil makes 4.
    model = build_network("darknet_reference", 1000)
    shapes = variable_shapes(model, (224, 224))
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    outputs = jax.eval_shape(lambda v, x: model.apply(v, x, all_outputs=True), shapes, image)
    assert outputs[-3].shape == (1, 4, 4, 1024)


def test_width_multiplies_all_but_the_outputs():
    table = NETWORKS["yolov1"].table(60)
    assert build_network("yolov1", 60, width=0.5).table == scale_width(table, 0.5)


@pytest.mark.parametrize(
    ("head", "counts", "outputs"),
    [
        ("region", {"classes": 20, "boxes": 5}, 125),
        ("region", {"classes": 9418, "boxes": 3}, 28269),
        ("yolov1", {"classes": 20, "boxes": 2, "side": 7}, 1470),  # 7 x 7 x 30 of the paper
        ("yolov1", {"classes": 20, "boxes": 3, "side": 7}, 1715),
        ("classes", {"classes": 1000}, 1000),
    ],
)
def test_outputs_are_those_of_the_cfgs(head, counts, outputs):
    assert count_outputs(head, **counts) == outputs


def test_unknown_network_gets_a_suggestion():
    with pytest.raises(ValueError, match=r"Did you mean 'yolov2_tiny_voc'"):
        build_network("yolov2_tiny_vco", 6)
