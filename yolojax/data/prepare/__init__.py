"""Writing sources as data sets: folders of VOC, COCO and YOLO, and ArrayRecord shards."""

from yolojax.data.prepare.dataset import TARGETS, Prepared, prepare_dataset

__all__ = ["TARGETS", "Prepared", "prepare_dataset"]
