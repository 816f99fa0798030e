"""Extraction on ImageNet at 224: the first stage of YOLOv1 (paper, section 2.2).

    yolojax train --config=extraction_imagenet --workdir=runs/extraction

Data: the same as for darknet19_imagenet.
Hardware: meant for 8 TPU or GPU chips (bfloat16); not yet trained to the end.
Published: top-1 72.5, top-5 90.8 (author's site); the paper has top-5 88.0 on the 2012 validation
set. The batch normalisation is that of extraction.cfg; the paper's detector has none.
"""

from configs import darknet19_imagenet
from yolojax.config import Config, is_smoke


def get_config(arg: str | None = None) -> Config:
    config = darknet19_imagenet.get_config(arg, network="extraction")
    if not is_smoke(arg):
        config.optimizer.images = 1_600_000 * 128  # max_batches of extraction.cfg
    return config
