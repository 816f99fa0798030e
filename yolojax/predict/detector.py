"""Inference with a detector: the detections of each image in its own pixels."""

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
    """The detections of one image, best first; boxes are xyxy in its pixels."""

    file: str  # as given; "" for an array
    image: np.ndarray  # uint8 RGB [h, w, 3], upright
    boxes_pixels: np.ndarray  # float32 [n, 4]
    scores: np.ndarray  # float32 [n], objectness times class probability
    labels: np.ndarray  # int32 [n]
    classes: tuple[str, ...]  # display name of each class
    best_score: float  # of all boxes and classes of the image, also below the threshold
    best_label: int
    tree: tuple[int, ...] = ()  # parent of each class, -1 for a root; () without a tree
    wnids: tuple[str, ...] = ()  # WordNet id of each class of a tree

    @property
    def names(self) -> list[str]:
        """The class name of each detection."""
        return [self.classes[label] for label in self.labels]

    @property
    def paths(self) -> list[list[str]]:
        """The class names from the root of the tree to the class of each detection."""
        return [path_of(label, self.classes, self.tree) for label in self.labels]

    def draw(self) -> np.ndarray:
        """Draw the detections on a copy of the image, uint8 RGB [h, w, 3]."""
        return draw_boxes(self.image, self.boxes_pixels, self.labels, self.scores, self.classes)

    def to_dict(self) -> dict:
        """Return plain values for JSON: file, width, height and detections."""
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

    def __init__(
        self,
        task: Task,
        config: Config,
        variables: dict,
        *,
        batch_size: int = 1,
        source: dict | None = None,
    ):
        self.config, self.batch_size = config, batch_size
        self.source = source or {}  # what was loaded, see loading.Loaded
        self._fit = fitter(config.data.letterbox, config.data.resize)
        device = jax.local_devices()[0]
        task, variables = for_inference(task, variables, device.platform)
        self._variables = on_device(variables, device)
        self._task, self._max_detections = task, config.eval.max_detections
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
        """Detect in one image -> a result, or in several -> a list; `options` as in `stream`."""
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
        """Detect in images and yield their results in order.

        Args:
            pictures: files (rotated by their EXIF tag) or uint8 RGB arrays [h, w, 3] of any size.
            threshold: detections have a higher score.
            iou: NMS drops the worse of two boxes of a class with a larger IoU.
            max_detections: per image. Values above config.eval.max_detections, and above those of
                previous calls, recompile the decoder and NMS.
            on_bad: called with the error of an image that cannot be read, which is then skipped.

        Raises:
            BadRecord: an image cannot be read and `on_bad` is None.
            ValueError: an option is out of range or an array is not an image.
        """
        for name, value in (("threshold", threshold), ("iou", iou)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be from 0 to 1; got {value}.")
        if max_detections < 1:
            raise ValueError(f"max_detections must be 1 or more; got {max_detections}.")
        self._allow(max_detections)

        def start(batch):
            return *self._start(batch, threshold, iou), max_detections

        return in_batches(pictures, self.batch_size, on_bad, start, self._results)

    def _allow(self, count):
        """Rebuild the program for up to `count` detections unless it has as many."""
        if count <= self._max_detections:
            return
        settings = replace(self.config.eval, max_detections=count)
        detect = make_programs(self._task, settings).detect
        self._programs, self._max_detections = self._programs._replace(detect=detect), count

    def _start(self, batch, threshold, iou):
        inputs = blank(self.config.data.resize, (self.batch_size, *self.image_size, 3))
        affines = []
        for i, (_, image) in enumerate(batch):
            inputs[i], affine = self._fit(image, self.image_size)
            affines.append(affine)
        raw = self._programs.network(self._variables, inputs)
        return batch, affines, self._programs.detect(raw, threshold, iou)

    def _results(self, batch, affines, output, max_detections):
        detected, best_scores, best_labels = jax.device_get(output)
        for i, (file, image) in enumerate(batch):
            size = image.shape[:2]
            boxes = boxes_to_original(detected.boxes[i], affines[i], self.image_size, size)
            # A box in the grey margin has no area in the image.
            inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
            best = np.flatnonzero(detected.valid[i] & inside)[:max_detections]
            yield Result(
                file=file,
                image=image,
                boxes_pixels=boxes[best],
                scores=detected.scores[i][best],
                labels=detected.labels[i][best],
                classes=self.classes,
                best_score=float(best_scores[i]),
                best_label=int(best_labels[i]),
                tree=self.config.model.tree,
                wnids=self.config.model.classes,
            )
