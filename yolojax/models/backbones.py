"""Convolutions that classifiers and detectors share."""

from yolojax.models.tables import Conv, MaxPool, Table


def stage(number: int, *shapes: tuple[int, int]) -> Table:
    """Convolutions of (filters, size) `shapes`, named stage{number}_conv1 and on."""
    return tuple(
        Conv(filters, size, name=f"stage{number}_conv{i}")
        for i, (filters, size) in enumerate(shapes, 1)
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
