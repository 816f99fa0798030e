"""Tiny YOLOv2 on COCO at 416: the recipe of yolov2-tiny.cfg (Darknet, 2017).

    yolojax train --config=yolov2_tiny_coco --workdir=runs/yolov2_tiny_coco

Data: coco/ in --config.data.dir (annotations/, train2017/, val2017/).
Hardware: meant for one to eight accelerators (bfloat16); not yet trained to the end.
Published: 23.7 AP50 (test-dev, author's site), from a pretrained backbone. This config starts from
random parameters; expect less.
"""

from configs.yolov2_coco import get_config as yolov2_coco
from yolojax.config import Config, is_smoke


def get_config(arg: str | None = None) -> Config:
    config = yolov2_coco(arg)
    config.model.name = "yolov2_tiny_coco"
    config.data.augment.jitter = 0.2
    config.loss.rescore = False
    if not is_smoke(arg):
        config.data.image_size = (416, 416)
    return config
