"""+ new network

Darknet-19 replaces the convolutions of YOLOv1. 69.6 mAP.
"""

from yolojax.config import Config


def change(config: Config) -> None:
    config.model.name = "yolov2_plain"
    if config.init_from:
        config.init_from = "runs/darknet19_448"
