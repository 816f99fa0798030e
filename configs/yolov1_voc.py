"""YOLOv1 on VOC 2007 + 2012, tested on VOC 2007: the recipe of the paper (section 2.2).

    yolojax train --config=yolov1_voc --workdir=runs/yolov1_voc \\
        --config.init_from=runs/extraction

Data: VOCdevkit/ in --config.data.dir, or
--config.data.train=tfds:voc/2007:train+validation+tfds:voc/2012:train+validation.
Hardware: meant for 8 TPU or GPU chips (bfloat16); not yet trained to the end.
Published: 63.4 mAP (VOC07, paper table 1). The layers are those of yolov1.cfg, the release with
batch normalisation, so that Extraction fits; --config.model.name=yolov1_paper has the paper's.
"""

from configs.yolov2_voc import smoke
from yolojax.config import Config, is_smoke
from yolojax.data.class_names import VOC_CLASSES

EPOCH = 16_551  # pictures in trainval of 2007 and 2012


def get_config(arg: str | None = None, *, network: str = "yolov1") -> Config:
    config = Config()
    config.model.name = network
    config.model.classes = VOC_CLASSES
    config.model.dtype = "bfloat16"

    config.data.train = "voc:VOCdevkit/VOC2007:trainval+voc:VOCdevkit/VOC2012:trainval"
    config.data.val = "voc:VOCdevkit/VOC2007:test"
    config.data.image_size = (448, 448)
    config.data.letterbox = False  # YOLOv1 stretches pictures
    config.data.threads = 16
    config.data.augment.geometry = "crop"
    config.data.augment.jitter = 0.2
    config.data.augment.hue = 0.0  # 2015: saturation and exposure alone

    config.optimizer.batch_size = 64
    config.optimizer.images = 135 * EPOCH
    config.optimizer.learning_rate = 1e-3  # rises to 1e-2, then 75, 30 and 30 epochs
    config.optimizer.step_images = (200 * 64, 400 * 64, 600 * 64, 75 * EPOCH, 105 * EPOCH)
    config.optimizer.step_scales = (2.5, 2.0, 2.0, 0.1, 0.1)  # the rise is that of yolo.cfg
    config.eval.every_images = 10 * EPOCH
    config.eval.iou_threshold = 0.5
    config.eval.score_threshold = 0.001
    config.eval.metric = "voc07_11pt"
    if is_smoke(arg):
        smoke(config)
        config.data.image_size, config.data.multiscale = (448, 448), ()
    return config
