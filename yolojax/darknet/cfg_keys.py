"""Which keys a section of a .cfg may have, and which of them must be left at their defaults.

After Darknet's parser.c. What only a training in Darknet looks at is taken and left; what would
change the numbers and is not built here must have the value that turns it off.
"""

from collections.abc import Iterable

from yolojax.darknet.cfg_sections import Section, failure, number, refusal, short
from yolojax.suggestions import did_you_mean

ALIASES = {
    "avg": "avgpool",
    "conn": "connected",
    "conv": "convolutional",
    "max": "maxpool",
    "network": "net",
    "soft": "softmax",
}
UNSUPPORTED = (
    "activation", "batchnorm", "crnn", "deconv", "deconvolutional", "gru", "iseg", "l2norm",
    "logistic", "lrn", "lstm", "normalization", "rnn", "shortcut", "upsample", "yolo",
)  # fmt: skip

# Keys that are taken and left: they belong to Darknet's training alone.
EVERY_LAYER = ("learning_rate", "onlyforward", "smooth", "stopbackward", "truth")
IGNORED = {
    "net": (
        "B1", "B2", "center", "clip", "eps", "gamma", "inputs", "log", "max_ratio", "min_ratio",
        "notruth", "random", "scale", "seen", "step",
    ),
    "crop": ("angle", "exposure", "flip", "saturation", "shift"),
    "softmax": ("noloss",),
    "cost": ("noobj", "ratio", "scale", "thresh", "type"),
    "region": ("absolute", "mask_scale", "max"),
    "detection": ("max",),
}  # fmt: skip
# Keys that would change what a layer computes or what a .weights file holds -> the value without
# such a change: Darknet's default, but for those in REQUIRED.
FIXED_EVERY_LAYER = {"dontload": 0, "dontloadscales": 0, "dontsave": 0, "numload": 0}
FIXED = {
    "net": {"adam": 0, "channels": 3, "time_steps": 1},
    "convolutional": {"binary": 0, "dot": 0, "flipped": 0, "groups": 1, "xnor": 0},
    "connected": {"flipped": 0},
    "crop": {"noadjust": 0},
    "reorg": {"extra": 0, "flatten": 0, "reverse": 0},
    "softmax": {"groups": 1, "spatial": 0, "temperature": 1},
    "region": {"background": 0, "classfix": 0, "coords": 4, "log": 0, "sqrt": 0},
    "detection": {"coords": 4, "forced": 0, "reorg": 0},
}
REQUIRED = {"net": ("channels",), "detection": ("coords",)}


def check_keys(section: Section, read: Iterable[str]) -> None:
    """Raises ValueError for a key `section` cannot have, or one that asks for what is not built.

    `read` are the keys that its reader takes.
    """
    every = section.kind != "net"
    fixed = FIXED.get(section.kind, {}) | (FIXED_EVERY_LAYER if every else {})
    ignored = IGNORED.get(section.kind, ()) + (EVERY_LAYER if every else ())
    known = {*read, *fixed, *ignored}
    for key, value in section.values.items():
        if key not in known:
            hint = did_you_mean(key[:60], known)
            rule = f"[{section.kind}] has no key {short(key)!r}; known: {', '.join(sorted(known))}"
            raise ValueError(f"{failure(section.file, value.line, rule)}{hint}")
    for key, value in fixed.items():
        _check_fixed(section, key, value)


def _check_fixed(section: Section, key: str, value: int) -> None:
    missing = key not in section.values
    if missing and key not in REQUIRED.get(section.kind, ()):
        return
    if missing or number(section, key, None, -1e9, 1e9) != value:
        raise refusal(section, key, f"only {key}={value} is built here")
