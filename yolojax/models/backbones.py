"""Convolutions that classifiers and detectors share."""

from yolojax.models.layers import Conv, MaxPool, Table


def stage(number: int, *shapes: tuple[int, ...], batch_norm: bool = True) -> Table:
    """Return convolutions of (filters, size[, stride]), named stage{number}_conv1, _conv2, ..."""
    return tuple(
        Conv(*shape, batch_norm=batch_norm, name=f"stage{number}_conv{i}")
        for i, shape in enumerate(shapes, 1)
    )


# YOLO9000 paper, table 6, without the classifier's last layer: 18 convolutions, layers 0-22.
DARKNET19: Table = (
    *stage(1, (32, 3)),
    MaxPool(),
    *stage(2, (64, 3)),
    MaxPool(),
    *stage(3, (128, 3), (64, 1), (128, 3)),
    MaxPool(),
    *stage(4, (256, 3), (128, 1), (256, 3)),
    MaxPool(),
    *stage(5, (512, 3), (256, 1), (512, 3), (256, 1), (512, 3)),
    MaxPool(),
    *stage(6, (1024, 3), (512, 1), (1024, 3), (512, 1), (1024, 3)),
)

# yolov2-tiny.cfg, layers 0-12. The last pool keeps the size.
TINY: Table = (
    *stage(1, (16, 3)),
    MaxPool(),
    *stage(2, (32, 3)),
    MaxPool(),
    *stage(3, (64, 3)),
    MaxPool(),
    *stage(4, (128, 3)),
    MaxPool(),
    *stage(5, (256, 3)),
    MaxPool(),
    *stage(6, (512, 3)),
    MaxPool(stride=1),
    *stage(7, (1024, 3)),
)


def extraction_backbone(batch_norm: bool = True) -> Table:
    """Return the first 20 convolutions of YOLOv1 (paper, figure 3), pretrained as a classifier."""
    shapes = (
        ((64, 7, 2),),
        ((192, 3),),
        ((128, 1), (256, 3), (256, 1), (512, 3)),
        (*((256, 1), (512, 3)) * 4, (512, 1), (1024, 3)),
        ((512, 1), (1024, 3)) * 2,
    )
    stages = [stage(i, *s, batch_norm=batch_norm) for i, s in enumerate(shapes, 1)]
    return sum(((MaxPool(), *convolutions) for convolutions in stages[1:]), stages[0])


def tiny_v1_backbone(batch_norm: bool = True) -> Table:
    """Return six convolutions of 16 to 512 filters, each followed by a pool, then one of 1024.

    Fast YOLO and yolov1-tiny.cfg start with them; darknet.cfg, the reference network, is them.
    """
    stages = [stage(i, (8 * 2**i, 3), batch_norm=batch_norm) for i in range(1, 8)]
    return sum(((MaxPool(), *convolutions) for convolutions in stages[1:]), stages[0])
