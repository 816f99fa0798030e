"""Compare published weights with the outputs of the original program.

The files are YOLO-LITE (github.com/reu2018DL/YOLO-LITE) and Tiny Darknet. The outputs were recorded
with Debian's package `darknet` on a CPU. The original mAP is that of its boxes with our evaluator.
"""

import functools
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import jax
import numpy as np
import pytest

from yolojax import loading, predict
from yolojax.data.from_config import eval_batches, open_source
from yolojax.data.transforms import fitter
from yolojax.distributed.sharding import make_mesh
from yolojax.evaluation import classification, detection
from yolojax.evaluation.average_precision import class_average_precision, match_voc
from yolojax.evaluation.evaluator import ImageDetections, ground_truth_from_record

DATA = Path(__file__).parents[2] / "shared" / "data"
WEIGHTS, GOLDEN = DATA / "weights", DATA / "weights" / "golden"
PICTURES = ("dog", "person")
pytestmark = pytest.mark.skipif(
    not GOLDEN.exists(), reason="needs the published weights in ../shared/data"
)


class Published(NamedTuple):
    """Files of a detector, and the mAP of the original boxes on `source` in percent."""

    cfg: str
    weights: str
    names: str
    source: str
    voc10: float  # boxes clipped to the picture
    unclipped: float  # boxes not clipped, ground truth [xmin, xmax] instead of [xmin - 1, xmax]


VOC = ("voc2012_animals/voc.names", f"voc:{DATA}/voc2012_animals")
COCO = ("coco256/coco.names", f"darknet:{DATA}/coco256/data.yaml:val")
TRIAL3 = "yolo-lite/tiny-yolov2-trial3"
DETECTORS = {
    "voc_nobn": Published(f"{TRIAL3}-noBatch.cfg", f"{TRIAL3}-noBatch.weights", *VOC, 32.59, 30.57),
    "voc_bn": Published(f"{TRIAL3}.cfg", f"{TRIAL3}.weights", *VOC, 30.40, 32.56),
    "coco": Published(
        "yolo-lite/trial6_coco.cfg", "yolo-lite/trial6_653550.weights", *COCO, 18.27, 17.94
    ),
}
CLASSIFIER = ("tiny-darknet/tiny.weights", "tiny-darknet/tiny.cfg")


@functools.cache
def load(name):
    """Load a detector from its .cfg, .weights and .names."""
    files = DETECTORS[name]
    return loading.load_model(
        WEIGHTS / files.weights, cfg=WEIGHTS / files.cfg, names=DATA / files.names
    )


@functools.cache
def detector(name):
    """Load a detector that compiles once for all pictures."""
    files = DETECTORS[name]
    return predict.load(WEIGHTS / files.weights, cfg=WEIGHTS / files.cfg, names=DATA / files.names)


def golden_input(picture):
    """Return the letterboxed picture of the original program, [1, 224, 224, 3]."""
    planar = np.load(GOLDEN / f"input_{picture}_letterbox224.npz")["x"]
    return planar.transpose(1, 2, 0)[None]


def network(loaded, image):
    return np.asarray(jax.jit(loaded.task.model.apply)(loaded.variables, image))


