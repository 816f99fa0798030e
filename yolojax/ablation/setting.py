"""What all rows of an ablation have in common: the data, and what the command line sets."""

import os
from collections.abc import Sequence
from dataclasses import replace

from yolojax.config import Config
from yolojax.data.sources.load import FORMS, JOIN, SPLIT, load_source

SPLITS = ("train", "test")  # trained on and evaluated on, of a SOURCE that has splits


def two_sources(
    data: str, test: str | None = None, splits: Sequence[str] = SPLITS
) -> tuple[str, str]:
    """The SOURCE that is trained on and the one that is evaluated.

    Args:
        data: with `test` the first of the two; without, a SOURCE whose `splits` are the two.
        test: the second, as it stands.
        splits: names of the two.

    Raises:
        ValueError: `data` stands alone and has no splits, or names one; or not two splits.
    """
    if test is not None:
        return data, test
    if len(splits) != 2:
        raise ValueError(f"--splits must be TRAIN,TEST; got {','.join(splits)!r}.")
    scheme, _, rest = data.partition(":")
    way_out = "name both parts, --data=TRAIN_SOURCE --test=TEST_SOURCE"
    if len(JOIN.split(data)) > 1 or "SPLIT" not in FORMS.get(scheme, "SPLIT"):
        raise ValueError(f"--data={data}: has no splits to take; {way_out}.")
    given = rest if scheme == "shapes" else rest.partition(":")[2]
    if given and SPLIT.fullmatch(given):
        raise ValueError(f"--data={data}: leave :{given} out (see --splits), or {way_out}.")
    train, test = (f"{data.rstrip(':')}:{split}" for split in splits)
    return train, test


def with_data(config: Config, train: str, test: str, dir: str = "") -> Config:
    """`config` that is trained on the SOURCE `train` and evaluated, at its end, on `test`.

    Its classes are those of `train`, in the order of config.model.classes where these are the same
    ones; the nodes of a tree stay. config.data.dir is `dir` or what it was, as an absolute path.

    Raises:
        FileNotFoundError, ValueError, BadRecord: as `load_source`.
    """
    place = os.path.expanduser(dir or config.data.dir)
    # TFDS looks in a folder of its own where it is given none.
    place = os.path.abspath(place) if place or "tfds:" not in f"{train} {test}" else ""
    how = {"dir": place, "on_bad_record": config.data.on_bad_record}
    model, classes = config.model, load_source(train, **how).classes
    if not (model.tree or model.tree_file):
        if set(classes) != set(model.classes):
            model = replace(model, classes=classes)
        load_source(test, **how, classes=model.classes)
    data = replace(config.data, train=train, val=test, dir=place)
    return replace(config, model=model, data=data, eval=replace(config.eval, every_images=0))
