"""Quickstart: a narrow YOLOv2 that learns four drawn shapes, from nothing, in minutes.

    python train.py --config=configs/quickstart.py --workdir=runs/quickstart

Hardware: 2 CPU cores. No data is needed: the pictures are drawn as they are asked for.
"""

from yolojax.config import Config, is_smoke


def get_config(arg: str | None = None) -> Config:
    config = Config()
    config.model.name = "yolov2"
    config.model.width = 0.25
    config.model.classes = ("circle", "square", "triangle", "star")
    config.model.anchors = ((0.7, 0.7), (1.1, 1.1), (1.6, 1.6))

    config.data.train, config.data.val = "shapes:train", "shapes:val"
    config.data.image_size = (128, 128)
    config.data.augment.jitter = 0.1

    config.optimizer.batch_size = 16
    config.optimizer.images = 16 * 900
    config.optimizer.learning_rate = 4e-3
    config.optimizer.burn_in_images = 16 * 50
    config.optimizer.step_images = (16 * 650, 16 * 800)
    config.optimizer.step_scales = (0.1, 0.1)
    config.loss.warmup_images = 1600
    config.eval.every_images = 16 * 450
    config.checkpoint.every_images = 16 * 450
    if is_smoke(arg):
        config.optimizer.images = 16 * 4
        config.model.width = 0.125
    return config
