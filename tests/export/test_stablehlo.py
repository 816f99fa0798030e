import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import small_detector

from yolojax.export.stablehlo import export_stablehlo, outputs_of
from yolojax.loading import load_model

GOLDEN = Path(__file__).parents[1] / "golden"
# A program with JAX only: call each file for two batch sizes and save the outputs.
CALLER = """
import sys
import jax, jax.export
import numpy as np
for name in sys.argv[1:]:
    exported = jax.export.deserialize(bytearray(open(f"{name}.stablehlo", "rb").read()))
    images = np.load(f"{name}.npy")
    found = {str(n): exported.call(images[:n]) for n in (1, 3)}
    flat = {f"{n}/{key}": np.asarray(x) for n, out in found.items() for key, x in out.items()}
    np.savez(f"{name}.npz", platforms=exported.platforms, **flat)
assert not [name for name in sys.modules if name.split(".")[0] in ("yolojax", "flax")]
"""
CASES = {  # name of the network: (with NMS, shapes of the outputs)
    "small": (True, {"boxes": (100, 4), "scores": (100,), "labels": (100,), "count": ()}),
    "shortcut": (False, {"boxes": (12, 4), "scores": (12, 4)}),
    "v1tiny_narrow": (False, {"boxes": (18, 4), "scores": (18, 20)}),
    "darknet19_narrow": (False, {"probabilities": (50,)}),
}


def load(name):
    """A model with an NMS of few candidates, which compiles fast."""
    if name == "small":
        model = small_detector.of_cfg()
    elif name == "shortcut":
        model = small_detector.with_shortcut()
    else:
        weights, cfg = GOLDEN / "weights" / f"{name}.weights", GOLDEN / "cfg" / f"{name}.cfg"
        model = load_model(weights, cfg=cfg)
    model.config.eval.top_k, model.config.eval.max_detections = 256, 100
    return model


def images_of(config, count):
    shape = (count, *config.data.image_size, 3)
    levels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return levels if config.data.resize == "opencv" else levels.astype(np.float32) / 255


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A folder with the file, images and outputs of each network from a process with JAX only."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for name, (nms, _) in CASES.items():
        task, config, variables, *_ = load(name)
        export_stablehlo(folder / f"{name}.stablehlo", task, config, variables, nms=nms)
        np.save(folder / f"{name}.npy", images_of(config, 3))
    command = [sys.executable, "-I", "-c", CALLER, *CASES]
    environment = {"JAX_PLATFORMS": "cpu", "PATH": ""}
    subprocess.run(command, check=True, env=environment, cwd=folder, timeout=240)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_file_runs_without_yolojax_at_any_batch_size(name, elsewhere):
    nms, shapes = CASES[name]
    task, config, variables, *_ = load(name)
    found, images = np.load(elsewhere / f"{name}.npz"), np.load(elsewhere / f"{name}.npy")
    assert list(found["platforms"]) == ["cpu", "cuda", "tpu"]
    expected = jax.device_get(jax.jit(outputs_of(task, config, variables, nms=nms))(images))
    assert {k: v.shape for k, v in expected.items()} == {
        k: (3, *shape) for k, shape in shapes.items()
    }
    for key, value in expected.items():
        for count in (1, 3):
            theirs = found[f"{count}/{key}"]
            close = 1e-4 * value.std()
            np.testing.assert_allclose(theirs, value[:count], rtol=0, atol=close, err_msg=key)


def test_nms_uses_the_settings_of_evaluation(tmp_path):
    """The export uses the thresholds of config.eval."""
    task, config, variables, *_ = load("small")
    config.eval.score_threshold, config.eval.max_detections = 0.05, 7
    images = images_of(config, 2)
    plain = jax.jit(outputs_of(task, config, variables))(images)
    best = jax.jit(outputs_of(task, config, variables, nms=True))(images)
    assert best["boxes"].shape == (2, 7, 4)
    largest = plain["scores"].max(axis=(1, 2))
    assert (largest > 0.05).all()
    np.testing.assert_array_equal(best["scores"][:, 0], largest)
    valid = np.arange(7) < np.asarray(best["count"])[:, None]
    np.testing.assert_array_equal(np.asarray(best["labels"]) >= 0, valid)


def test_input_type_depends_on_the_resize(tmp_path):
    task, config, variables, *_ = load("v2tiny_narrow")
    for resize, dtype in (("opencv", "uint8"), ("darknet", "float32")):
        config.data.resize = resize
        path = tmp_path / f"{resize}.stablehlo"
        export_stablehlo(path, task, config, variables)
        (image,) = jax.export.deserialize(bytearray(path.read_bytes())).in_avals
        assert (str(image.dtype), image.shape[1:]) == (dtype, (128, 160, 3))


def test_without_flatbuffers_the_error_names_the_extra(tmp_path, monkeypatch):
    task, config, variables, *_ = load("v2tiny_narrow")
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(ValueError, match=r"flatbuffers: pip install -e '\.\[export\]'"):
        export_stablehlo(tmp_path / "a.stablehlo", task, config, variables)
    assert not list(tmp_path.iterdir())


def test_nms_of_a_classifier_raises_in_stablehlo(tmp_path):
    task, config, variables, *_ = load("darknet19_narrow")
    with pytest.raises(ValueError, match="no boxes for NMS"):
        export_stablehlo(tmp_path / "a.stablehlo", task, config, variables, nms=True)
    assert not list(tmp_path.iterdir())
