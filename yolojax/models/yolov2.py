"""YOLOv2 and its tiny forms: images -> raw [B, h / 32, w / 32, A * (5 + C)]."""

from yolojax.models.backbones import DARKNET19, TINY
from yolojax.models.tables import Conv, Reorg, Route, Table


def yolov2(classes: int, anchors: int) -> Table:
    """YOLOv2: Darknet-19, three 3x3 convolutions and the passthrough (yolov2-voc.cfg).

    The paper (section 2, "Fine-Grained Features") stacks the 26x26x512 map as it is; the published
    networks first squeeze it to 64 channels.
    """
    return (
        *DARKNET19,
        Conv(1024, name="head_conv1"),
        Conv(1024, name="head_conv2"),
        Route((-9,)),  # stage5_conv5: the last map at stride 16
        Conv(64, 1, name="passthrough_conv"),
        Reorg(2),
        Route((-1, -4)),
        Conv(1024, name="head_conv3"),
        _output(classes, anchors),
    )


def yolov2_tiny_voc(classes: int, anchors: int) -> Table:
    """Tiny YOLOv2 as published for VOC (yolov2-tiny-voc.cfg)."""
    return (*TINY, Conv(1024, name="head_conv"), _output(classes, anchors))


def yolov2_tiny_coco(classes: int, anchors: int) -> Table:
    """Tiny YOLOv2 as published for COCO (yolov2-tiny.cfg): half as wide before the output."""
    return (*TINY, Conv(512, name="head_conv"), _output(classes, anchors))


def _output(classes: int, anchors: int) -> Conv:
    return Conv(anchors * (5 + classes), 1, batch_norm=False, activation="linear", name="output")
