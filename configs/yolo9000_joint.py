"""YOLO9000 at 544: boxes from COCO and labels from ImageNet, four to one (paper, section 4).

    yolojax train --config=yolo9000_joint --workdir=runs/yolo9000 \\
        --config.init_from=runs/wordtree1k

The paper's tree has 9418 nodes; its data set is not available any more, but its weights are:
    --config.model.tree_file=9k.tree --config.data.map=coco9k.map (both from Darknet's data/)
with pictures in folders named by wnid: --config.data.labelled=folder:ROOT. The default tree has
1411 nodes: the 1000 classes of ILSVRC and the 80 of COCO, mapped to the nodes that the authors
chose.
    --config.model.name=yolov2
adds the 3x3 convolutions and the passthrough of YOLOv2, which the paper's text does not exclude and
the released network lacks.

Data: tfds coco/2017 and imagenet2012 in --config.data.dir.
Hardware: meant for 16 TPU or GPU chips (bfloat16); not yet trained to the end. The recipe is that
of yolo9000.cfg.
Published: 19.7 mAP on ImageNet detection with the 9418 nodes, 16.0 on classes without any box.
"""

from configs import wordtree_smoke
from yolojax.config import Config, is_smoke
from yolojax.ops.anchors import PUBLISHED_PRIORS
from yolojax.wordtree.files import tree_fields

BATCH = 64


def get_config(arg: str | None = None) -> Config:
    config = Config()
    config.model.name = "yolo9000"
    config.model.anchors = PUBLISHED_PRIORS["yolo9000"]
    config.model.dtype = "bfloat16"
    for name, value in tree_fields("coco_imagenet1k").items():
        setattr(config.model, name, value)

    config.data.train, config.data.val = "tfds:coco/2017:train", "tfds:coco/2017:validation"
    config.data.map = "coco_imagenet1k"
    config.data.labelled, config.data.mix = "tfds:imagenet2012:train", (4, 1)
    config.data.on_bad_record = "skip"  # two pictures of train2017 have a box without height
    config.data.image_size = (544, 544)
    config.data.multiscale = tuple(range(320, 609, 32))
    config.data.threads = 16
    config.data.augment.jitter = 0.2
    config.data.augment.saturation = config.data.augment.exposure = 0.75

    config.optimizer.batch_size = BATCH
    config.optimizer.images = 500_200 * BATCH
    config.optimizer.learning_rate = 1e-3
    config.optimizer.burn_in_images = 1000 * BATCH
    config.optimizer.step_images = (400_000 * BATCH, 450_000 * BATCH)
    config.optimizer.step_scales = (0.1, 0.1)
    config.eval.every_images = 20_000 * BATCH
    config.eval.metric = "coco_AP50"
    if is_smoke(arg):
        wordtree_smoke.smoke(config)
    return config
