"""Classifiers: images -> raw [B, 1, 1, C], the logits."""

from yolojax.models.backbones import DARKNET19, extraction_backbone, stage, tiny_v1_backbone
from yolojax.models.layers import AvgPool, Conv, MaxPool, Table


def darknet19(outputs: int) -> Table:
    """Darknet-19 (YOLO9000 paper, table 6), the backbone of YOLOv2."""
    return (*DARKNET19, _output(outputs), AvgPool())


def extraction(outputs: int) -> Table:
    """Extraction, the backbone of YOLOv1; its last layer is leaky (extraction.cfg)."""
    return (*extraction_backbone(), _output(outputs, "leaky"), AvgPool())


def darknet_reference(outputs: int) -> Table:
    """Darknet's small reference network (darknet.cfg)."""
    return (*tiny_v1_backbone(), AvgPool(), _output(outputs))


def tiny_darknet(outputs: int) -> Table:
    """Tiny Darknet: 4 MB of weights (tiny.cfg)."""
    return (
        *stage(1, (16, 3)),
        MaxPool(),
        *stage(2, (32, 3)),
        MaxPool(),
        *stage(3, *_squeezes(16, 128)),
        MaxPool(),
        *stage(4, *_squeezes(32, 256)),
        MaxPool(),
        *stage(5, *_squeezes(64, 512), (128, 1)),
        _output(outputs),
        AvgPool(),
    )


def _squeezes(few: int, many: int) -> tuple[tuple[int, int], ...]:
    return ((few, 1), (many, 3)) * 2


def _output(outputs: int, activation: str = "linear") -> Conv:
    return Conv(outputs, 1, batch_norm=False, activation=activation, name="output")
