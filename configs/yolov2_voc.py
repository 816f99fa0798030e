"""YOLOv2 on VOC 2007 + 2012, tested on VOC 2007: the recipe of yolov2-voc.cfg (Darknet, 2017).

    yolojax train --config=yolov2_voc --workdir=runs/yolov2_voc

Data: VOCdevkit/ in --config.data.dir, or
--config.data.train=tfds:voc/2007:train+validation+tfds:voc/2012:train+validation.
Hardware: meant for 8 TPU or GPU chips (bfloat16); not yet trained to the end.
Published: 76.8 mAP at 416 (VOC07, paper table 3); the released weights re-evaluated: 75.8. Both
start from a Darknet-19 trained on ImageNet at 448. This config starts from random parameters;
expect less.
"""

from yolojax.config import Config, is_smoke
from yolojax.data.class_names import VOC_CLASSES
from yolojax.ops.anchors import PUBLISHED_PRIORS

BATCH = 64


def get_config(arg: str | None = None) -> Config:
    config = Config()
    config.model.name = "yolov2"
    config.model.classes = VOC_CLASSES
    config.model.anchors = PUBLISHED_PRIORS["yolov2_voc"]
    config.model.dtype = "bfloat16"

    config.data.train = "voc:VOCdevkit/VOC2007:trainval+voc:VOCdevkit/VOC2012:trainval"
    config.data.val = "voc:VOCdevkit/VOC2007:test"
    config.data.multiscale = tuple(range(320, 609, 32))
    config.data.threads = 16

    config.optimizer.batch_size = BATCH  # one subdivision (Darknet: 8), for larger batches of BN
    config.optimizer.images = 80_200 * BATCH
    config.optimizer.learning_rate = 1e-3
    config.optimizer.burn_in_images = 1000 * BATCH
    config.optimizer.step_images = (40_000 * BATCH, 60_000 * BATCH)
    config.optimizer.step_scales = (0.1, 0.1)
    config.eval.every_images = 5000 * BATCH
    config.eval.metric = "voc07_11pt"
    if is_smoke(arg):
        smoke(config)
    return config


def smoke(config: Config) -> None:
    """A few steps of a narrow network on drawn shapes; the classes stay, so do all shapes."""
    config.model.width = 0.0625
    config.model.dtype = "float32"
    config.model.classes = ("circle", "square", "triangle", "star", *config.model.classes[4:])
    config.data.train, config.data.val = "shapes:train", "shapes:val"
    config.data.image_size, config.data.multiscale = (96, 96), (64, 96)
    config.data.multiscale_every, config.data.multiscale_last, config.data.threads = 2, 2, 2
    config.optimizer.batch_size, config.optimizer.images = 8, 8 * 6
    config.optimizer.burn_in_images = 8
    config.eval.bootstrap = 100
