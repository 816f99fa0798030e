"""1 - CIoU"""

from yolojax.config import Config


def change(config: Config) -> None:
    config.loss.box_loss = "ciou"
