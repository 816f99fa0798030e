"""Folders of fabricated runs: the files that training and evaluation write."""

import json

import numpy as np

from yolojax.config import Config, to_dict
from yolojax.evaluation.average_precision import match_voc
from yolojax.evaluation.classification import accuracies
from yolojax.evaluation.coco import match_coco
from yolojax.evaluation.detection import SETTINGS
from yolojax.evaluation.errors import error_mix
from yolojax.evaluation.evaluator import GroundTruth, ImageDetections, evaluate
from yolojax.evaluation.writers import write_hits, write_matches, write_result

CLASSES = ("cell", "platelet")
BOX = np.array([[10, 10, 30, 30], [50, 50, 90, 90]], float)
METRICS = [{"images": 8 * i, "train/loss": 9.0 / i, "eval/voc10": 0.1 * i} for i in range(1, 6)]


def image(index, classes=CLASSES):
    no = np.zeros(len(BOX), bool)
    labels = np.arange(len(BOX)) % len(classes)
    return GroundTruth(f"picture{index}", 100, 100, BOX, labels, no, no, np.full(len(BOX), 400.0))


def found(ground_truth, hits):
    """Detections of one image; those in `hits` (bool of each box) are correct."""
    boxes = BOX + np.where(hits, 0, 60)[:, None]
    return ImageDetections(
        ground_truth.image_id, boxes, np.full(len(BOX), 0.9), ground_truth.labels
    )


def make_run(folder, hits, *, name="val", config=None, source="voc:bccd:test", **settings):
    """A run that detects the boxes in `hits` bool [images, 2]; returns its folder."""
    config = config or Config()
    ground_truth = [image(i) for i in range(len(hits))]
    detections = [found(t, h) for t, h in zip(ground_truth, hits, strict=True)]
    result = evaluate(ground_truth, detections, CLASSES, bootstrap=50, protocol={"input": "64x64"})
    result |= {"source": source, "speed": {"input": 1.0, "network": 2.0}, "skipped": []}
    result["settings"] = {k: getattr(config.eval, k) for k in SETTINGS} | settings
    result["errors"] = error_mix(ground_truth, detections, CLASSES)
    matches = (match(ground_truth, detections, len(CLASSES)) for match in (match_voc, match_coco))
    ids = [t.image_id for t in ground_truth]
    write_matches(folder / "eval" / f"{name}_matches.npz", ids, CLASSES, *matches)
    write_result(folder / "eval" / f"{name}.json", result)
    (folder / "config.json").write_text(json.dumps(to_dict(config)))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in METRICS))
    return folder


def make_classifier_run(folder, hits, labels):
    """A classifier that gets the images of `hits` bool [n] right, at top 1; returns its folder."""
    config = Config()
    config.eval.metric = "top1"
    both = np.stack([hits, np.ones_like(hits)], axis=1)
    result = accuracies(both, labels, CLASSES, config.eval) | {"source": "folder:x:val"}
    result |= {"speed": {"all": 1.0}, "settings": {"metric": "top1"}, "protocol": {"input": "64"}}
    told = {"top1": both[:, 0], "top5": both[:, 1]}
    write_hits(folder / "eval" / "val_hits.npz", np.arange(len(hits)), CLASSES, labels, told)
    write_result(folder / "eval" / "val.json", result)
    return folder
