from pathlib import Path

import jax
import numpy as np
import pytest

from yolojax.convert.darknet_weights import load_weights, read_header, save_weights
from yolojax.models import build_network
from yolojax.models.network import Network
from yolojax.models.tables import Conv, MaxPool
from yolojax.models.yolov2 import yolov2_tiny_voc

GOLDEN = Path(__file__).parents[1] / "golden"
TINY_FILTERS = iter((4, 8, 8, 16, 24, 32, 48, 48, 125))  # v2tiny_narrow.cfg

MODELS = {
    "v2_narrow": build_network("yolov2", num_classes=20, num_anchors=5, width=1 / 16),
    "v2tiny_narrow": Network(
        tuple(
            layer._replace(filters=next(TINY_FILTERS)) if isinstance(layer, Conv) else layer
            for layer in yolov2_tiny_voc(20, 5)
        )
    ),
}
TWO = Network((Conv(2, 1, name="a"), MaxPool(), Conv(1, 3, batch_norm=False, name="b")))
FLOATS = 4 * 2 + 2 * 3 + 1 + 9 * 2  # of TWO: bias, scale, mean, var, kernel; bias, kernel


def weights(name):
    return GOLDEN / "weights" / f"{name}.weights"


def with_epsilon_of_the_cpu(batch_stats):
    """Variances for which sqrt(var + 1e-5) is the C program's sqrt(var) + 1e-6 on CPU."""
    return {
        layer: {"mean": leaves["mean"], "var": (np.sqrt(leaves["var"]) + 1e-6) ** 2 - 1e-5}
        for layer, leaves in batch_stats.items()
    }


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_equals_the_c_program(name):
    golden, model = np.load(GOLDEN / f"e2e_{name}.npz"), MODELS[name]
    variables, seen = load_weights(weights(name), model)
    assert seen == 123456
    variables["batch_stats"] = with_epsilon_of_the_cpu(variables["batch_stats"])
    image = golden["input"].transpose(1, 2, 0)[None]
    outputs = jax.jit(lambda v, x: model.apply(v, x, all_outputs=True))(variables, image)
    expected = {
        int(key[1:3]): golden[key] for key in golden.files if key[:2] in ("l0", "l1", "l2", "l3")
    }
    assert sorted(expected) == list(range(len(model.table)))
    for index, array in expected.items():
        ours = np.asarray(outputs[index]).transpose(0, 3, 1, 2)
        np.testing.assert_allclose(ours, array, atol=3e-4, rtol=0, err_msg=f"layer {index}")


@pytest.mark.parametrize("name", MODELS)
def test_saving_what_was_loaded_gives_the_same_bytes(name, tmp_path):
    variables, seen = load_weights(weights(name), MODELS[name])
    save_weights(tmp_path / "again.weights", MODELS[name], variables, seen)
    assert (tmp_path / "again.weights").read_bytes() == weights(name).read_bytes()


def write(path, header, count):
    path.write_bytes(header + np.arange(count, dtype="<f4").tobytes())
    return path


def header(major, minor, seen, kind="<u8"):
    return np.array([major, minor, 0], "<i4").tobytes() + np.array(seen, kind).tobytes()


def test_floats_are_read_in_darknet_s_order(tmp_path):
    variables, seen = load_weights(write(tmp_path / "w", header(0, 2, 2**40), FLOATS), TWO)
    assert seen == 2**40
    a, b = variables["params"]["a"], variables["params"]["b"]
    np.testing.assert_array_equal(a["bias"], [0, 1])
    np.testing.assert_array_equal(a["scale"], [2, 3])
    np.testing.assert_array_equal(variables["batch_stats"]["a"]["mean"], [4, 5])
    np.testing.assert_array_equal(variables["batch_stats"]["a"]["var"], [6, 7])
    np.testing.assert_array_equal(a["kernel"][0, 0], [[8, 11], [9, 12], [10, 13]])  # [in, out]
    np.testing.assert_array_equal(b["bias"], [14])
    np.testing.assert_array_equal(
        b["kernel"][:, :, 1, 0], [[24, 25, 26], [27, 28, 29], [30, 31, 32]]
    )


def test_old_header_has_32_bits_of_seen(tmp_path):
    path = write(tmp_path / "w", header(0, 1, 77, "<i4"), FLOATS)
    assert read_header(path) == (16, 77)
    variables, _ = load_weights(path, TWO)
    np.testing.assert_array_equal(variables["params"]["a"]["bias"], [0, 1])


@pytest.mark.parametrize(
    ("count", "where"),
    [
        (FLOATS - 1, r"inside layer 2 \(b, kernel\)"),
        (5, r"inside layer 0 \(a, mean\)"),
        (FLOATS + 2, r"8 bytes follow layer 2 \(b\)"),
    ],
)
def test_wrong_length_says_where_the_file_ends(tmp_path, count, where):
    path = write(tmp_path / "cut.weights", header(0, 2, 0), count)
    sizes = f"needs {20 + 4 * FLOATS} bytes .* the file has {20 + 4 * count}"
    with pytest.raises(ValueError, match=f"cut.weights.*{where}.*{sizes}"):
        load_weights(path, TWO)


def test_bytes_that_are_no_float_are_refused(tmp_path):
    path = tmp_path / "w"
    path.write_bytes(header(0, 2, 0) + bytes(4 * FLOATS + 1))
    with pytest.raises(ValueError, match="1 bytes follow layer 2"):
        load_weights(path, TWO)


def test_a_file_without_a_header_is_refused(tmp_path):
    (tmp_path / "w").write_bytes(b"<html>")
    with pytest.raises(ValueError, match="not a Darknet"):
        load_weights(tmp_path / "w", TWO)
