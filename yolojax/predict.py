"""A trained detector and pictures -> detections in pixels of the pictures.

detector = yolojax.load("runs/shapes")
result = detector.predict("dog.jpg")
result.names, result.scores, result.boxes_pixels, result.draw()
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from yolojax.config import Config, read_config
from yolojax.convert.darknet_weights import load_weights
from yolojax.data.geometry import boxes_to_original, letterbox, squash
from yolojax.data.records import BadRecord, decode_image, read_bytes
from yolojax.evaluation.detect import make_programs
from yolojax.tasks import Task, build
from yolojax.training.checkpoint import restore_inference
from yolojax.visual.draw import draw_boxes

Picture = str | Path | np.ndarray  # a file, or uint8 RGB [h, w, 3]


@dataclass(frozen=True)
class Result:
    """What was found in one picture, the best first; boxes are xyxy in its pixels."""

    file: str  # as it was given; "" for an array
    image: np.ndarray  # uint8 RGB [h, w, 3], upright
    boxes_pixels: np.ndarray  # float32 [n, 4]
    scores: np.ndarray  # float32 [n], objectness times class probability
    labels: np.ndarray  # int32 [n]
    classes: tuple[str, ...]
    best_score: float  # of any box and class of the picture, below the threshold too
    best_label: int

    @property
    def names(self) -> list[str]:
        """The class of each detection."""
        return [self.classes[label] for label in self.labels]

    def draw(self) -> np.ndarray:
        """A copy of the picture with the detections drawn, uint8 RGB [h, w, 3]."""
        return draw_boxes(self.image, self.boxes_pixels, self.labels, self.scores, self.classes)

    def to_dict(self) -> dict:
        """Plain values for JSON: file, width, height and detections."""
        rows = zip(self.names, self.labels, self.scores, self.boxes_pixels, strict=True)
        return {
            "file": self.file,
            "width": self.image.shape[1],
            "height": self.image.shape[0],
            "detections": [
                {
                    "class": name,
                    "class_id": int(label),
                    "score": round(float(score), 4),
                    "box": [round(float(x), 2) for x in box],
                }
                for name, label, score, box in rows
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
        image_size: tuple[int, int] | None = None,
        batch_size: int = 1,
    ):
        """`image_size` is that of the network's input, by default the config's."""
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more; got {batch_size}.")
        self.config, self.batch_size = config, batch_size
        self.image_size = tuple(image_size or config.data.image_size)
        self._fit = letterbox if config.data.letterbox else squash
        self._variables = jax.device_put(variables, jax.local_devices()[0])
        self._programs = make_programs(task, config.eval)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of the labels."""
        return self.config.model.classes

    def predict(self, pictures: Picture | Iterable[Picture], **options) -> Result | list[Result]:
        """The detections of one picture, or a list of those of several.

        `options` are those of `stream`.
        """
        single = isinstance(pictures, str | Path | np.ndarray)
        results = list(self.stream([pictures] if single else pictures, **options))
        return results[0] if single else results

    def stream(
        self,
        pictures: Iterable[Picture],
        *,
        threshold: float = 0.25,
        iou: float = 0.45,
        max_detections: int = 100,
        on_bad: Callable[[BadRecord], None] | None = None,
    ) -> Iterator[Result]:
        """The detections of one picture after the other, in their order.

        Args:
            pictures: files (turned upright by EXIF) or uint8 RGB arrays [h, w, 3] of any size.
            threshold: detections score more than this.
            iou: of two boxes of a class that overlap more, the better one is kept.
            max_detections: the best of a picture; at most the config's eval.max_detections.
            on_bad: is told of a picture that cannot be read, which is then left out.

        Raises:
            BadRecord: a picture cannot be read, unless there is `on_bad`.
            ValueError: an option is out of range or an array is not a picture.
        """
        for name, value in (("threshold", threshold), ("iou", iou)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be from 0 to 1; got {value}.")
        loaded = _load_all(pictures, on_bad)
        running = None  # the next batch is read while the device works on this one
        while batch := list(itertools.islice(loaded, self.batch_size)):
            started = self._start(batch, threshold, iou)
            if running:
                yield from self._results(*running, max_detections)
            running = started
        if running:
            yield from self._results(*running, max_detections)

    def _start(self, batch, threshold, iou):
        inputs = np.zeros((self.batch_size, *self.image_size, 3), np.uint8)
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
            )


def load(
    path: str | Path,
    *,
    config: Config | str | Path | None = None,
    image_size: tuple[int, int] | None = None,
    batch_size: int = 1,
) -> Detector:
    """The detector of a training run, or of a Darknet .weights file.

    Args:
        path: a --workdir (its best checkpoint is used, its averaged parameters where it has any)
            or a .weights file.
        config: a Config or a configs/NAME.py; needed with .weights.
        image_size: (height, width) of the network's input; by default the config's.
        batch_size: pictures that go through the network together.

    Raises:
        FileNotFoundError: `path` does not exist, or holds no config or no checkpoint.
        ValueError: `path` is something else, or does not fit the config.
    """
    if not isinstance(config, Config | None):
        config = read_config(config)
    task, config, variables = load_task(path, config)
    return Detector(task, config, variables, image_size=image_size, batch_size=batch_size)


def load_task(path: str | Path, config: Config | None = None) -> tuple[Task, Config, dict]:
    """The task, config and variables in a --workdir or a .weights file; raises as `load`.

    `config` is needed with .weights; with a --workdir it replaces the one saved there.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: not found; give a --workdir or a .weights file.")
    return (restore_inference if path.is_dir() else _from_weights)(path, config)


def _from_weights(path, config):
    if path.suffix != ".weights":
        raise ValueError(f"{path}: neither a --workdir nor a .weights file.")
    if config is None:
        raise ValueError(f"{path}: a .weights file does not name its network; give a config too.")
    task = build(config)
    return task, config, load_weights(path, task.model)[0]


def _load_all(pictures, on_bad):
    """(file, uint8 RGB image) of each of `pictures` that can be read."""
    for picture in pictures:
        try:
            if isinstance(picture, np.ndarray):
                yield "", _checked(picture)
            else:
                yield str(picture), decode_image(read_bytes(Path(picture)), picture)
        except BadRecord as error:
            if on_bad is None:
                raise
            on_bad(error)


def _checked(image):
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(
            f"a picture must be uint8 RGB [h, w, 3], got {image.dtype} {list(image.shape)}; "
            "turn BGR round with image[..., ::-1], and 0..1 with (255 * image).astype('uint8')."
        )
    return image
