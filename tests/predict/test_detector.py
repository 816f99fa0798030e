import functools
import json
from pathlib import Path
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_detector

from yolojax import predict
from yolojax.config import Config, DataConfig, ModelConfig
from yolojax.data.records import BadRecord
from yolojax.evaluation.detection import make_programs
from yolojax.heads.predictions import Predictions
from yolojax.saving import save_model
from yolojax.tasks import Task

GOLDEN = Path(__file__).parents[1] / "golden"


def white_boxes(images):
    """Decode to one box around the white area, with scores 0.8 * (0.9, 0.1)."""
    white = images.min(axis=-1) > 0.9

    def edges(line):
        return jnp.argmax(line, 1) / line.shape[1], 1 - jnp.argmax(line[:, ::-1], 1) / line.shape[1]

    (x1, x2), (y1, y2) = edges(white.any(axis=1)), edges(white.any(axis=2))
    count = len(images)
    return Predictions(
        boxes=jnp.stack([x1, y1, x2, y2], axis=-1)[:, None],
        objectness=jnp.full((count, 1), 0.8),
        class_probs=jnp.tile(jnp.array([0.9, 0.1]), (count, 1, 1)),
    )


@functools.cache
def make_detector(batch_size=1, letterbox=True, resize="opencv"):
    model = SimpleNamespace(apply=lambda variables, images, train: images)
    data = DataConfig(image_size=(96, 128), letterbox=letterbox, resize=resize)
    config = Config(model=ModelConfig(classes=("white thing", "other")), data=data)
    task = Task(model=model, decode=white_boxes, loss=None)
    return predict.Detector(task, config, {}, batch_size=batch_size)


def picture(height, width, box):
    image = np.zeros((height, width, 3), np.uint8)
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = 255
    return image


