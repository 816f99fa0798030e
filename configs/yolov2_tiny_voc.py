"""Tiny YOLOv2 on VOC 2007 + 2012, tested on VOC 2007: the recipe of yolov2-tiny-voc.cfg.

    yolojax train --config=yolov2_tiny_voc --workdir=runs/yolov2_tiny_voc

Data: VOCdevkit/ in --config.data.dir.
Hardware: meant for one accelerator (bfloat16); not yet trained to the end.
Published: 57.1 mAP (VOC07, author's site); the released weights re-evaluated: 53.5 to 54.0. Both
start from a pretrained backbone. This config starts from random parameters; expect less.
"""

from configs.yolov2_voc import BATCH
from configs.yolov2_voc import get_config as yolov2_voc
from yolojax.config import Config, is_smoke
from yolojax.ops.anchors import PUBLISHED_PRIORS


def get_config(arg: str | None = None) -> Config:
    config = yolov2_voc(arg)
    config.model.name = "yolov2_tiny_voc"
    config.model.anchors = PUBLISHED_PRIORS["yolov2_tiny_voc"]
    config.data.augment.jitter = 0.2
    if is_smoke(arg):
        return config
    config.optimizer.images = 40_200 * BATCH
    # The .cfg has steps=-1,100,20000,30000 and scales=.1,10,.1,.1 with a rate of .001. Darknet
    # compares -1 as unsigned and stays at .001; this is the schedule that was intended.
    config.optimizer.learning_rate = 1e-4
    config.optimizer.burn_in_images = 0
    config.optimizer.step_images = (100 * BATCH, 20_000 * BATCH, 30_000 * BATCH)
    config.optimizer.step_scales = (10.0, 0.1, 0.1)
    return config
