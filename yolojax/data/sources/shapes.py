"""Scenes of drawn shapes: detection data that needs no download.

A scene is a pure function of (split, index), so it is the same on every machine, host and run.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from yolojax.data.parsing import make_record
from yolojax.data.records import Record

SHAPES = ("circle", "square", "triangle", "star")
SPLITS = {"train": 2000, "val": 200, "single": 2000, "single-val": 200}  # scenes in each
SINGLE = ("single", "single-val")  # one shape per scene, which is also the scene's class
SIDE = 128  # pixels, of the square scene
RADIUS = (16, 34)  # pixels, of a shape
MAX_SHAPES = 4
MAX_COVERED = 0.25  # of the smaller of two boxes
CONTRAST = 110  # least distance of a shape's colour from the background, in one channel
SEED = 20161225  # of all scenes: the date of the YOLO9000 preprint


@dataclass(frozen=True)
class ShapesSource:
    """A Source that draws each record when it is read."""

    name: str
    classes: tuple[str, ...]
    scenes: tuple[tuple[str, int], ...]  # (split, index)
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Record:
        split, number = self.scenes[index]
        image, boxes, shapes = draw_scene(split, number)
        labels = [self.classes.index(SHAPES[shape]) for shape in shapes]
        record = make_record(f"{split}_{number:05d}", image, (SIDE, SIDE), boxes, labels)
        return record._replace(label=labels[0]) if split in SINGLE else record


def load_shapes(split: str = "", *, name: str = "", classes: Sequence[str] = ()) -> ShapesSource:
    """Make 2000 scenes ("train"), 200 ("val") or both (""), with 1 to 4 shapes of 4 classes each.

    "single" and "single-val" have one shape per scene, for classifiers too.

    Raises:
        ValueError: there is no such split, or `classes` lacks a shape.
    """
    if split and split not in SPLITS:
        raise ValueError(f"shapes:{split}: no such split; there are: {', '.join(SPLITS)}.")
    if missing := set(SHAPES) - set(classes or SHAPES):
        raise ValueError(f"shapes: the classes must include {sorted(missing)}, got {[*classes]}.")
    chosen = [split] if split else ["train", "val"]
    scenes = tuple((key, number) for key in chosen for number in range(SPLITS[key]))
    return ShapesSource(name or f"shapes:{split}", tuple(classes) or SHAPES, scenes)


def draw_scene(split: str, number: int) -> tuple[np.ndarray, list[tuple[int, ...]], list[int]]:
    """Draw a scene -> uint8 RGB [SIDE, SIDE, 3], boxes xyxy in pixels, shape numbers.

    A later shape may cover a part of a shape; the box is that of the whole shape.
    """
    generator = np.random.default_rng([SEED, list(SPLITS).index(split), number])
    image, base = _background(generator)
    boxes, shapes = [], []
    for _ in range(1 if split in SINGLE else generator.integers(1, MAX_SHAPES + 1)):
        shape = int(generator.integers(len(SHAPES)))
        mask = _draw_mask(shape, generator)
        x, y, w, h = cv2.boundingRect(mask)
        box = (x, y, x + w, y + h)
        if any(_covered(box, other) > MAX_COVERED for other in boxes):
            continue  # never the first shape, so no scene is empty
        image[mask > 0] = _contrasting(base, generator)
        boxes.append(box)
        shapes.append(shape)
    return _add_noise(image, generator), boxes, shapes


def _background(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw soft blotches around a colour -> float32 [SIDE, SIDE, 3], the colour [3]."""
    base = generator.uniform(20, 235, 3)
    coarse = base + generator.uniform(-35, 35, (5, 5, 3))
    image = cv2.resize(coarse.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return image, base


def _draw_mask(shape: int, generator: np.random.Generator) -> np.ndarray:
    """Draw a shape inside the scene -> uint8 [SIDE, SIDE], 255 inside the shape."""
    radius = generator.uniform(*RADIUS)
    centre = generator.uniform(radius + 1, SIDE - radius - 1, 2)
    turn = generator.uniform(0, 2 * np.pi)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    corners = _outline(SHAPES[shape], radius, turn) + centre
    return cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 255)


def _outline(shape: str, radius: float, turn: float) -> np.ndarray:
    """Return corners [k, 2] on a circle around the origin; a star's inner ones are closer."""
    corners = {"circle": 40, "square": 4, "triangle": 3, "star": 10}[shape]
    angles = turn + 2 * np.pi * np.arange(corners) / corners
    inner = (np.arange(corners) % 2) * (shape == "star")
    reach = radius * np.where(inner, 0.42, 1.0)
    return np.stack([reach * np.cos(angles), reach * np.sin(angles)], axis=-1)


def _covered(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    """Return the fraction of the smaller box that the other covers."""
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return max(w, 0) * max(h, 0) / min(areas)


def _contrasting(base: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw a colour [3] that differs from `base` by CONTRAST or more in at least one channel."""
    colour = generator.uniform(0, 255, 3)
    channel = generator.integers(3)
    if abs(colour - base).max() < CONTRAST:
        colour[channel] = (base[channel] + 128) % 256
    return colour


def _add_noise(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    strength = generator.uniform(2, 12)
    noise = generator.standard_normal(image.shape, dtype=np.float32) * np.float32(strength)
    return np.clip(image + noise, 0, 255).astype(np.uint8)
