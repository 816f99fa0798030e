"""squared error

The box loss of YOLOv2 is the squared error in the units of the network (region_layer.c); the other
rows have losses of the overlap with the ground truth. coord_weight is 1 in all: for random boxes
with an IoU of about .55 the mean gradients of the four differ by a factor of at most 1.6. With a
larger IoU the gradients of the overlap losses are larger, with a smaller IoU smaller.

    yolojax ablate box_terms:small --data=voc:raccoon

Without an argument this is configs/yolov2_voc.py, for 8 TPU or GPU chips, not run yet. :small is
for any data set, from scratch, with a quarter of the width; :smoke is two steps.
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
    # For any data: the priors of VOC, scaled to these smaller images.
    priors = PUBLISHED_PRIORS["yolov2_voc"]
    config.model.anchors = tuple((w * side / 416, h * side / 416) for w, h in priors)
    return config
