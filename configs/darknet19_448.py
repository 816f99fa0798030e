"""Darknet-19 on ImageNet at 448, from the network trained at 224: the second stage of YOLOv2.

    yolojax train --config=darknet19_448 --workdir=runs/darknet19_448 \\
        --config.init_from=runs/darknet19

Data: the same as for darknet19_imagenet.
Hardware: meant for 8 TPU or GPU chips (bfloat16); not yet trained to the end.
Published: top-1 76.5, top-5 93.3 (YOLO9000 paper, section 3).
"""

from configs import darknet19_imagenet
from yolojax.config import Config, is_smoke


def get_config(arg: str | None = None, *, network: str = "darknet19") -> Config:
    config = darknet19_imagenet.get_config(arg, network=network)
    config.optimizer.learning_rate = 1e-3
    if is_smoke(arg):
        config.data.image_size = (96, 96)
    else:
        config.data.image_size = (448, 448)
        config.optimizer.images = 10 * darknet19_imagenet.EPOCH
    return config
