"""Darknet-19 on the WordTree of ImageNet's 1000 classes (YOLO9000 paper, section 4).

    yolojax train --config=darknet19_wordtree1k --workdir=runs/wordtree1k

Labels are the 1000 leaves; outputs are all 1369 nodes, with one softmax per group of siblings.
For another tree, set --config.model.tree_file=MY.tree; classes of the data are its wnids or names.
Data and recipe: the same as for darknet19_imagenet ("the same training parameters as before").
Hardware: meant for 8 TPU or GPU chips (bfloat16); not yet trained to the end.
Published: top-1 71.9, top-5 90.4.
"""

from configs import darknet19_imagenet, wordtree_smoke
from yolojax.config import Config, is_smoke
from yolojax.wordtree.files import tree_fields


def get_config(arg: str | None = None) -> Config:
    config = darknet19_imagenet.get_config(arg)
    fields = wordtree_smoke.SHAPES if is_smoke(arg) else tree_fields("imagenet1k")
    for name, value in fields.items():
        setattr(config.model, name, value)
    return config
