"""Inference with a classifier: the most probable classes of each image."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import jax
import numpy as np

from yolojax.config import Config
from yolojax.data.classification import viewer
from yolojax.data.transforms import blank
from yolojax.evaluation.classification import make_programs
from yolojax.loading import on_device
from yolojax.predict.classes import describe, path_of
from yolojax.predict.pictures import OnBad, Picture, in_batches, one_or_many
from yolojax.tasks import Task
from yolojax.visual.draw import draw_boxes


@dataclass(frozen=True)
class Classification:
    """The five most probable classes of one image (or all, of fewer), best first."""

    file: str  # as given; "" for an array
    image: np.ndarray  # uint8 RGB [h, w, 3], upright
    labels: np.ndarray  # int32 [5]
    probs: np.ndarray  # float32 [5]
    classes: tuple[str, ...]  # display name of each class
    tree: tuple[int, ...] = ()  # parent of each class, -1 for a root; () without a tree
    wnids: tuple[str, ...] = ()  # WordNet id of each class of a tree

    @property
    def names(self) -> list[str]:
        """The class name of each of `labels`."""
        return [self.classes[label] for label in self.labels]

    @property
    def paths(self) -> list[list[str]]:
        """The class names from the root of the tree to each of `labels`."""
        return [path_of(label, self.classes, self.tree) for label in self.labels]

    def draw(self) -> np.ndarray:
        """Draw the most probable class on a copy of the image, uint8 RGB [h, w, 3]."""
        height, width = self.image.shape[:2]
        frame = [[0, 0, width, height]]
        return draw_boxes(self.image, frame, self.labels[:1], self.probs[:1], self.classes)

    def to_dict(self) -> dict:
        """Return plain values for JSON: file, width, height and classes."""
        rows = zip(self.labels, self.probs, strict=True)
        return {
            "file": self.file,
            "width": self.image.shape[1],
            "height": self.image.shape[0],
            "classes": [
                {
                    **describe(label, self.classes, self.tree, self.wnids),
                    "probability": round(float(prob), 4),
                }
                for label, prob in rows
            ],
        }


class Classifier:
    """A task with its variables; compiles one program for its image and batch size.

    The input is the letterboxed image, as in `darknet classifier predict`, or with
    config.data.classifier_view "centre_crop" its middle, as in evaluation.
    """

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
        self._fit = viewer(config.data.classifier_view or "letterbox", config.data.resize)
        self._variables = on_device(variables, jax.local_devices()[0])
        self._programs = make_programs(task, config.eval)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of the labels."""
        return self.config.model.shown

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the network's input."""
        return tuple(self.config.data.image_size)

    def predict(
        self, pictures: Picture | Iterable[Picture], **options
    ) -> Classification | list[Classification]:
        """Classify one image -> a result, or several -> a list; `options` as in `stream`."""
        return one_or_many(self.stream, pictures, options)

    def stream(
        self, pictures: Iterable[Picture], *, on_bad: OnBad = None
    ) -> Iterator[Classification]:
        """Classify images and yield their results in order.

        Args:
            pictures: files (rotated by their EXIF tag) or uint8 RGB arrays [h, w, 3] of any size.
            on_bad: called with the error of an image that cannot be read, which is then skipped.

        Raises:
            BadRecord: an image cannot be read and `on_bad` is None.
            ValueError: an array is not an image.
        """
        return in_batches(pictures, self.batch_size, on_bad, self._start, self._results)

    def _start(self, batch):
        inputs = blank(self.config.data.resize, (self.batch_size, *self.image_size, 3))
        for i, (_, image) in enumerate(batch):
            inputs[i] = self._fit(image, self.image_size)
        return batch, self._programs.top(self._variables, inputs)

    def _results(self, batch, output):
        probs, labels = jax.device_get(output)
        model = self.config.model
        for i, (file, image) in enumerate(batch):
            yield Classification(
                file, image, labels[i], probs[i], model.shown, model.tree, model.classes
            )
