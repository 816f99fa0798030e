"""Blood cells (BCCD) with YOLOv1, beside configs/bccd.py: its grid of 7 x 7 against v2's anchors.

    python train.py --config=configs/bccd_v1.py --workdir=runs/bccd_v1 --config.data.dir=DATA
    python eval.py --workdir=runs/bccd_v1 --data=voc:bccd:test --errors

DATA holds bccd/, a VOC tree. --config.model.name=fast_yolo --config.model.width=0.5 is Fast YOLO.
Hardware: 2 CPU cores. Seen so far, in equal time from nothing, VOC10 on the test split: YOLOv1 .03
after 6400 images, Fast YOLO .10 after 11,000, YOLOv2 (configs/bccd.py) .76 after 6800: YOLOv1 has
far to go by then, and of its grid's 7 x 7 cells no more than 96.4 % of these boxes get one.
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
