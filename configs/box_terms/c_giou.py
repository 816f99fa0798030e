"""1 - GIoU"""

from yolojax.config import Config


def change(config: Config) -> None:
    config.loss.box_loss = "giou"
