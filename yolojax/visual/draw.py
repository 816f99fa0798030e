"""Draw boxes on images."""

import colorsys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from yolojax.files import one_line, write_bytes
from yolojax.visual.fonts import font_for, load_font

MOSAIC_TILES = 16
MOSAIC_SIDE = 1664  # pixels; 4 x 416
GOLDEN_RATIO = 0.618034  # steps of it spread hues evenly for any number of classes
CROWD = 12  # number of boxes above which the text is smaller
PADDING = 0.2  # of the font size, left and right of a label's text


def draw_boxes(image, boxes_pixels, labels, scores=None, classes: Sequence[str] = ()):
    """Draw boxes and class names on a copy of `image` (uint8 RGB [h, w, 3]).

    `boxes_pixels` [n, 4] xyxy, `labels` int [n] indexes `classes`, `scores` [n] or None. The box
    with the highest score is drawn last and its label is placed first. Labels without a free place
    are left out.
    """
    canvas = Image.fromarray(np.asarray(image))
    draw = ImageDraw.Draw(canvas)
    boxes = np.asarray(boxes_pixels, np.float64).reshape(-1, 4)
    order = (
        np.argsort(-np.asarray(scores), kind="stable") if scores is not None else _by_area(boxes)
    )
    text_size, line = _sizes(canvas.size, len(boxes))
    for i in order[::-1]:
        _outline(draw, boxes[i], _colour(int(labels[i])), line, canvas.size)
    taken: list[tuple] = []
    for i in order:
        score = None if scores is None else float(scores[i])
        name = _name(classes, int(labels[i]))
        font = load_font(font_for(name), text_size)
        text = _fitting_text(name, score, font, canvas.width)
        place = _free_place(boxes[i], font, text, canvas.size, taken)
        if text and place is not None:
            taken.append(place)
            _write(draw, place, text, font, _colour(int(labels[i])))
    return np.asarray(canvas)


def draw_batch(batch: dict, classes: Sequence[str]):
    """Draw the first images of a batch with their boxes as one mosaic (uint8 RGB).

    `batch` has `image` uint8 [B, h, w, 3], `boxes` [B, M, 4] in 0..1, `labels` and `mask` [B, M];
    or, instead of these three, the class `label` [B], which is drawn as a frame.
    """
    if "label" in batch:
        count = len(batch["label"])
        frames = np.tile(np.array([0, 0, 1, 1], np.float32), (count, 1, 1))
        labels = np.asarray(batch["label"])[:, None]
        batch = batch | {"boxes": frames, "labels": labels, "mask": np.ones((count, 1), bool)}
    images = np.asarray(batch["image"])[:MOSAIC_TILES]
    columns = int(np.ceil(np.sqrt(len(images))))
    scale = min(MOSAIC_SIDE // 4, MOSAIC_SIDE // columns) / max(images.shape[1:3])
    height, width = (max(1, round(side * scale)) for side in images.shape[1:3])
    rows = -(-len(images) // columns)
    mosaic = np.full((rows * (height + 2), columns * (width + 2), 3), 255, np.uint8)
    for i, image in enumerate(images):
        mask = np.asarray(batch["mask"][i], bool)
        tile = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        boxes = np.asarray(batch["boxes"][i])[mask] * (width, height, width, height)
        top, left = i // columns * (height + 2), i % columns * (width + 2)
        mosaic[top : top + height, left : left + width] = draw_boxes(
            tile, boxes, np.asarray(batch["labels"][i])[mask], classes=classes
        )
    return mosaic


def save_image(path, image) -> None:
    """Write `image` (uint8 RGB [h, w, 3]) to `path` atomically in the format of its suffix.

    Raises:
        ValueError: OpenCV does not write this format.
    """
    path = Path(path)
    bgr = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR)
    if not path.suffix or not cv2.haveImageWriter(f"a{path.suffix}"):
        raise ValueError(f"{path}: unknown picture format; use .jpg or .png.")
    write_bytes(path, cv2.imencode(path.suffix, bgr)[1].tobytes())


def _by_area(boxes):
    """Order boxes by area, so that small ones are drawn last and their labels placed first."""
    return np.argsort((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), kind="stable")


def _sizes(size, boxes: int):
    """Return text size and line width for an image of `size` (w, h) with this number of boxes."""
    side = (size[0] * size[1]) ** 0.5
    crowd = max(0.6, (CROWD / max(boxes, CROWD)) ** 0.25)
    text = round(float(np.clip(0.032 * side * crowd, 9, 200)))
    return text, max(1, round(0.005 * side * crowd))


def _colour(label: int) -> tuple[int, int, int]:
    """Return the colour of a class; classes with similar hues differ in lightness."""
    hue = (0.02 + label * GOLDEN_RATIO) % 1.0
    lightness, saturation = ((0.5, 0.95), (0.36, 0.85), (0.7, 0.9))[label % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, saturation)
    return round(red * 255), round(green * 255), round(blue * 255)


def _ink(colour) -> tuple[int, int, int]:
    """Return black or white for text on `colour` (luma weights of ITU-R BT.601)."""
    return (0, 0, 0) if np.dot(colour, (0.299, 0.587, 0.114)) > 140 else (255, 255, 255)


def _outline(draw, box, colour, line: int, size) -> None:
    x1, y1, x2, y2 = np.clip(np.round(box), 0, (*size, *size)).astype(int).tolist()
    corners = (x1, y1, max(x1, x2 - 1), max(y1, y2 - 1))  # xyxy excludes right and bottom
    draw.rectangle(corners, outline=colour, width=line)


def _name(classes, label: int) -> str:
    return one_line(str(classes[label])) if 0 <= label < len(classes) else str(label)


def _fitting_text(name: str, score, font, width: int) -> str:
    """Return name and score, the name, or its beginning: the longest that fits in `width`."""
    score = "" if score is None else f" {score:.2f}"
    shortened = [f"{name[:n]}…" for n in range(len(name) - 1, 0, -1)]
    for text in (name + score, name, *shortened):
        if _label_width(text, font) <= width:
            return text
    return ""


def _label_width(text: str, font) -> int:
    return round(font.getlength(text) + 2 * PADDING * font.size)


def _free_place(box, font, text: str, size, taken):
    """Return (x1, y1, x2, y2) of a label above, below or in the box; None if none is free."""
    width, height = _label_width(text, font), sum(font.getmetrics())
    x1, y1, x2, y2 = np.round(box).astype(int).tolist()
    corners = [(x1, y1 - height), (x2 - width, y1 - height), (x1, y2), (x1, y1), (x1, y2 - height)]
    for x, y in corners:
        x, y = max(0, min(x, size[0] - width)), max(0, min(y, size[1] - height))
        place = (x, y, x + width, y + height)
        if not any(_overlap(place, other) for other in taken):
            return place
    return None


def _overlap(a, b) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _write(draw, place, text: str, font, colour) -> None:
    x1, y1, x2, y2 = place
    draw.rectangle((x1, y1, x2 - 1, y2 - 1), fill=colour)
    draw.text((x1 + PADDING * font.size, y1), text, fill=_ink(colour), font=font)
