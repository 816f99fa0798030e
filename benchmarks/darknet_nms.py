"""Run do_nms_sort of the original program from the library of Debian's package `darknet`."""

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np

LIBRARY = Path("/usr/lib/darknet/libdarknet.so")
FLOATS = ctypes.POINTER(ctypes.c_float)


class Detection(ctypes.Structure):
    """`detection` of darknet.h; its box is x, y (the middle), w, h."""

    _fields_ = (
        ("bbox", ctypes.c_float * 4),
        ("classes", ctypes.c_int),
        ("prob", FLOATS),
        ("mask", FLOATS),
        ("objectness", ctypes.c_float),
        ("sort_class", ctypes.c_int),
    )


def darknet_nms(boxes, scores, score_threshold: float, iou: float) -> tuple[Callable, Callable]:
    """(prepare, run) for boxes float32 [B, N, 4] xyxy and scores [B, N, C].

    `prepare` fills Darknet's structures, in which low scores are 0, as get_network_boxes does;
    `run` has do_nms_sort set to 0 what it removes, image by image. It knows no top-k.
    """
    library = ctypes.CDLL(str(LIBRARY))
    library.do_nms_sort.argtypes = (
        ctypes.POINTER(Detection), ctypes.c_int, ctypes.c_int, ctypes.c_float
    )  # fmt: skip
    library.do_nms_sort.restype = None
    count, classes = scores.shape[1:]
    sides = boxes[..., 2:] - boxes[..., :2]
    centred = np.concatenate([boxes[..., :2] + sides / 2, sides], -1)
    given = np.where(scores > score_threshold, scores, 0).astype(np.float32)
    left = np.empty_like(given)
    images = [(Detection * count)() for _ in boxes]

    def prepare():
        left[:] = given
        for image, rows, probs in zip(images, centred, left, strict=True):
            for item, box, prob in zip(image, rows, probs, strict=True):
                item.bbox[:], item.classes = box, classes
                item.prob, item.objectness = prob.ctypes.data_as(FLOATS), 1.0

    def run():
        for image in images:
            library.do_nms_sort(image, count, classes, iou)
        return left

    return prepare, run
