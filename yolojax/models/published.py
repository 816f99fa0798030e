"""The detectors that were published with weights: what the bare network names leave open."""

from typing import NamedTuple


class Published(NamedTuple):
    """A network as its authors trained it."""

    network: str  # a key of NETWORKS
    classes: int
    anchors: int
    image_size: tuple[int, int]  # (height, width) of the .cfg


PUBLISHED = {
    "yolov2_voc": Published("yolov2", 20, 5, (416, 416)),
    "yolov2_coco": Published("yolov2", 80, 5, (608, 608)),
    "yolov2_tiny_voc": Published("yolov2_tiny_voc", 20, 5, (416, 416)),
    "yolov2_tiny_coco": Published("yolov2_tiny_coco", 80, 5, (416, 416)),
}
