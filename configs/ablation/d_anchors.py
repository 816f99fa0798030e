"""+ convolutional, anchor boxes

No connected layers; nine hand-picked anchors per cell of a 13 x 13 grid, images of 416 instead of
448, centres as offsets from the anchors. 69.2 mAP. From here on the loss is that of YOLOv2, and the
learning rate is constant after a burn-in as long as Darknet's instead of rising in steps.
"""

from yolojax.config import Config

# Faster R-CNN (Ren et al. 2015), section 3.3: sides of square anchors in pictures whose shorter
# side is 600 pixels, and height over width.
SIDES, RATIOS, PICTURE = (128, 256, 512), (0.5, 1.0, 2.0), 600


def change(config: Config) -> None:
    side = max(64, config.data.image_size[0] - 32)
    config.model.name, config.model.location = "yolov2_extraction", "anchor"
    config.model.anchors = hand_picked(cells=side / 32)
    config.data.image_size = (side, side)
    optimizer = config.optimizer
    optimizer.burn_in_images = 3 * optimizer.images // 100
    steps = zip(optimizer.step_images, optimizer.step_scales, strict=True)
    down = [(step, scale) for step, scale in steps if scale < 1]
    optimizer.step_images, optimizer.step_scales = map(tuple, zip(*down, strict=True))


def hand_picked(cells: float) -> tuple[tuple[float, float], ...]:
    """Faster R-CNN's anchors (w, h) in cells, on a grid of `cells` x `cells`."""
    units = [side / PICTURE * cells for side in SIDES]
    return tuple((round(s * r**-0.5, 4), round(s * r**0.5, 4)) for s in units for r in RATIOS)