def activated(raw, anchors=5):
    """Compute the region layer's output [A * (5 + C) * 7 * 7] from raw [1, 7, 7, A * (5 + C)]."""
    values = raw[0].astype(np.float64).reshape(7, 7, anchors, -1).transpose(2, 3, 0, 1).copy()
    values[:, [0, 1, 4]] = 1 / (1 + np.exp(-values[:, [0, 1, 4]]))
    classes = np.exp(values[:, 5:] - values[:, 5:].max(1, keepdims=True))
    values[:, 5:] = classes / classes.sum(1, keepdims=True)
    return values.ravel()


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("picture", PICTURES)
def test_network_equals_the_original_program(name, picture):
    expected = np.load(GOLDEN / f"{name}_{picture}.npz")["darknet_output"]
    found = activated(network(load(name), golden_input(picture)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("picture", PICTURES)
def test_classifier_equals_the_original_program(picture):
    weights, cfg = (WEIGHTS / name for name in CLASSIFIER)
    loaded = loading.load_model(weights, cfg=cfg)
    expected = np.load(GOLDEN / f"tinydarknet_{picture}.npz")["darknet_output"]
    found = loaded.task.decode(network(loaded, golden_input(picture)))[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("picture", PICTURES)
def test_input_equals_the_original_program(picture):
    image = cv2.imread(str(WEIGHTS / f"{picture}.jpg"))[..., ::-1]
    found, _ = fitter(letterbox=True, resize="darknet")(image, (224, 224))
    # Debian's program has the same JPEG decoder, OpenCV's; stb_image differs by 3 levels.
    np.testing.assert_allclose(found, golden_input(picture)[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("picture", PICTURES)
def test_boxes_equal_the_original_program(name, picture):
    result = detector(name).predict(WEIGHTS / f"{picture}.jpg", threshold=0.25, iou=0.45)
    expected = np.load(GOLDEN / f"{name}_{picture}.npz")["dets"]
    expected = expected[np.argsort(-expected[:, 1], kind="stable")]
    height, width = result.image.shape[:2]
    np.testing.assert_array_equal(result.labels, expected[:, 0])
    np.testing.assert_allclose(result.scores, expected[:, 1], rtol=0, atol=1e-4)
    boxes = np.clip(expected[:, 2:], 0, [width, height, width, height])
    # 1e-4 of the picture; the original does not clip.
    np.testing.assert_allclose(result.boxes_pixels, boxes, rtol=0, atol=1e-4 * width)


def evaluated(name):
    """Return (loaded, source, mesh, programs) with Darknet's `valid` protocol without limits."""
    loaded = load(name)
    # 7 * 7 * 5 boxes of 80 classes
    settings = replace(loaded.config.eval, top_k=19600, max_detections=19600, bootstrap=0)
    loaded = loaded._replace(config=replace(loaded.config, eval=settings))
    source = open_source(DETECTORS[name].source, loaded.config)
    programs = detection.make_programs(loaded.task, loaded.config.eval)
    return loaded, source, make_mesh(jax.devices()[:1]), programs


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_map_equals_that_of_the_original_boxes(name, tmp_path):
    loaded, source, mesh, programs = evaluated(name)
    result = detection.evaluate_source(
        programs, loaded.variables, source, loaded.config, mesh, tmp_path
    )
    # The original program resizes the last row of three of these pictures to black (see
    # darknet/image.py), and a class with one object is 100 / 17 points of mAP. All other boxes are
    # equal.
    assert 100 * result["voc10"] == pytest.approx(DETECTORS[name].voc10, abs=0.2)
    assert (tmp_path / "plots" / "val_batch0_pred.jpg").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_map_without_clipping_equals_that_of_the_original_boxes(name):
    """Compare with `Published.unclipped`, which was recorded with the pictures."""
    loaded, source, _, programs = evaluated(name)
    ground_truth, detections = [], []
    for batch in eval_batches(source, loaded.config, 16):
        raw = programs.network(loaded.variables, batch["image"])
        found = jax.device_get(programs.detect(raw, 0.005, 0.45).detections)
        for i in np.flatnonzero(batch["image_id"] >= 0):
            one = ground_truth_from_record(source[int(batch["image_id"][i])], batch["size"][i])
            valid, (scale_x, scale_y, x, y) = found.valid[i], batch["affine"][i]
            boxes = (224 * found.boxes[i] - [x, y, x, y]) / [scale_x, scale_y, scale_x, scale_y]
            detections.append(
                ImageDetections(
                    one.image_id, boxes[valid], found.scores[i][valid], found.labels[i][valid]
                )
            )
            ground_truth.append(_one_based(one) if source.name.startswith("voc:") else one)
    classes = len(loaded.config.model.classes)
    precision, *_ = class_average_precision(match_voc(ground_truth, detections, classes), None)
    assert 100 * np.nanmean(precision) == pytest.approx(DETECTORS[name].unclipped, abs=0.2)


@pytest.mark.slow
def test_accuracy_equals_that_of_the_original_program(tmp_path):
    sample = DATA / "imagenet_sample"
    lines = (sample / "wnids_darknet_order.txt").read_text().splitlines()
    (tmp_path / "wnids.names").write_text("\n".join(line.split("\t")[0] for line in lines))
    weights, cfg = (WEIGHTS / name for name in CLASSIFIER)
    loaded = loading.load_model(weights, cfg=cfg, names=tmp_path / "wnids.names")
    loaded.config.eval.metric = "top1"
    result = classification.evaluate_source(
        classification.make_programs(loaded.task, loaded.config.eval),
        loaded.variables,
        open_source(f"folder:{sample}/images", loaded.config),
        loaded.config,
        make_mesh(jax.devices()[:1]),
        tmp_path,
    )
    # One of the 1000 pictures may be a tie that rounding decides.
    assert 100 * result["top1"] == pytest.approx(60.2, abs=0.11)
    assert 100 * result["top5"] == pytest.approx(83.4, abs=0.11)


def _one_based(one):
    return one._replace(boxes_pixels=one.boxes_pixels + np.array([1, 1, 0, 0]))
