import os
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from yolojax.darknet.cfg import read_cfg
from yolojax.darknet.weights import load_weights, prefix_of, read_header, save_weights
from yolojax.files import release_mapped
from yolojax.loading import on_device
from yolojax.models.layers import Connected, Conv, Local, MaxPool, Route
from yolojax.models.network import Network, variable_shapes

GOLDEN = Path(__file__).parents[1] / "golden"
NETS = (
    *("v2_narrow", "v2tiny_narrow", "v1_narrow", "v1tiny_narrow"),
    *("v1cvpr_narrow", "darknet19_narrow"),
)
# Of both programs' float32 rounding, layer upon layer: as much again as from float64 (see below).
DEPTH = {"v1_narrow": 5e-4, "v2_narrow": 2e-4, "darknet19_narrow": 5e-4}
VARIANTS = {  # file: the .cfg it belongs to
    **{net: net for net in NETS},
    **{f"train_{kind}_init": f"train_{kind}" for kind in ("cls", "v1", "v2")},
    "v1tiny_narrow_v0.1": "v1tiny_narrow",
    "v1tiny_narrow_transposed": "v1tiny_narrow",
}
TWO = Network((Conv(2, 1, name="a"), MaxPool(), Conv(1, 3, batch_norm=False, name="b")))
FLOATS = 4 * 2 + 2 * 3 + 1 + 9 * 2  # of TWO: bias, scale, mean, var, kernel; bias, kernel
SIZE = (32, 32)


def weights(name):
    return GOLDEN / "weights" / f"{name}.weights"


def network(name):
    cfg = read_cfg(GOLDEN / "cfg" / f"{name}.cfg")
    return Network(cfg.table, epsilon="cpu"), (cfg.net.height, cfg.net.width)


def load(name):
    model, size = network(VARIANTS[name])
    return model, load_weights(weights(name), model, image_size=size)


def planar(array):
    """Ours [1, H, W, C] -> Darknet's [1, C, H, W]; vectors pass."""
    array = np.asarray(array)
    return array.transpose(0, 3, 1, 2) if array.ndim == 4 else array


def golden_layers(golden, count):
    """{index: output of the C program}; dropout is recorded nowhere, as it does nothing."""
    names = {int(key[1:3]): key for key in golden.files if key[0] == "l" and key[1:3].isdigit()}
    return {i: golden[names[i]] for i in range(count) if i in names}


@pytest.mark.parametrize("name", NETS)
def test_every_layer_equals_the_c_program(name):
    golden, (model, (variables, seen)) = np.load(GOLDEN / f"e2e_{name}.npz"), load(name)
    assert seen == 123456
    image = golden["input"].transpose(1, 2, 0)[None]
    outputs = jax.jit(lambda v, x: model.apply(v, x, all_outputs=True))(variables, image)
    expected = golden_layers(golden, len(model.table))
    assert len(expected) >= len(model.table) - 1
    for index, array in expected.items():
        difference = np.abs(planar(outputs[index]).reshape(array.shape) - array).max()
        assert difference < DEPTH.get(name, 3e-5) * array.std(), f"layer {index}"


def inputs_of_layers(golden, table):
    """{index: (layer, what the C program fed it [1, H, W, C], what came out)} of what is recorded.

    Routes, which only copy, are left out.
    """
    recorded, before, cases = golden_layers(golden, len(table)), golden["input"][None], {}
    for index, layer in enumerate(table):
        if index in recorded and not isinstance(layer, Route):
            x = before.transpose(0, 2, 3, 1) if before.ndim == 4 else before[:, None, None]
            cases[index] = (layer, x, recorded[index])
        before = recorded.get(index, before)
    return cases


@pytest.mark.parametrize("name", NETS)
def test_each_layer_alone_is_exact_to_a_hundred_thousandth(name):
    # Fed with what the C program fed it, no layer passes on the rounding of those before.
    golden, (model, (variables, _)) = np.load(GOLDEN / f"e2e_{name}.npz"), load(name)
    cases = inputs_of_layers(golden, model.table)

    @jax.jit
    def run(variables, images):
        return {
            i: Network((cases[i][0],), epsilon="cpu").apply(variables, x) for i, x in images.items()
        }

    outputs = run(variables, {i: x for i, (_, x, _) in cases.items()})
    for i, (_, _, expected) in cases.items():
        difference = np.abs(planar(outputs[i]).reshape(expected.shape) - expected).max()
        assert difference < 1e-5 * expected.std(), f"layer {i}"


