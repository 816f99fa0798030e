"""YOLOv2, its tiny versions and YOLO9000: images -> raw [B, h / 32, w / 32, A * (5 + C)]."""

from yolojax.models.backbones import DARKNET19, TINY, extraction_backbone, stage
from yolojax.models.layers import Conv, Reorg, Route, Table


def yolov2(outputs: int) -> Table:
    """YOLOv2: Darknet-19, three 3x3 convolutions and the passthrough (yolov2-voc.cfg).

    The paper (section 2, "Fine-Grained Features") stacks the 26x26x512 map unchanged; the published
    networks first reduce it to 64 channels.
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
        _output(outputs),
    )


def yolov2_plain(outputs: int) -> Table:
    """YOLOv2 before the passthrough: Darknet-19 and three 3x3 convolutions (paper, table 2)."""
    return (*DARKNET19, *(Conv(1024, name=f"head_conv{i}") for i in (1, 2, 3)), _output(outputs))


def yolov2_extraction(outputs: int) -> Table:
    """YOLOv1's convolutions with anchor boxes, the step before Darknet-19 (paper, table 2).

    "We remove the fully connected layers" and "eliminate one pooling layer" (section 2): the 24
    convolutions are those of YOLOv1, with batch normalisation. The paper does not specify the layer
    that no longer halves the map; here it is the second one added for detection, so the 20
    pretrained ones are unchanged.
    """
    return (*extraction_backbone(), *stage(6, *[(1024, 3)] * 4), _output(outputs))


def yolov2_tiny_voc(outputs: int) -> Table:
    """Tiny YOLOv2 as published for VOC (yolov2-tiny-voc.cfg)."""
    return (*TINY, Conv(1024, name="head_conv"), _output(outputs))


def yolov2_tiny_coco(outputs: int) -> Table:
    """Tiny YOLOv2 as published for COCO (yolov2-tiny.cfg): half as wide before the output."""
    return (*TINY, Conv(512, name="head_conv"), _output(outputs))


def yolo9000(outputs: int) -> Table:
    """YOLO9000: Darknet-19 and one 1x1 convolution, no passthrough (yolo9000.cfg).

    The paper (section 4) describes the whole YOLOv2 with three priors; this is the released one.
    """
    return (*DARKNET19, _output(outputs))


def _output(outputs: int) -> Conv:
    return Conv(outputs, 1, batch_norm=False, activation="linear", name="output")
