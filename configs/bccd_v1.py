"""Blood cells (BCCD) with YOLOv1, to compare its grid of 7 x 7 with the anchors of YOLOv2 (bccd).

    yolojax train --config=bccd_v1 --workdir=runs/bccd_v1 --config.data.dir=DATA
    yolojax eval --workdir=runs/bccd_v1 --data=voc:bccd:test --errors

DATA holds bccd/, a VOC tree. --config.model.name=fast_yolo --config.model.width=0.5 is Fast YOLO.
Hardware: 2 CPU cores. VOC10 on the test split after equal time from scratch: YOLOv1 .03 (6400
images), Fast YOLO .10 (11,000), YOLOv2 (bccd) .76 (6800). YOLOv1 needs far more images, and its
grid of 7 x 7 cells has a cell for at most 96.4 % of these boxes.
"""

from configs import bccd
from yolojax.config import Config, is_smoke


def get_config(arg: str | None = None) -> Config:
    config = bccd.get_config(arg)
    config.model.name = "yolov1"
    config.model.anchors = ()
    config.data.image_size = (320, 448)  # multiples of 64, near the 3:4 of the pictures
    config.data.letterbox = False
    config.optimizer.learning_rate = 2e-3
    if is_smoke(arg):
        config.model.name, config.model.width = "yolov1_tiny", 0.125
        config.data.image_size, config.model.side = (128, 128), 3
    return config