@pytest.mark.parametrize("name", VARIANTS)
def test_saving_what_was_loaded_gives_the_same_bytes(name, tmp_path):
    model, (variables, seen) = load(name)
    version = read_header(weights(name)).version
    save_weights(tmp_path / "again", model, variables, seen, version=version)
    assert (tmp_path / "again").read_bytes() == weights(name).read_bytes()


@pytest.mark.parametrize("variant", ["v0.1", "transposed"])
def test_old_files_give_the_same_variables(variant):
    new, old = load("v1tiny_narrow")[1], load(f"v1tiny_narrow_{variant}")[1]
    jax.tree.map(np.testing.assert_array_equal, new, old)


def write(path, header, count):
    path.write_bytes(header + np.arange(count, dtype="<f4").tobytes())
    return path


def header(major, minor, seen, kind="<u8"):
    return np.array([major, minor, 0], "<i4").tobytes() + np.array(seen, kind).tobytes()


def test_floats_are_read_in_darknet_s_order(tmp_path):
    path = write(tmp_path / "w", header(0, 2, 2**40), FLOATS)
    variables, seen = load_weights(path, TWO, image_size=SIZE)
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


def test_connected_has_its_statistics_after_its_kernel(tmp_path):
    model = Network((Connected(2, batch_norm=True, name="c"),))
    path = write(tmp_path / "w", header(0, 2, 0), 2 + 6 + 6)
    variables, _ = load_weights(path, model, image_size=(1, 1))
    c = variables["params"]["c"]
    np.testing.assert_array_equal(c["kernel"], [[2, 5], [3, 6], [4, 7]])  # the file: [out, in]
    np.testing.assert_array_equal(c["scale"], [8, 9])
    np.testing.assert_array_equal(variables["batch_stats"]["c"]["var"], [12, 13])
    transposed = write(tmp_path / "t", header(0, 2000, 0, "<i4"), 14)
    variables, _ = load_weights(transposed, model, image_size=(1, 1))
    np.testing.assert_array_equal(variables["params"]["c"]["kernel"], [[2, 3], [4, 5], [6, 7]])


def test_local_has_its_bias_by_filter_and_its_kernel_by_place(tmp_path):
    model = Network((Local(2, 1, padding=0, name="l"),))  # 1 x 2 places, 3 channels
    path = write(tmp_path / "w", header(0, 2, 0), 2 * 2 + 2 * 2 * 3)
    leaves = load_weights(path, model, image_size=(1, 2))[0]["params"]["l"]
    np.testing.assert_array_equal(leaves["bias"][0], [[0, 2], [1, 3]])  # [place, filter]
    np.testing.assert_array_equal(leaves["kernel"][0, 0], [[4, 7], [5, 8], [6, 9]])


def test_leaves_are_views_of_the_mapped_file(tmp_path):
    path = write(tmp_path / "w", header(0, 2, 0), FLOATS)
    variables, _ = load_weights(path, TWO, image_size=SIZE)
    for leaf in jax.tree.leaves(variables):
        assert not leaf.flags.owndata
        assert not leaf.flags.writeable


def resident(path):
    """Bytes of the mapped file that are in the memory of this process (proc(5), smaps)."""
    after = Path("/proc/self/smaps").read_text().split(str(path), 1)[1]
    return 1024 * int(re.search(r"Rss: *(\d+)", after)[1])


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux says what is held")
def test_a_file_is_released_once_copied_to_the_device(tmp_path):
    model = Network((Conv(64, 1, name="a"), *(Conv(256, 3, name=name) for name in "bcd")))
    shapes = jax.tree.leaves(variable_shapes(model, SIZE))
    path = write(tmp_path / "w", header(0, 2, 0), sum(leaf.size for leaf in shapes))
    size = path.stat().st_size
    variables, _ = load_weights(path, model, image_size=SIZE)
    assert resident(path) < size / 10
    put = on_device(variables)
    assert resident(path) < size / 10
    jax.tree.map(np.testing.assert_array_equal, put, variables)
    assert resident(path) > size / 2  # it was read again, so the measurement is one


