"""+ multi-scale

The image size of training changes every ten batches, from 320 to 608. 76.8 mAP.
"""

from yolojax.config import Config


def change(config: Config) -> None:
    side = config.data.image_size[0]
    sides = range(32 * round(0.75 * side / 32), 32 * round(1.46 * side / 32) + 1, 32)
    config.data.multiscale = tuple(sides)