@pytest.mark.parametrize("resize", ["opencv", "darknet"])
@pytest.mark.parametrize("letterbox", [True, False])
@pytest.mark.parametrize("size", [(192, 256), (100, 400), (400, 100), (60, 50)])
def test_boxes_are_in_pixels_of_the_picture(size, letterbox, resize):
    height, width = size
    box = (width // 5, height // 4, width // 2, height * 3 // 4)
    detector = make_detector(letterbox=letterbox, resize=resize)
    result = detector.predict(picture(height, width, box))
    pixel = max(height / 96, width / 128, 1)  # of the network's input, in the picture
    np.testing.assert_allclose(result.boxes_pixels, [box], atol=1.5 * pixel)
    np.testing.assert_allclose(result.scores, [0.72], rtol=1e-6)
    assert result.names == ["white thing"]


def test_many_pictures_of_many_sizes_take_one_program():
    detector = make_detector(batch_size=2)
    boxes = [(10 * i, 20, 10 * i + 60, 90) for i in range(1, 6)]
    pictures = [picture(100 + 7 * i, 150 + 9 * i, box) for i, box in enumerate(boxes)]
    results = detector.predict(pictures)
    for result, box in zip(results, boxes, strict=True):
        np.testing.assert_allclose(result.boxes_pixels, [box], atol=3)
    detector.predict(pictures, threshold=0.5, iou=0.3)
    assert [program._cache_size() for program in detector._programs if program] == [1, 1]


def corner_boxes(images):
    """Decode to 150 disjoint boxes of one class in descending score."""
    index = jnp.arange(150)
    x, y = index % 15 / 15, index // 15 / 10
    boxes = jnp.stack([x, y, x + 1 / 16, y + 1 / 11], axis=-1)
    objectness = 0.9 - index / 1000
    one = Predictions(boxes, objectness, jnp.ones((150, 1)))
    return jax.tree.map(lambda leaf: jnp.tile(leaf, (len(images), *[1] * leaf.ndim)), one)


def test_max_detections_can_exceed_that_of_the_config():
    model = SimpleNamespace(apply=lambda variables, images, train: images)
    config = Config(model=ModelConfig(classes=("thing",)), data=DataConfig(image_size=(96, 128)))
    config.eval.max_detections, config.eval.top_k = 100, 120
    detector = predict.Detector(Task(model, corner_boxes, loss=None), config, {})
    image = picture(96, 128, (0, 0, 9, 9))
    counts = [len(detector.predict(image, max_detections=n).scores) for n in (7, 100, 140, 7, 999)]
    assert counts == [7, 100, 140, 7, 150]
    assert detector._programs.network._cache_size() == 1


def test_result_has_display_names_and_the_tree():
    model = SimpleNamespace(apply=lambda variables, images, train: images)
    names = {"classes": ("n01", "n02"), "class_names": ("animal", "dog"), "tree": (-1, 0)}
    config = Config(model=ModelConfig(**names), data=DataConfig(image_size=(96, 128)))
    detector = predict.Detector(Task(model, white_boxes, loss=None), config, {})
    result = detector.predict(picture(96, 128, (20, 20, 60, 60)))
    assert (result.names, result.classes, result.tree) == (["animal"], ("animal", "dog"), (-1, 0))


def test_best_candidate_is_returned_below_the_threshold():
    result = make_detector().predict(picture(96, 128, (20, 20, 60, 60)), threshold=0.75)
    assert len(result.scores) == len(result.boxes_pixels) == len(result.names) == 0
    assert (result.best_label, round(result.best_score, 4)) == (0, 0.72)


def test_a_box_may_have_several_classes():
    result = make_detector().predict(picture(96, 128, (20, 20, 60, 60)), threshold=0.05)
    np.testing.assert_allclose(result.scores, [0.72, 0.08], rtol=1e-5)
    assert result.names == ["white thing", "other"]


def test_boxes_in_the_margin_are_dropped():
    detector = make_detector.__wrapped__()
    margin = jnp.array([[[0.0, 0.0, 1.0, 0.1]]])  # above a wide picture
    model = SimpleNamespace(apply=lambda variables, images, train: images)
    task = Task(model, lambda raw: white_boxes(raw)._replace(boxes=margin), loss=None)
    detector._programs = make_programs(task, detector.config.eval)
    assert len(detector.predict(picture(100, 400, (0, 0, 9, 9))).scores) == 0


def test_a_file_is_rotated_by_its_exif_tag(tmp_path):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    path = tmp_path / "a.jpg"
    Image.fromarray(picture(100, 200, (0, 60, 50, 100))).save(path, exif=exif, quality=95)
    result = make_detector().predict(path)
    assert result.file == str(path)
    assert result.image.shape == (200, 100, 3)
    np.testing.assert_allclose(result.boxes_pixels, [(0, 0, 40, 50)], atol=4)


def test_result_as_json_and_as_drawing():
    result = make_detector().predict(picture(96, 128, (32, 24, 64, 72)))
    expected = {
        "file": "",
        "width": 128,
        "height": 96,
        "detections": [
            {"class": "white thing", "class_id": 0, "score": 0.72, "box": [32.0, 24.0, 64.0, 72.0]}
        ],
    }
    assert json.loads(json.dumps(result.to_dict())) == expected
    drawn = result.draw()
    assert drawn.shape == (96, 128, 3)
    assert not np.array_equal(drawn, result.image)


def test_a_bad_picture_raises_or_calls_on_bad(tmp_path):
    (tmp_path / "bad.jpg").write_text("no picture")
    good = picture(96, 128, (32, 24, 64, 72))
    pictures = [good, tmp_path / "bad.jpg", good]
    detector = make_detector()
    with pytest.raises(BadRecord, match=r"bad\.jpg: not a picture"):
        detector.predict(pictures)
    errors = []
    assert len(detector.predict(pictures, on_bad=errors.append)) == 2
    assert len(errors) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v.mp4", r"v\.mp4: not a picture .* Videos are not read: write their frames"),
        ("a.heic", r"a\.heic: not a picture .* formats are read: \.jpg, "),
        ("README", "README: not a picture .* formats are read"),
        ("a.jpg", r"a\.jpg: not a picture that can be decoded \(4 bytes\)\.$"),
        ("http://example.com/dog.jpg", "dog.jpg: cannot be read .* URLs are not read: download"),
        ("rtsp://camera", "URLs are not read"),
        ("0", "0: cannot be read .* Cameras are not read"),
        ("missing.mp4", "missing.mp4: cannot be read .* Videos are not read"),
        ("x" * 300, r"xxx: cannot be read \(File name too long\)"),
        ("a\0.jpg", r"cannot be read \(embedded null byte\)"),
        (".", "cannot be read .Is a directory"),
    ],
)
def test_what_is_no_picture_is_named_with_the_way_out(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    for file in ("v.mp4", "a.heic", "a.jpg", "README"):
        (tmp_path / file).write_bytes(b"ftyp")
    with pytest.raises(BadRecord, match=message):
        make_detector().predict([name])


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        ([picture(9, 9, (0, 0, 3, 3)), None], "picture 1: must be .* got NoneType None"),
        (None, "picture 0: must be the name of a file"),
        (b"a.jpg", "picture 0: must be the name of a file or a numpy array, got bytes"),
        ([picture(9, 9, (0, 0, 3, 3)), np.zeros((0, 9, 3), np.uint8)], "picture 1: must be uint8"),
    ],
)
def test_what_is_neither_a_file_nor_an_array_is_named(pictures, message):
    with pytest.raises(ValueError, match=message):
        make_detector(batch_size=2).predict(pictures)


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.zeros((9, 9, 3), np.float32), {}, r"uint8 RGB \[h, w, 3\], got float32"),
        (np.zeros((9, 9), np.uint8), {}, r"got uint8 \[9, 9\]"),
        (picture(9, 9, (0, 0, 3, 3)), {"threshold": 25}, "threshold must be from 0 to 1; got 25"),
        (picture(9, 9, (0, 0, 3, 3)), {"iou": -1}, "iou must be from 0 to 1; got -1"),
        (picture(9, 9, (0, 0, 3, 3)), {"max_detections": 0}, "max_detections must be 1 or more"),
    ],
)
def test_bad_arguments_raise(image, options, message):
    with pytest.raises(ValueError, match=message):
        make_detector().predict(image, **options)