def test_changes_in_a_writable_map_are_not_released(tmp_path):
    np.save(tmp_path / "a.npy", np.ones(100_000, np.float32))
    changed = np.load(tmp_path / "a.npy", mmap_mode="c")
    changed[:] = 7
    release_mapped(np.asarray(changed))
    assert (changed == 7).all()


def test_the_mapped_file_may_be_saved_over(tmp_path):
    path = write(tmp_path / "w", header(0, 2, 1), FLOATS)
    before = path.read_bytes()
    variables, seen = load_weights(path, TWO, image_size=SIZE)
    save_weights(path, TWO, variables, seen)
    assert path.read_bytes() == before
    save_weights(path, TWO, jax.tree.map(np.zeros_like, variables), 0)
    np.testing.assert_array_equal(variables["params"]["a"]["bias"], [0, 1])  # still the old file


def test_a_save_that_fails_leaves_the_old_file(tmp_path):
    path = write(tmp_path / "w", header(0, 2, 1), FLOATS)
    before = path.read_bytes()
    variables, seen = load_weights(path, TWO, image_size=SIZE)
    variables["params"]["b"]["kernel"] = np.array([[[["x"]]]])  # found out after some was written
    with pytest.raises(ValueError, match="could not convert"):
        save_weights(path, TWO, variables, seen)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["w"]


def test_large_leaves_are_written_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("yolojax.darknet.weights.CHUNK", 5)
    path = write(tmp_path / "w", header(0, 2, 1), FLOATS)
    variables, seen = load_weights(path, TWO, image_size=SIZE)
    save_weights(tmp_path / "again", TWO, jax.device_put(variables), seen)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_old_header_has_32_bits_of_seen(tmp_path):
    path = write(tmp_path / "w", header(0, 1, 77, "<i4"), FLOATS)
    assert read_header(path) == ((0, 1, 0), 77)
    variables, seen = load_weights(path, TWO, image_size=SIZE)
    assert seen == 77
    save_weights(tmp_path / "again", TWO, variables, seen, version=(0, 1, 0))
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("version", "seen"),
    [((0, 1, 0), 2**31), ((0, 2, 0), -1), ((0, 2, 0), 2**63), ((-1, 0, 0), 0), ((0, 2), 0)],
)
def test_values_that_do_not_fit_a_header_are_refused(tmp_path, version, seen):
    path = write(tmp_path / "w", header(0, 2, 0), FLOATS)
    variables, _ = load_weights(path, TWO, image_size=SIZE)
    with pytest.raises(ValueError, match=f"cannot hold seen = {seen}"):
        save_weights(tmp_path / "new", TWO, variables, seen, version=version)
    assert not (tmp_path / "new").exists()


def test_variables_of_another_network_are_not_saved(tmp_path):
    variables = load_weights(write(tmp_path / "w", header(0, 2, 0), FLOATS), TWO, image_size=SIZE)
    wider = Network((*TWO.table[:2], Conv(4, 3, batch_norm=False, name="b")))
    with pytest.raises(ValueError, match=r"layer 2 \(b, bias\) must have 4 outputs, has 1"):
        save_weights(tmp_path / "new", wider, variables[0], 0)
    with pytest.raises(ValueError, match=r"layer 0 \(a, bias\) must have 2 outputs, is missing"):
        save_weights(tmp_path / "new", TWO, {"params": {}}, 0)


FIRST = 4 * 2 + 2 * 3  # floats of layer 0


