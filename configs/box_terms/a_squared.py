"""squared error

What a box costs in YOLOv2: the squared distance in the network's units (region_layer.c), against
losses of its overlap with the truth in the other rows. coord_weight is 1 in all: for random boxes
with an IoU of about .55 the mean gradients of the four are alike within a factor of 1.6; nearer to
the truth those of the overlap are larger, farther away they are smaller.

    yolojax ablate configs/box_terms:small --data=voc:raccoon

Without an argument: configs/yolov2_voc.py, for 8 TPU or GPU chips, not run yet. :small is for any
data set, from nothing, a quarter as wide; :smoke is two steps.
"""

from configs import yolov2_voc
from configs.ablation.a_yolov1 import small
from yolojax.config import Config
from yolojax.ops.anchors import PUBLISHED_PRIORS


def get_config(arg: str | None = None) -> Config:
    if not arg:
        config = yolov2_voc.get_config()
        config.eval.every_images = 0
        return config
    config = small(arg)
    config.model.name = "yolov2"
    side = 64 if arg == "smoke" else 160
    config.data.image_size = (side, side)
    # Any data: the priors of VOC, as large a part of these smaller images.
    priors = PUBLISHED_PRIORS["yolov2_voc"]
    config.model.anchors = tuple((w * side / 416, h * side / 416) for w, h in priors)
    return config
