"""Darknet-19 on ImageNet at 224: the first stage of YOLOv2 (YOLO9000 paper, section 3).

    yolojax train --config=darknet19_imagenet --workdir=runs/darknet19

Data: tfds imagenet2012 in --config.data.dir, or --config.data.train=folder:ROOT:train.
Hardware: meant for 8 TPU or GPU chips (bfloat16); not yet trained to the end.
Published: top-1 72.9, top-5 91.2.
"""

from yolojax.config import Config, is_smoke
from yolojax.data.class_names import imagenet_wnids

EPOCH = 1_281_167  # pictures in the train split


def get_config(arg: str | None = None, *, network: str = "darknet19") -> Config:
    config = Config()
    config.model.name = network
    config.model.classes = imagenet_wnids()
    config.model.dtype = "bfloat16"

    config.data.train, config.data.val = "tfds:imagenet2012:train", "tfds:imagenet2012:validation"
    config.data.image_size = (224, 224)
    config.data.threads = 32

    config.optimizer.batch_size = 128
    config.optimizer.images = 160 * EPOCH
    config.optimizer.learning_rate = 0.1
    config.optimizer.policy = "poly"
    config.optimizer.poly_power = 4.0
    config.eval.every_images = 4 * EPOCH
    config.eval.batch_size = 128
    config.eval.metric = "top1"
    if is_smoke(arg):
        smoke(config)
    return config


def smoke(config: Config) -> None:
    """A few steps of a narrow network on drawn shapes, which show one class each."""
    config.model.width, config.model.dtype = 0.0625, "float32"
    config.model.classes = ("circle", "square", "triangle", "star")
    config.data.train, config.data.val = "shapes:single", "shapes:single-val"
    config.data.image_size, config.data.threads = (64, 64), 2
    config.optimizer.batch_size, config.optimizer.images = 8, 8 * 6
    config.optimizer.learning_rate = 0.01
    config.eval.bootstrap, config.eval.batch_size = 100, 16