def test_a_partial_file_holds_the_first_layers(tmp_path):
    whole = write(tmp_path / "w", header(0, 2, 5), FLOATS)
    partial = write(tmp_path / "w.conv.1", header(0, 2, 5), FIRST)
    variables, seen = load_weights(partial, TWO, image_size=SIZE, upto=2)  # 1: the same, a pool
    assert (list(variables["params"]), seen) == (["a"], 5)
    everything, _ = load_weights(whole, TWO, image_size=SIZE)
    save_weights(tmp_path / "again", TWO, everything, seen, upto=1)
    assert (tmp_path / "again").read_bytes() == partial.read_bytes()
    assert prefix_of(partial, TWO, image_size=SIZE) == 1
    assert prefix_of(whole, TWO, image_size=SIZE) == 3
    within = write(tmp_path / "cut", header(0, 2, 0), 4)  # two leaves of layer 0, not all of it
    assert prefix_of(within, TWO, image_size=SIZE) is None


@pytest.mark.parametrize("upto", [0, -1, 4])
def test_upto_must_be_a_number_of_layers(tmp_path, upto):
    path = write(tmp_path / "w", header(0, 2, 0), FLOATS)
    with pytest.raises(ValueError, match=f"upto must be from 1 to 3, .* got {upto}"):
        load_weights(path, TWO, image_size=SIZE, upto=upto)


@pytest.mark.parametrize(
    ("count", "where"),
    [
        (FLOATS - 1, r"inside layer 2 \(b, kernel\)"),
        (5, r"inside layer 0 \(a, mean\)"),
        (FLOATS + 2, r"8 bytes follow layer 2 \(b\)"),
    ],
)
def test_wrong_length_names_where_the_file_ends(tmp_path, count, where):
    path = write(tmp_path / "cut.weights", header(0, 2, 0), count)
    sizes = f"needs {20 + 4 * FLOATS} bytes .* the file has {20 + 4 * count}"
    with pytest.raises(ValueError, match=f"cut.weights.*{where}.*{sizes}.* must be those of"):
        load_weights(path, TWO, image_size=SIZE)


def test_wrong_length_names_the_file_it_fits(tmp_path):
    partial = write(tmp_path / "w.conv.1", header(0, 2, 5), FIRST)
    with pytest.raises(ValueError, match="fits the layers before 1: give --upto 1"):
        load_weights(partial, TWO, image_size=SIZE)
    whole = write(tmp_path / "w", header(0, 2, 5), FLOATS)
    with pytest.raises(ValueError, match="fits the whole network: leave upto out"):
        load_weights(whole, TWO, image_size=SIZE, upto=1)
    tiny = write(tmp_path / "tiny", header(0, 1, 0, "<i4"), (4_185_968 - 16) // 4)
    with pytest.raises(ValueError, match=r"as long as the published tiny\.weights"):
        load_weights(tiny, TWO, image_size=SIZE)


def test_bytes_that_are_no_float_are_refused(tmp_path):
    path = tmp_path / "w"
    path.write_bytes(header(0, 2, 0) + bytes(4 * FLOATS + 1))
    with pytest.raises(ValueError, match="1 bytes follow layer 2"):
        load_weights(path, TWO, image_size=SIZE)


@pytest.mark.parametrize(
    ("place", "value", "where"),
    [
        (9, np.nan, r"layer 0 \(a, kernel\) holds nan, no number"),
        (14, np.inf, r"layer 2 \(b, bias\) holds inf, no number"),
        (7, -0.5, r"layer 0 \(a, var\) holds -0.5, a negative variance"),
    ],
)
def test_values_that_no_network_has_are_refused(tmp_path, place, value, where):
    floats = np.arange(FLOATS, dtype="<f4")
    floats[place] = value
    (tmp_path / "w").write_bytes(header(0, 2, 0) + floats.tobytes())
    with pytest.raises(ValueError, match=where):
        load_weights(tmp_path / "w", TWO, image_size=SIZE)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "page").write_bytes(b"<html>")
    (tmp_path / "long page").write_bytes(b"<!DOCTYPE html><html></html>")
    for name, message in (
        ("page", "it has only 6 bytes"),
        ("long page", "its header would be version"),
        (".", "not a file"),
    ):
        with pytest.raises(ValueError, match=message):
            load_weights(tmp_path / name, TWO, image_size=SIZE)
    with pytest.raises(FileNotFoundError, match="nothing: not found"):
        load_weights(tmp_path / "nothing", TWO, image_size=SIZE)
