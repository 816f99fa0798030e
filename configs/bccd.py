"""Blood cells (BCCD, 364 pictures of 640x480, 3 classes), with a narrow YOLOv2 from scratch.

    yolojax train --config=bccd --workdir=runs/bccd --config.data.dir=DATA
    yolojax eval --workdir=runs/bccd --data=voc:bccd:test

DATA holds bccd/, a VOC tree (Annotations, ImageSets, JPEGImages).
Hardware: 2 CPU cores, about 20 minutes.
Expected: VOC10 mAP .85 at IoU .5 on the test split (RBC .81, WBC .98, Platelets .76), 95 % interval
over its 72 pictures .82 to .89. This is one run with seed 0; a longer one without ema_decay got
.84.
Nothing is published for YOLOv2 on this set.
"""

from yolojax.config import Config, is_smoke

EPOCH = 205  # pictures in the train split


def get_config(arg: str | None = None) -> Config:
    config = Config()
    config.model.name = "yolov2"
    config.model.width = 0.25
    config.model.classes = ("RBC", "WBC", "Platelets")
    config.model.anchors = ((0.847, 0.821), (2.158, 2.063), (4.261, 3.868))  # k-means, k = 3

    config.data.train, config.data.val = "voc:bccd:train", "voc:bccd:val"
    config.data.image_size = (320, 416)  # the aspect of the pictures is 3:4: little padding
    config.data.augment.geometry = "crop"  # moves and scales; the letterbox only changes the aspect
    config.data.augment.jitter = 0.15
    config.data.augment.hue = 0.05  # the stain tells the classes apart
    config.data.augment.saturation = config.data.augment.exposure = 1.3

    config.optimizer.batch_size = 8
    config.optimizer.images = 135 * EPOCH
    config.optimizer.learning_rate = 4e-3
    config.optimizer.burn_in_images = 3 * EPOCH
    config.optimizer.step_images = (85 * EPOCH, 115 * EPOCH)
    config.optimizer.step_scales = (0.1, 0.1)
    config.optimizer.clip_norm = 20.0  # about 14 cells per picture: large first gradients
    config.optimizer.ema_decay = 0.998  # averages a few epochs, as small batches are noisy
    config.loss.warmup_images = 3 * EPOCH
    config.eval.every_images = 45 * EPOCH
    config.checkpoint.every_images = 10 * EPOCH
    if is_smoke(arg):
        config.model.width = 0.125
        config.data.image_size = (96, 128)
        config.optimizer.images, config.optimizer.burn_in_images = 32, 8
        config.eval.every_images = 0
    return config
