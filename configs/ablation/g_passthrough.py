"""+ passthrough

The last map at stride 16 is concatenated to the one at stride 32: the complete YOLOv2. 75.4 mAP.
"""

from yolojax.config import Config


def change(config: Config) -> None:
    config.model.name = "yolov2"
