"""The data of an ablation, which all rows share."""

import os
from collections.abc import Sequence
from dataclasses import replace

from yolojax.config import Config
from yolojax.data.sources.load import FORMS, JOIN, SPLIT, load_source

SPLITS = ("train", "test")  # default splits of a SOURCE: for training and for evaluation


def two_sources(
    data: str, test: str | None = None, splits: Sequence[str] = SPLITS
) -> tuple[str, str]:
    """Return the SOURCE for training and the SOURCE for evaluation.

    Args:
        data: the training SOURCE if `test` is given, else a SOURCE that has both `splits`.
        test: the evaluation SOURCE.
        splits: names of the training and the evaluation split.

    Raises:
        ValueError: `data` has no splits or already names one, or `splits` are not two.
    """
    if test is not None:
        return data, test
    if len(splits) != 2:
        raise ValueError(f"--splits must be TRAIN,TEST; got {','.join(splits)!r}.")
    scheme, _, rest = data.partition(":")
    way_out = "name both parts, --data=TRAIN_SOURCE --test=TEST_SOURCE"
    if len(JOIN.split(data)) > 1 or "SPLIT" not in FORMS.get(scheme, "SPLIT"):
        raise ValueError(f"--data={data}: has no splits; {way_out}.")
    given = rest if scheme == "shapes" else rest.partition(":")[2]
    if given and SPLIT.fullmatch(given):
        raise ValueError(f"--data={data}: remove :{given} (see --splits), or {way_out}.")
    train, test = (f"{data.rstrip(':')}:{split}" for split in splits)
    return train, test


def with_data(config: Config, train: str, test: str, dir: str = "") -> Config:
    """Return `config` with training on the SOURCE `train` and evaluation on `test` at the end.

    The classes become those of `train`; config.model.classes stays if it has the same names. The
    nodes of a tree stay. config.data.dir becomes an absolute path.

    Raises:
        FileNotFoundError, ValueError, BadRecord: as `load_source`.
    """
    place = os.path.expanduser(dir or config.data.dir)
    # Without a folder TFDS uses its default folder.
    place = os.path.abspath(place) if place or "tfds:" not in f"{train} {test}" else ""
    how = {"dir": place, "on_bad_record": config.data.on_bad_record}
    how |= {"keep_classes": config.data.keep_classes, "rename": config.data.rename}
    model, classes = config.model, load_source(train, **how).classes
    if not (model.tree or model.tree_file):
        if set(classes) != set(model.classes):
            model = replace(model, classes=classes)
        load_source(test, **how, classes=model.classes, strict=False)
    data = replace(config.data, train=train, val=test, dir=place)
    return replace(config, model=model, data=data, eval=replace(config.eval, every_images=0))
