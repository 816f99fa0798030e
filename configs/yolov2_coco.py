"""YOLOv2 on COCO at 608: the recipe of yolov2.cfg (Darknet, 2017).

    yolojax train --config=yolov2_coco --workdir=runs/yolov2_coco

Data: coco/ in --config.data.dir (annotations/, train2017/, val2017/).
Hardware: meant for 16 TPU or GPU chips (bfloat16); not yet trained to the end.
Published: 48.1 AP50 at 608 (test-dev, author's site), 44.0 AP50 and 21.6 AP in the paper. Both
start from a Darknet-19 trained on ImageNet at 448. This config starts from random parameters;
expect less.
"""

from configs.yolov2_voc import BATCH, smoke
from yolojax.config import Config, is_smoke
from yolojax.data.class_names import COCO_CLASSES
from yolojax.ops.anchors import PUBLISHED_PRIORS


def get_config(arg: str | None = None) -> Config:
    config = Config()
    config.model.name = "yolov2"
    config.model.classes = COCO_CLASSES
    config.model.anchors = PUBLISHED_PRIORS["yolov2_coco"]
    config.model.dtype = "bfloat16"

    config.data.train = "coco:coco/annotations/instances_train2017.json:coco/train2017"
    config.data.val = "coco:coco/annotations/instances_val2017.json:coco/val2017"
    config.data.on_bad_record = "skip"  # two pictures of train2017 have a box without height
    config.data.image_size = (608, 608)
    config.data.multiscale = tuple(range(320, 609, 32))
    config.data.threads = 16

    config.optimizer.batch_size = BATCH
    config.optimizer.images = 500_200 * BATCH
    config.optimizer.learning_rate = 1e-3
    config.optimizer.burn_in_images = 1000 * BATCH
    config.optimizer.step_images = (400_000 * BATCH, 450_000 * BATCH)
    config.optimizer.step_scales = (0.1, 0.1)
    config.eval.every_images = 20_000 * BATCH
    config.eval.metric = "coco_AP"
    if is_smoke(arg):
        smoke(config)
    return config
