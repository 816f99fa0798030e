"""YOLOv1 and Fast YOLO: images -> raw [B, S * S * (C + 5 * boxes)]."""

from yolojax.models.backbones import extraction_backbone, stage, tiny_v1_backbone
from yolojax.models.layers import Connected, Conv, Crop, Dropout, Local, Table


def yolov1(outputs: int) -> Table:
    """YOLOv1 as released in 2016: batch normalisation and a local layer (yolov1.cfg)."""
    return (
        *extraction_backbone(),
        *_detection_convolutions(),
        Local(256, name="head_local"),
        Dropout(),
        _output(outputs),
    )


def yolov1_paper(outputs: int) -> Table:
    """YOLOv1 of the paper (figure 3): two connected layers, no batch normalisation.

    darknet 8c5364f5, yolo.cfg; its [crop] moves the input to -1..1.
    """
    return (
        Crop(),
        *extraction_backbone(batch_norm=False),
        *_detection_convolutions(batch_norm=False),
        Connected(4096, name="head_connected1"),
        Dropout(),
        _output(outputs),
    )


def yolov1_tiny(outputs: int) -> Table:
    """Tiny YOLOv1 as released in 2016: 8 convolutions (yolov1-tiny.cfg)."""
    return (*tiny_v1_backbone(), Conv(256, name="head_conv1"), _output(outputs))


def fast_yolo(outputs: int) -> Table:
    """Fast YOLO of the paper: 9 convolutions, no batch normalisation (913d355e, yolo-tiny.cfg)."""
    return (
        Crop(),
        *tiny_v1_backbone(batch_norm=False),
        Conv(1024, batch_norm=False, name="head_conv1"),
        Conv(1024, batch_norm=False, name="head_conv2"),
        Connected(256, activation="linear", name="head_connected1"),
        Connected(4096, name="head_connected2"),
        Dropout(),
        _output(outputs),
    )


def _detection_convolutions(batch_norm: bool = True) -> Table:
    """Return the four convolutions added to the pretrained twenty (paper, section 2.2)."""
    shapes = ((1024, 3), (1024, 3, 2), (1024, 3), (1024, 3))
    return stage(6, *shapes, batch_norm=batch_norm)


def _output(outputs: int) -> Connected:
    return Connected(outputs, activation="linear", name="output")
