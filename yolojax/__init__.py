"""yolojax: the YOLO family of real-time detectors in JAX and Flax.

import yolojax
result = yolojax.load("runs/quickstart").predict("a.jpg")
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yolojax.predict import Classification, Classifier, Detector, Result, load

__all__ = ["Classification", "Classifier", "Detector", "Result", "load"]


def __getattr__(name: str):
    """`yolojax.load` and its types, imported on first use: JAX takes a second to import."""
    if name in __all__:
        from yolojax import predict

        return getattr(predict, name)
    raise AttributeError(f"module 'yolojax' has no attribute {name!r}")
