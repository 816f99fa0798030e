"""The networks that were published with weights: their classes, boxes and image sizes."""

from typing import NamedTuple

from yolojax.models.networks import NETWORKS, count_outputs


class Published(NamedTuple):
    """A network as its authors trained it."""

    network: str  # a key of NETWORKS
    classes: int
    boxes: int  # of a cell: anchors (region) or boxes (yolov1); 0 for a classifier
    image_size: tuple[int, int]  # (height, width) of the .cfg
    side: int = 0  # yolov1: cells in a row

    @property
    def outputs(self) -> int:
        """Outputs of the last layer."""
        head = NETWORKS[self.network].head
        return count_outputs(head, classes=self.classes, boxes=self.boxes, side=self.side)


PUBLISHED = {
    "yolov2_voc": Published("yolov2", 20, 5, (416, 416)),
    "yolov2_coco": Published("yolov2", 80, 5, (608, 608)),
    "yolov2_tiny_voc": Published("yolov2_tiny_voc", 20, 5, (416, 416)),
    "yolov2_tiny_coco": Published("yolov2_tiny_coco", 80, 5, (416, 416)),
    "yolo9000": Published("yolo9000", 9418, 3, (544, 544)),
    "yolov1": Published("yolov1", 20, 3, (448, 448), 7),
    "yolov1_paper": Published("yolov1_paper", 20, 2, (448, 448), 7),
    "yolov1_tiny": Published("yolov1_tiny", 20, 2, (448, 448), 7),
    "fast_yolo": Published("fast_yolo", 20, 2, (448, 448), 7),
    "darknet19": Published("darknet19", 1000, 0, (256, 256)),  # 224 in the paper
    "darknet19_448": Published("darknet19", 1000, 0, (448, 448)),
    "darknet9000": Published("darknet19", 9418, 0, (448, 448)),
    "extraction": Published("extraction", 1000, 0, (224, 224)),
    "darknet_reference": Published("darknet_reference", 1000, 0, (256, 256)),
    "tiny_darknet": Published("tiny_darknet", 1000, 0, (224, 224)),
}
