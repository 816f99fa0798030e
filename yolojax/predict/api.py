"""Load a trained detector or classifier."""

from dataclasses import replace
from pathlib import Path

from yolojax.config import Config, checked, read_config
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
    """Load the detector or classifier of a run, of Darknet .weights or of a .safetensors file.

    Args:
        path: the workdir of a run (its best checkpoint, with averaged parameters if it has them), a
            .weights file or a .safetensors file.
        config: a Config or a configs/NAME.py that describes the network of .weights.
        cfg: the Darknet .cfg of .weights. Published files are recognised by their size and need
            neither `config` nor `cfg`.
        names: a file with the class names of .weights, one per line.
        image_size: (height, width) of the network's input, or one number for both. Default: that of
            the config.
        batch_size: images per batch.
        tree_threshold: 0..1, the least probability of the path to a node of a class tree. A
            detection gets the deepest node that reaches it. Default: that of config.eval.
        tree_semantics: "paper" or "darknet", see wordtree.descent. Default: that of config.eval.

    Raises:
        FileNotFoundError: a file does not exist, or `path` has no config or no checkpoint.
        ValueError: `path` is something else; its description is missing or does not fit; the
            network does not accept `image_size`; `batch_size` is below 1; tree options are given
            for a model without a tree.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more; got {batch_size}.")
    size = None if image_size is None else height_and_width(image_size)
    if not isinstance(config, Config | None):
        config = checked(read_config(config), training=False)
    model = load_model(path, config, cfg=cfg, names=names)
    if size:
        model = resized(model, size)
    model = _with_descent(model, tree_threshold=tree_threshold, tree_semantics=tree_semantics)
    kind = Classifier if model.task.is_classifier else Detector
    options = {"batch_size": batch_size, "source": model.source}
    return kind(model.task, model.config, model.variables, **options)


def _with_descent(model: Loaded, **options) -> Loaded:
    """Set those fields of config.eval in `options` that are not None."""
    given = {name: value for name, value in options.items() if value is not None}
    if not given:
        return model
    if model.task.is_classifier or not model.config.model.tree:
        raise ValueError(
            f"{' and '.join(given)} need a detector with a class tree, which "
            f"{model.config.model.name} is not; leave them out."
        )
    config = replace(model.config, eval=replace(model.config.eval, **given))
    return model._replace(config=config)
