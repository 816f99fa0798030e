"""Load a trained detector or classifier."""

from dataclasses import replace
from pathlib import Path

from yolojax.config import Config, read_config
from yolojax.loading import Loaded, load_model, resized
from yolojax.predict.classifier import Classifier
from yolojax.predict.detector import Detector
from yolojax.predict.pictures import height_and_width


def load(
    path: str | Path,
    *,
    config: Config | str | Path | None = None,
    cfg: str | Path | None = None,
    names: str | Path | None = None,
    image_size: int | tuple[int, int] | None = None,
    batch_size: int = 1,
    tree_threshold: float | None = None,
    tree_semantics: str | None = None,
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
        tree_threshold: 0..1, how likely the way to a class of a tree must be for a detection to be
            named by it and not by one above; by default that of config.eval.
        tree_semantics: "paper" or "darknet", see wordtree.descent; likewise.

    Raises:
        FileNotFoundError: a file does not exist, or `path` holds no config or no checkpoint.
        ValueError: `path` is something else, or what describes it is missing or does not fit; the
            network does not take `image_size`; `batch_size` is below 1; there are options of
            a tree, but no tree.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more; got {batch_size}.")
    size = None if image_size is None else height_and_width(image_size)
    if not isinstance(config, Config | None):
        config = read_config(config)
    model = load_model(path, config, cfg=cfg, names=names)
    if size:
        model = resized(model, size)
    model = _with_descent(model, tree_threshold=tree_threshold, tree_semantics=tree_semantics)
    kind = Classifier if model.task.is_classifier else Detector
    return kind(model.task, model.config, model.variables, batch_size=batch_size)


def _with_descent(model: Loaded, **options) -> Loaded:
    """`model` with the fields of config.eval in `options` that are not None."""
    given = {name: value for name, value in options.items() if value is not None}
    if not given:
        return model
    if model.task.is_classifier or not model.config.model.tree:
        raise ValueError(
            f"only a detector whose classes form a tree goes down one, and "
            f"{model.config.model.name} is none; leave {' and '.join(given)} out."
        )
    config = replace(model.config, eval=replace(model.config.eval, **given))
    return model._replace(config=config)
