"""A trained classifier and pictures -> the likeliest classes of each."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import jax
import numpy as np

from yolojax.config import Config
from yolojax.data.classification import cropper
from yolojax.data.transforms import blank
from yolojax.evaluation.classification import make_programs
from yolojax.loading import on_device
from yolojax.predict.classes import describe, path_of
from yolojax.predict.pictures import OnBad, Picture, in_batches, one_or_many
from yolojax.tasks import Task
from yolojax.visual.draw import draw_boxes


@dataclass(frozen=True)
class Classification:
    """The five likeliest classes of one picture (or all, of fewer), the best first."""

    file: str  # as it was given; "" for an array
    image: np.ndarray  # uint8 RGB [h, w, 3], upright
    labels: np.ndarray  # int32 [5]
    probs: np.ndarray  # float32 [5]
    classes: tuple[str, ...]  # the names that are shown
    tree: tuple[int, ...] = ()  # the parent of each class, -1 for a root; () without a tree
    wnids: tuple[str, ...] = ()  # of each class of a tree

    @property
    def names(self) -> list[str]:
        """The name of each of `labels`."""
        return [self.classes[label] for label in self.labels]

    @property
    def paths(self) -> list[list[str]]:
        """Of each of `labels` the names from a root of the tree down to it."""
        return [path_of(label, self.classes, self.tree) for label in self.labels]

    def draw(self) -> np.ndarray:
        """A copy of the picture in a frame with its likeliest class, uint8 RGB [h, w, 3]."""
        height, width = self.image.shape[:2]
        frame = [[0, 0, width, height]]
        return draw_boxes(self.image, frame, self.labels[:1], self.probs[:1], self.classes)

    def to_dict(self) -> dict:
        """Plain values for JSON: file, width, height and classes (of a tree with wnid, path)."""
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

    Of a picture it sees the middle, the shorter side made to fit, as in evaluation.
    """

    def __init__(self, task: Task, config: Config, variables: dict, *, batch_size: int = 1):
        self.config, self.batch_size = config, batch_size
        self._crop = cropper(config.data.resize)
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
        """The likeliest classes of one picture, or a list of those of several.

        `options` are those of `stream`.
        """
        return one_or_many(self.stream, pictures, options)

    def stream(
        self, pictures: Iterable[Picture], *, on_bad: OnBad = None
    ) -> Iterator[Classification]:
        """The likeliest classes of one picture after the other, in their order.

        Args:
            pictures: files (turned upright by EXIF) or uint8 RGB arrays [h, w, 3] of any size.
            on_bad: is told of a picture that cannot be read, which is then left out.

        Raises:
            BadRecord: a picture cannot be read, unless there is `on_bad`.
            ValueError: an array is not a picture.
        """
        return in_batches(pictures, self.batch_size, on_bad, self._start, self._results)

    def _start(self, batch):
        inputs = blank(self.config.data.resize, (self.batch_size, *self.image_size, 3))
        for i, (_, image) in enumerate(batch):
            inputs[i] = self._crop(image, self.image_size)
        return batch, self._programs.top(self._variables, inputs)

    def _results(self, batch, output):
        probs, labels = jax.device_get(output)
        model = self.config.model
        for i, (file, image) in enumerate(batch):
            yield Classification(
                file, image, labels[i], probs[i], model.shown, model.tree, model.classes
            )
