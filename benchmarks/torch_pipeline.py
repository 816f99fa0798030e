"""The input pipeline of `input_pipeline.py` in PyTorch: DataLoader and Pillow.

The operations are those that torchvision applies to Pillow pictures, without its wrappers.
"""

import io
import random
from collections.abc import Callable, Iterator

import numpy as np
import PIL
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from yolojax.config import AugmentConfig
from yolojax.data.records import Record
from yolojax.data.transforms import GREY, MIN_SIDE

VERSION = f"torch {torch.__version__}, Pillow {PIL.__version__}"


class Rows(Dataset):
    """`row(index)` for each of `count` indices."""

    def __init__(self, row: Callable[[int], dict], count: int):
        self.row, self.count = row, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        return self.row(index)


def batches(row: Callable[[int], dict], count: int, batch: int, workers: int) -> Iterator[dict]:
    """Endless batches of the rows 0 to `count` - 1 in random order, made by `workers` processes."""
    sampler = torch.utils.data.RandomSampler(range(count), replacement=True, num_samples=10**9)
    return iter(DataLoader(Rows(row, count), batch, sampler=sampler, num_workers=workers))


def row_of(records: list[Record], size: int, places: int) -> Callable[[int], dict]:
    """A function index -> row as that of `yolojax.data.pipeline.train_sample`."""
    augment = AugmentConfig()

    def row(index):
        record = records[index]
        image, boxes = view(record.image, record.boxes, size, augment)
        image = torch.from_numpy(np.array(image))
        return {"image": image, **padded(boxes, record.labels, places, augment)}

    return row


def view(encoded: bytes, boxes: np.ndarray, size: int, augment: AugmentConfig):
    """A JPEG and its boxes [n, 4] -> picture of size x size, boxes in it, not clipped."""
    image = Image.open(io.BytesIO(encoded)).convert("RGB")
    left, top, width, height = letterbox_jitter(image.size, size, augment.jitter)
    exposure = factor(augment.exposure)
    canvas = Image.new("RGB", (size, size), (min(round(GREY * exposure), 255),) * 3)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    canvas.paste(distort(image, exposure, augment), (left, top))
    boxes = (boxes * [width, height, width, height] + [left, top, left, top]) / size
    if random.random() < augment.flip:
        canvas = canvas.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        boxes = np.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], axis=1)
    return canvas, boxes


def letterbox_jitter(picture: tuple[int, int], size: int, jitter: float):
    """(left, top, width, height) in a square input, as `yolojax.data.transforms` draws them."""
    w, h = (side * random.uniform(1 - jitter, 1 + jitter) for side in picture)
    width, height = int(size * min(w / h, 1)), int(size / max(w / h, 1))
    left, top = (int(random.uniform(0, size - side)) for side in (width, height))
    return left, top, width, height


def distort(image: Image.Image, exposure: float, augment: AugmentConfig) -> Image.Image:
    """Hue, saturation and exposure changed in Pillow's HSV of 8 bits."""
    hue = round(255 * random.uniform(-augment.hue, augment.hue))
    tables = [(level + hue) % 256 for level in range(256)]
    for scale in (factor(augment.saturation), exposure):
        tables += [min(round(level * scale), 255) for level in range(256)]
    return image.convert("HSV").point(tables).convert("RGB")


def factor(limit: float) -> float:
    """A factor between 1 and `limit`, or as often its inverse."""
    found = random.uniform(1, limit)
    return found if random.random() < 0.5 else 1 / found


def padded(boxes: np.ndarray, labels: np.ndarray, places: int, augment: AugmentConfig) -> dict:
    """The visible boxes, in `places` places."""
    boxes = np.clip(boxes, 0, 1)
    visible = (boxes[:, 2:] - boxes[:, :2] >= MIN_SIDE[augment.geometry]).all(axis=1)
    boxes, labels = boxes[visible][:places], labels[visible][:places]
    row = {"boxes": torch.zeros(places, 4), "labels": torch.zeros(places, dtype=torch.int32)}
    row["boxes"][: len(boxes)] = torch.from_numpy(boxes)
    row["labels"][: len(boxes)] = torch.from_numpy(labels)
    return row | {"mask": torch.arange(places) < len(boxes)}
