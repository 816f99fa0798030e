"""Darknet-19 on the WordTree of ImageNet's 1000 classes (YOLO9000 paper, section 4).

    python train.py --config=configs/darknet19_wordtree1k.py --workdir=runs/wordtree1k

The labels are the 1000 leaves, the outputs all 1369 nodes, a softmax for each group of siblings.
Any other tree: --config.model.tree_file=MY.tree, with classes in the data that are its wnids or
names.
Data: as configs/darknet19_imagenet.py; so is the recipe, "the same training parameters as before".
Hardware: meant for 8 TPU or GPU chips (bfloat16); not run at full length yet.
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
