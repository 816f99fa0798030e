"""+ hi-res classifier

The pretrained classifier was last trained at 448 pixels instead of 224. 69.5 mAP. In :small, which
has no classifier, nothing changes.
"""

from yolojax.config import Config


def change(config: Config) -> None:
    if config.init_from:
        config.init_from = "runs/extraction_448"