def test_a_run_and_its_weights_file_are_the_same_detector(tmp_path):
    model = small_detector.of_quickstart()
    for name in ("run", "a.weights"):
        save_model(tmp_path / name, model)
    run = predict.load(tmp_path / "run")
    file = predict.load(tmp_path / "a.weights", config=model.config)
    chex.assert_trees_all_equal(run._variables, file._variables)
    assert run.image_size == file.image_size == (64, 64)
    assert run.classes == model.config.model.classes
    result = run.predict(np.zeros((50, 90, 3), np.uint8), threshold=0.0)
    assert 0 < len(result.scores) <= 100


@pytest.mark.parametrize(("name", "size"), [("v2tiny_narrow", 64), ("v1tiny_narrow", None)])
def test_weights_with_their_cfg_and_names(name, size, tmp_path):
    weights, cfg = GOLDEN / "weights" / f"{name}.weights", GOLDEN / "cfg" / f"{name}.cfg"
    names = tmp_path / "a.names"
    names.write_text("".join(f"thing {i}\n" for i in range(20)))
    detector = predict.load(weights, cfg=cfg, names=names, image_size=size, batch_size=2)
    assert detector.config.data.resize == "darknet"
    pictures = np.random.default_rng(0).integers(0, 256, (3, 60, 90, 3), np.uint8)
    results = detector.predict(list(pictures), threshold=0.01)
    assert all(len(result.scores) for result in results)
    assert results[0].names[0] == f"thing {results[0].labels[0]}"


def golden(name):
    """Arguments of `load`."""
    cfg = GOLDEN / "cfg" / f"{name}.cfg"
    return {"path": GOLDEN / "weights" / f"{name}.weights", "cfg": cfg}


@pytest.mark.parametrize(("size", "expected"), [(96, (96, 96)), ((64, 96), (64, 96))])
def test_image_size_is_height_and_width_or_one_number(size, expected):
    assert predict.load(**golden("v2tiny_narrow"), image_size=size).image_size == expected


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("v2tiny_narrow", {"image_size": "416"}, r"image_size must be \(height, width\).*'416'"),
        ("v2tiny_narrow", {"image_size": (96, 96, 3)}, r"must be \(height, width\)"),
        ("v2tiny_narrow", {"image_size": 96.5}, r"must be \(height, width\).*96\.5"),
        ("v2tiny_narrow", {"image_size": 100}, "multiple of 32"),
        ("v1_narrow", {"image_size": 256}, "image_size must be"),
        ("v2tiny_narrow", {"batch_size": 0}, "batch_size must be 1 or more; got 0"),
    ],
)
def test_load_checks_image_and_batch_size(name, options, message):
    with pytest.raises(ValueError, match=message):
        predict.load(**golden(name), **options)


def test_load_of_missing_files(tmp_path):
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(FileNotFoundError, match="nothing: not found"):
        predict.load(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"a\.txt: not a Darknet \.weights file"):
        predict.load(tmp_path / "a.txt")
