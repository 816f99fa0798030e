"""Joint training on drawn shapes: boxes and labels of the eight nodes of a tree.

    yolojax train --config=wordtree_smoke --workdir=runs/wordtree_smoke

shape > round (circle), pointed (star, polygon (square, triangle)). Four of five pictures have
boxes; the fifth shows one shape and has only a label.
Hardware: 2 CPU cores, two minutes. No data is needed: the pictures are drawn on the fly.
Expected: VOC10 mAP .06 of the four shapes (seed 0), and the same without the labelled pictures. The
run is too short for more; it shows that all parts work together. With boxes only and 25600 pictures
(four minutes) the network reaches .81, and with one softmax over the four shapes .84.
"""

from yolojax.config import Config, is_smoke

BATCH = 10
SHAPES = {
    "classes": ("shape", "round", "pointed", "circle", "polygon", "star", "square", "triangle"),
    "class_names": (),
    "tree": (-1, 0, 0, 1, 2, 2, 4, 4),
}


def get_config(arg: str | None = None) -> Config:
    config = Config()
    config.model.name = "yolo9000"
    smoke(config)
    if not is_smoke(arg):
        config.model.width = 0.25
        config.data.image_size = (128, 128)
        config.optimizer.images = 800 * BATCH
        config.optimizer.burn_in_images = 50 * BATCH
        config.optimizer.step_images = (600 * BATCH,)
        config.optimizer.step_scales = (0.1,)
        config.eval.bootstrap = 1000
    return config


def smoke(config: Config) -> None:
    """A few steps of a narrow network on drawn shapes, some with boxes and some with a label."""
    for name, value in SHAPES.items():
        setattr(config.model, name, value)
    config.model.width, config.model.dtype = 0.0625, "float32"
    config.model.anchors = ((1.1, 1.1), (1.5, 1.5), (2.0, 2.0))

    config.data.train, config.data.val = "shapes:train", "shapes:val"
    config.data.labelled, config.data.mix, config.data.map = "shapes:single", (4, 1), ""
    config.data.image_size, config.data.multiscale = (64, 64), ()
    config.data.threads = 2
    config.data.augment.jitter = 0.1

    config.optimizer.batch_size = BATCH
    config.optimizer.images = 6 * BATCH
    config.optimizer.learning_rate = 4e-3
    config.optimizer.burn_in_images = BATCH
    config.optimizer.step_images = config.optimizer.step_scales = ()
    config.optimizer.clip_norm = 20.0
    config.loss.warmup_images = 50 * BATCH
    config.eval.every_images = 0
    config.eval.metric = "voc10"
    config.eval.bootstrap, config.eval.batch_size = 10, 16
