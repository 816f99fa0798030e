"""+ hi-res classifier

The classifier that the layers come from saw 448 pixels at last, not 224. 69.5 mAP. Without a
classifier, in :small, nothing changes.
"""

from yolojax.config import Config


def change(config: Config) -> None:
    if config.init_from:
        config.init_from = "runs/extraction_448"
