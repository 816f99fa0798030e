"""Trained models at work: pictures -> what is in them.

detector = yolojax.load("runs/shapes")
result = detector.predict("dog.jpg")
result.names, result.scores, result.boxes_pixels, result.draw()

classifier = yolojax.load("tiny.weights")
result = classifier.predict("dog.jpg")
result.names, result.probs  # of the five likeliest classes
"""

from pathlib import Path

from yolojax.config import Config, read_config
from yolojax.loading import load_model, resized
from yolojax.predict.classifier import Classification, Classifier
from yolojax.predict.detector import Detector, Result
from yolojax.predict.pictures import Picture, height_and_width

__all__ = ["Classification", "Classifier", "Detector", "Picture", "Result", "load"]


def load(
    path: str | Path,
    *,
    config: Config | str | Path | None = None,
    cfg: str | Path | None = None,
    names: str | Path | None = None,
    image_size: int | tuple[int, int] | None = None,
    batch_size: int = 1,
) -> Detector | Classifier:
    """The detector or classifier of a training run, of Darknet .weights or of our .safetensors.

    Args:
        path: a --workdir (its best checkpoint is used, its averaged parameters where it has any),
            a .weights file or a .safetensors file.
        config: a Config or a configs/NAME.py; one way to say which network .weights belong to.
        cfg: another: their Darknet .cfg. Published files are known by their size and need neither.
        names: a file with the class names of .weights, a line each.
        image_size: (height, width) of the network's input, or the side of a square; by default the
            config's.
        batch_size: pictures that go through the network together.

    Raises:
        FileNotFoundError: a file does not exist, or `path` holds no config or no checkpoint.
        ValueError: `path` is something else, or what describes it is missing or does not fit; the
            network does not take `image_size`; `batch_size` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more; got {batch_size}.")
    size = None if image_size is None else height_and_width(image_size)
    if not isinstance(config, Config | None):
        config = read_config(config)
    model = load_model(path, config, cfg=cfg, names=names)
    if size:
        model = resized(model, size)
    kind = Classifier if model.task.head == "classes" else Detector
    return kind(model.task, model.config, model.variables, batch_size=batch_size)
