"""The original C program (the Debian package `darknet`), called in this process."""

import ctypes
import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

LIBRARY = Path("/usr/lib/darknet/libdarknet.so")
CFGS = Path("/usr/share/darknet/cfg")
FLOATS = ctypes.POINTER(ctypes.c_float)


class Image(ctypes.Structure):
    """darknet.h, struct image: planar."""

    _fields_ = (("w", ctypes.c_int), ("h", ctypes.c_int), ("c", ctypes.c_int), ("data", FLOATS))


class Detection(ctypes.Structure):
    """darknet.h, struct detection: one slot, with the probabilities of all classes."""

    _fields_ = (
        ("box", ctypes.c_float * 4),  # centre, width and height
        ("classes", ctypes.c_int),  # only [yolo] layers fill it in
        ("prob", FLOATS),
        ("mask", FLOATS),
        ("objectness", ctypes.c_float),
        ("sort_class", ctypes.c_int),
    )


SIGNATURES = {  # result, arguments: N a network, D detections, i, f, s for int, float and string
    "load_network": "N ssi",
    "free_network": "- N",
    "network_predict": "F NF",
    "get_network_image_layer": "I Ni",
    "get_network_boxes": "D NiiffNiP",
    "do_nms_sort": "- Diif",
    "free_detections": "- Di",
    "save_weights": "- Ns",
}
TYPES = {
    "-": None,
    "N": ctypes.c_void_p,
    "D": ctypes.POINTER(Detection),
    "F": FLOATS,
    "I": Image,
    "P": ctypes.POINTER(ctypes.c_int),
    "i": ctypes.c_int,
    "f": ctypes.c_float,
    "s": ctypes.c_char_p,
}


@functools.cache
def library() -> ctypes.CDLL:
    """The program; its functions know their types."""
    # Debian builds it with -Ofast: the thread that loads it rounds denormals to 0 from then on.
    with ThreadPoolExecutor(1) as elsewhere:
        loaded = elsewhere.submit(ctypes.CDLL, str(LIBRARY)).result()
    for name, signature in SIGNATURES.items():
        result, arguments = signature.split()
        function = getattr(loaded, name)
        function.restype, function.argtypes = TYPES[result], [TYPES[a] for a in arguments]
    return loaded


@contextmanager
def darknet(cfg: Path, weights: Path) -> Iterator[int]:
    """A network of the program, for the functions below."""
    network = library().load_network(str(cfg).encode(), str(weights).encode(), 0)
    try:
        yield network
    finally:
        library().free_network(network)


def predict(network: int, image: np.ndarray, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """What [h, w, 3] in 0..1 gives: the output [H, W, C] of `layer`, and as much of the last's."""
    planar = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)
    last = library().network_predict(network, planar.ctypes.data_as(FLOATS))
    output = library().get_network_image_layer(network, layer)
    shape = (output.c, output.h, output.w)
    arrays = (np.ctypeslib.as_array(pointer, shape) for pointer in (output.data, last))
    return tuple(array.transpose(1, 2, 0).copy() for array in arrays)


def detections(network: int, classes: int, threshold: float, iou: float) -> np.ndarray:
    """Rows [n, 6] of class, score, centre x, y, width and height in 0..1 that do_nms_sort leaves.

    The picture of the last `predict` is taken to be square, as the network is: no letterbox.
    """
    count = ctypes.c_int()
    c, settings = library(), (1, 1, threshold, 0.5, None, 1, ctypes.byref(count))
    slots = c.get_network_boxes(network, *settings)
    c.do_nms_sort(slots, count, classes, iou)
    rows = []
    for slot in slots[: count.value]:
        probs = np.ctypeslib.as_array(slot.prob, (classes,))
        kept = np.flatnonzero(probs) if slot.objectness else ()  # do_nms_sort passes over others
        rows += [(k, probs[k], *slot.box) for k in kept]
    c.free_detections(slots, count)
    return np.array(sorted(rows, key=lambda row: (row[0], -row[1]))).reshape(-1, 6)


def save_weights(network: int, path: Path) -> None:
    """Writes the network's weights, as the program does."""
    library().save_weights(network, str(path).encode())
