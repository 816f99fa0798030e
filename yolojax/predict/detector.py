"""A trained detector and pictures -> detections in pixels of the pictures."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import jax
import numpy as np

from yolojax.config import Config
from yolojax.data.transforms import blank, boxes_to_original, fitter
from yolojax.evaluation.detection import make_programs
from yolojax.loading import on_device
from yolojax.predict.classes import describe, path_of
from yolojax.predict.pictures import OnBad, Picture, in_batches, one_or_many
from yolojax.tasks import Task, for_inference
from yolojax.visual.draw import draw_boxes


@dataclass(frozen=True)
class Result:
    """What was found in one picture, the best first; boxes are xyxy in its pixels."""

    file: str  # as it was given; "" for an array
    image: np.ndarray  # uint8 RGB [h, w, 3], upright
    boxes_pixels: np.ndarray  # float32 [n, 4]
    scores: np.ndarray  # float32 [n], objectness times class probability
    labels: np.ndarray  # int32 [n]
    classes: tuple[str, ...]  # the names that are shown
    best_score: float  # of any box and class of the picture, below the threshold too
    best_label: int
    tree: tuple[int, ...] = ()  # YOLO9000: the parent of each class, -1 for a root
    wnids: tuple[str, ...] = ()  # YOLO9000: of each class

    @property
    def names(self) -> list[str]:
        """The class of each detection."""
        return [self.classes[label] for label in self.labels]

    @property
    def paths(self) -> list[list[str]]:
        """Of each detection the names from a root of the tree down to its class."""
        return [path_of(label, self.classes, self.tree) for label in self.labels]

    def draw(self) -> np.ndarray:
        """A copy of the picture with the detections drawn, uint8 RGB [h, w, 3]."""
        return draw_boxes(self.image, self.boxes_pixels, self.labels, self.scores, self.classes)

    def to_dict(self) -> dict:
        """Plain values for JSON: file, width, height and detections (of a tree with wnid, path)."""
        rows = zip(self.labels, self.scores, self.boxes_pixels, strict=True)
        return {
            "file": self.file,
            "width": self.image.shape[1],
            "height": self.image.shape[0],
            "detections": [
                {
                    **describe(label, self.classes, self.tree, self.wnids),
                    "score": round(float(score), 4),
                    "box": [round(float(x), 2) for x in box],
                }
                for label, score, box in rows
            ],
        }


class Detector:
    """A task with its variables; compiles one program for its image and batch size."""

    def __init__(self, task: Task, config: Config, variables: dict, *, batch_size: int = 1):
        self.config, self.batch_size = config, batch_size
        self._fit = fitter(config.data.letterbox, config.data.resize)
        device = jax.local_devices()[0]
        task, variables = for_inference(task, variables, device.platform)
        self._variables = on_device(variables, device)
        self._task, self._most = task, config.eval.max_detections
        self._programs = make_programs(task, config.eval)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of the labels."""
        return self.config.model.shown

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the network's input."""
        return tuple(self.config.data.image_size)

    def predict(self, pictures: Picture | Iterable[Picture], **options) -> Result | list[Result]:
        """The detections of one picture, or a list of those of several.

        `options` are those of `stream`.
        """
        return one_or_many(self.stream, pictures, options)

    def stream(
        self,
        pictures: Iterable[Picture],
        *,
        threshold: float = 0.25,
        iou: float = 0.45,
        max_detections: int = 100,
        on_bad: OnBad = None,
    ) -> Iterator[Result]:
        """The detections of one picture after the other, in their order.

        Args:
            pictures: files (turned upright by EXIF) or uint8 RGB arrays [h, w, 3] of any size.
            threshold: detections score more than this.
            iou: of two boxes of a class that overlap more, the better one is kept.
            max_detections: the best of a picture; more than any call before asked for, and than
                config.eval.max_detections, take a new compilation of what follows the network.
            on_bad: is told of a picture that cannot be read, which is then left out.

        Raises:
            BadRecord: a picture cannot be read, unless there is `on_bad`.
            ValueError: an option is out of range or an array is not a picture.
        """
        for name, value in (("threshold", threshold), ("iou", iou)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be from 0 to 1; got {value}.")
        if max_detections < 1:
            raise ValueError(f"max_detections must be 1 or more; got {max_detections}.")
        self._make_room(max_detections)

        def start(batch):
            return *self._start(batch, threshold, iou), max_detections

        return in_batches(pictures, self.batch_size, on_bad, start, self._results)

    def _make_room(self, count):
        """Replace the program of detections by one that keeps `count`, if that is more."""
        if count <= self._most:
            return
        own = self.config.eval
        candidates, slots = max(count, own.top_k), max(count, own.max_slots)
        settings = replace(own, max_detections=count, top_k=candidates, max_slots=slots)
        detect = make_programs(self._task, settings).detect
        self._programs, self._most = self._programs._replace(detect=detect), count

    def _start(self, batch, threshold, iou):
        inputs = blank(self.config.data.resize, (self.batch_size, *self.image_size, 3))
        affines = []
        for i, (_, image) in enumerate(batch):
            inputs[i], affine = self._fit(image, self.image_size)
            affines.append(affine)
        raw = self._programs.network(self._variables, inputs)
        return batch, affines, self._programs.detect(raw, threshold, iou)

    def _results(self, batch, affines, output, max_detections):
        found, best_scores, best_labels = jax.device_get(output)
        for i, (file, image) in enumerate(batch):
            size = image.shape[:2]
            boxes = boxes_to_original(found.boxes[i], affines[i], self.image_size, size)
            # A box that lies in the grey margin alone has no area left in the picture.
            inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
            kept = np.flatnonzero(found.valid[i] & inside)[:max_detections]  # the best come first
            yield Result(
                file=file,
                image=image,
                boxes_pixels=boxes[kept],
                scores=found.scores[i][kept],
                labels=found.labels[i][kept],
                classes=self.classes,
                best_score=float(best_scores[i]),
                best_label=int(best_labels[i]),
                tree=self.config.model.tree,
                wnids=self.config.model.classes,
            )
