"""YOLO

The start of table 2 of the YOLO9000 paper: YOLOv1 as in its own paper, 63.4 mAP on VOC 2007.

    yolojax ablate ablation:small --data=voc:raccoon

Without an argument the rows are those of the paper: VOC 2007 + 2012, for 8 TPU or GPU chips, not
run yet. They start from ImageNet classifiers in runs/:

    extraction_plain.weights  the twenty convolutions of Extraction, without batch normalisation
    extraction                configs/extraction_imagenet.py
    extraction_448            the same, ten more epochs at 448 (see configs/darknet19_448.py)
    darknet19_448             configs/darknet19_448.py

What the paper does not specify is the same in all rows: 135 epochs with batches of 64, crops and
colours of YOLOv1, pictures stretched to squares, the thresholds of evaluation.
:small is for any data set, from scratch, with a quarter of the width: two to three minutes per row
on one CPU core. :smoke is two steps.
"""

from configs import yolov1_voc
from yolojax.config import Config
from yolojax.data.sources.shapes import SHAPES

FORMS = ("small", "smoke")


def get_config(arg: str | None = None) -> Config:
    if arg:
        return small(arg)
    config = yolov1_voc.get_config(network="yolov1_paper")
    config.init_from = "runs/extraction_plain.weights"
    config.eval.every_images = 0
    return config


def small(form: str) -> Config:
    """The recipe of configs/bccd.py on few and small pictures; in form "smoke" two steps."""
    if form not in FORMS:
        raise ValueError(f"these overlays have the forms :small and :smoke, got {form!r}.")
    config = Config()
    config.model.name = "yolov1_paper"
    config.model.width = 0.25
    config.model.classes = SHAPES
    config.data.image_size = (192, 192)
    config.data.letterbox = False
    config.data.multiscale_last = 20
    config.data.augment.geometry = "crop"
    config.data.augment.jitter = 0.15
    config.data.augment.hue = 0.05
    config.data.augment.saturation = config.data.augment.exposure = 1.3

    config.optimizer.batch_size = 8
    config.optimizer.images = 8000
    config.optimizer.learning_rate = 4e-3
    config.optimizer.burn_in_images = 240
    config.optimizer.step_images = (5600, 7200)
    config.optimizer.step_scales = (0.1, 0.1)
    config.optimizer.clip_norm = 20.0
    config.optimizer.ema_decay = 0.995
    config.loss.warmup_images = 600
    config.checkpoint.every_images = 4000
    if form == "smoke":
        config.model.width = 0.0625
        config.data.image_size = (64, 64)
        config.optimizer.images, config.optimizer.burn_in_images = 16, 8
        config.eval.bootstrap = 100
    return config
