"""A YOLOv2 of four layers, which compiles in a second."""

from pathlib import Path

import numpy as np

from yolojax.config import Config, read_config
from yolojax.darknet.cfg import parse_cfg
from yolojax.darknet.config import config_from_cfg
from yolojax.export.safetensors import flat, nested
from yolojax.loading import Loaded
from yolojax.models.network import variable_shapes
from yolojax.tasks import build

QUICKSTART = Path(__file__).parents[1] / "configs" / "quickstart.py"
SEEN = 16
CONV = "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=4\npad=1\nactivation=leaky\n"
JOINED = CONV.replace("stride=4", "stride=1\ngroups=4") + "[shortcut]\nfrom=-2\nactivation=leaky\n"
CFG = f"""[net]
height=64
width=64
channels=3
{CONV}[maxpool]
size=2
stride=2
{CONV}[convolutional]
filters=27
size=1
stride=1
pad=1
activation=linear
[region]
anchors=1.1,1.1, 1.5,1.5, 2,2
classes=4
num=3
softmax=1
"""


def of_quickstart() -> Loaded:
    """The detector with the config of the quickstart smoke run."""
    config = read_config(f"{QUICKSTART}:smoke")
    config.data.image_size = (64, 64)
    config.model.name, config.model.cfg, config.model.width = "small", CFG, 1.0
    return _with_random_variables(config)


def of_cfg(text: str = CFG) -> Loaded:
    """The detector with the config of its .cfg."""
    return _with_random_variables(
        config_from_cfg(parse_cfg(text, "small.cfg"), name="small", text=text)
    )


def with_shortcut() -> Loaded:
    """The detector of `of_cfg` with a convolution in groups and a shortcut past it."""
    return of_cfg(CFG.replace("[maxpool]", f"{JOINED}[maxpool]"))


def _with_random_variables(config: Config) -> Loaded:
    task, generator = build(config), np.random.default_rng(0)
    shapes = flat(variable_shapes(task.model, config.data.image_size))
    leaves = {k: 0.1 + 0.1 * np.abs(generator.normal(size=s.shape)) for k, s in shapes.items()}
    return Loaded(task, config, nested({k: v.astype("f4") for k, v in leaves.items()}), SEEN)
