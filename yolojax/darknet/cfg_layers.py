"""The layers of a .cfg, section by section, with the defaults of Darknet's parser.c."""

from yolojax.darknet.cfg_keys import check_keys
from yolojax.darknet.cfg_sections import Section, flag, integer, number, numbers, refusal, word
from yolojax.models.functional import ACTIVATIONS
from yolojax.models.layers import (
    AvgPool,
    Connected,
    Conv,
    Crop,
    Dropout,
    Local,
    MaxPool,
    Reorg,
    Route,
)

MAX_FILTERS = 65536
MAX_SIZE = 64  # of a window, its stride and its padding
MAX_OUTPUTS = 2**24  # of a connected layer
MAX_CROP = 8192  # in pixels, the largest side of images
MAX_ROUTED = 64  # layers that one route joins


def _read_conv(section: Section, index: int) -> Conv:
    keys = ("filters", "size", "stride", "pad", "padding", "batch_normalize", "activation")
    check_keys(section, keys)
    size = _window(section, "size", 1)
    padding = integer(section, "padding", 0, 0, MAX_SIZE)
    padded = flag(section, "pad") or padding == size // 2
    return Conv(
        filters=integer(section, "filters", None, 1, MAX_FILTERS),
        size=size,
        stride=_window(section, "stride", 1),
        batch_norm=flag(section, "batch_normalize"),
        activation=word(section, "activation", "logistic", ACTIVATIONS),
        name=f"conv{index:02}",
        padding=None if padded else padding,
    )


def _read_local(section: Section, index: int) -> Local:
    check_keys(section, ("filters", "size", "stride", "pad", "activation"))
    size = _window(section, "size", 1)
    padding = integer(section, "pad", 0, 0, MAX_SIZE)  # here the number itself, not a switch
    if padding and size != 2 * padding + 1:
        # local_layer.c counts its places as if it were so, and reads beyond them where it is not.
        allowed = f"0 or {size // 2}" if size % 2 else "0"
        raise refusal(section, "pad", f"with size={size} it must be {allowed}")
    return Local(
        filters=integer(section, "filters", None, 1, MAX_FILTERS),
        size=size,
        stride=_window(section, "stride", 1),
        activation=word(section, "activation", "logistic", ACTIVATIONS),
        name=f"local{index:02}",
        padding=padding,
    )


def _read_connected(section: Section, index: int) -> Connected:
    check_keys(section, ("output", "activation", "batch_normalize"))
    return Connected(
        outputs=integer(section, "output", None, 1, MAX_OUTPUTS),
        batch_norm=flag(section, "batch_normalize"),
        activation=word(section, "activation", "logistic", ACTIVATIONS),
        name=f"connected{index:02}",
    )


def _read_max_pool(section: Section, index: int) -> MaxPool:
    check_keys(section, ("size", "stride", "padding"))
    stride = _window(section, "stride", 1)
    size = _window(section, "size", stride)
    padding = integer(section, "padding", size - 1, 0, 2 * (size - 1))  # no window of padding alone
    return MaxPool(size, stride, None if padding == size - 1 else padding)


def _read_avg_pool(section: Section, index: int) -> AvgPool:
    check_keys(section, ())
    return AvgPool()


def _read_route(section: Section, index: int) -> Route:
    check_keys(section, ("layers",))
    layers = numbers(section, "layers", -1000, 1000, whole=True)
    if not 1 <= len(layers) <= MAX_ROUTED:
        rule = f"name the layers it joins, as in layers=-1,-4, at most {MAX_ROUTED}"
        raise refusal(section, "layers", rule)
    return Route(layers)


def _read_reorg(section: Section, index: int) -> Reorg:
    check_keys(section, ("stride",))
    return Reorg(_window(section, "stride", 1))


def _read_dropout(section: Section, index: int) -> Dropout:
    check_keys(section, ("probability",))
    return Dropout(number(section, "probability", 0.5, 0, 0.999))


def _read_crop(section: Section, index: int) -> Crop:
    check_keys(section, ("crop_height", "crop_width"))
    if index:
        raise refusal(section, "crop_height", "[crop] stands right behind [net] or nowhere")
    sides = (integer(section, f"crop_{side}", 1, 1, MAX_CROP) for side in ("height", "width"))
    return Crop(*sides)


LAYERS = {
    "convolutional": _read_conv,
    "local": _read_local,
    "connected": _read_connected,
    "maxpool": _read_max_pool,
    "avgpool": _read_avg_pool,
    "route": _read_route,
    "reorg": _read_reorg,
    "dropout": _read_dropout,
    "crop": _read_crop,
}


def _window(section: Section, key: str, default: int) -> int:
    return integer(section, key, default, 1, MAX_SIZE)
