"""Fast YOLO on VOC 2007 + 2012, tested on VOC 2007: 9 convolutions, else as YOLOv1.

    yolojax train --config=fast_yolo_voc --workdir=runs/fast_yolo_voc

Data: the same as for yolov1_voc.
Hardware: meant for 8 TPU or GPU chips (bfloat16); not yet trained to the end.
Published: 52.7 mAP (VOC07, paper table 1).
"""

from configs import yolov1_voc
from yolojax.config import Config


def get_config(arg: str | None = None) -> Config:
    config = yolov1_voc.get_config(arg, network="fast_yolo")
    # darknet 913d355e, yolo-tiny.cfg: from 1e-4 in five steps to 1e-2.
    drops = config.optimizer.step_images[-2:]
    config.optimizer.learning_rate = 1e-4
    config.optimizer.step_images = (20 * 64, 40 * 64, 60 * 64, 80 * 64, *drops)
    config.optimizer.step_scales = (5.0, 5.0, 2.0, 2.0, 0.1, 0.1)
    return config
