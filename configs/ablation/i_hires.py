"""+ hi-res detector

The same training, evaluated at 544 instead of 416. 78.6 mAP.
"""

from yolojax.config import Config


def change(config: Config) -> None:
    side = 32 * round(544 / 416 * config.data.image_size[0] / 32)
    config.data.image_size = (side, side)
