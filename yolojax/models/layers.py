"""The kinds of layers. A network is a tuple of layers, in the order of Darknet's .cfg.

The class of a kind is its definition: its settings, the shape of its output, its parameters in the
order of a .weights file, and its section and keys in a .cfg. The backends are small tables over
these classes: MODULES and FUNCTIONS in network.py, LAYERS in export/onnx_layers.py.

The position in the tuple is the index that Darknet prints, counts and routes by. The last sections
of a .cfg (softmax, cost, region, detection) describe the head and are no layers.

A shape is (height, width, channels), or (values,) behind a connected layer. Keys, defaults and
limits follow Darknet's parser.c.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

Shape = tuple[int, ...]
MAX_VALUES = 2**28  # of one layer's output: 1 GB in float32
MAX_PARAMETERS = 2**31  # of a network: 8 GB in float32; YOLOv1 has 2**28
MAX_FILTERS = 65536
MAX_SIZE = 64  # of a window, its stride and its padding
MAX_OUTPUTS = 2**24  # of a connected layer
MAX_CROP = 8192  # pixels
MAX_ROUTED = 64  # layers that one route joins
MAX_INDEX = 1000  # of a layer, either way
MONOTONIC = (
    "leaky", "linear", "relu", "logistic", "ramp", "elu", "hardtan", "lhtan", "loggy", "plse",
    "relie", "relu6", "revleaky", "selu", "stair", "tanh",
)  # fmt: skip
ACTIVATIONS = (*MONOTONIC, "gelu", "hard_mish", "mish", "swish")  # functional.ACTIVATIONS
STATISTICS = ("mean", "var")  # running statistics, in the collection "batch_stats"
NORM = ("scale", *STATISTICS)


class Key(NamedTuple):
    """The value of a key in a .cfg section.

    `default` and `high` may be functions of the values of the keys above it in the section.
    """

    form: type = int  # int, float, bool (0 or 1), str (one of `words`) or tuple (whole numbers)
    default: Any = None  # None: the key is required
    low: float = 0
    high: Any = 1
    words: tuple[str, ...] = ()
    field: str = ""  # of the layer; "": the name of the key
    rule: Callable = lambda value, values: ""  # (value, values above) -> the rule it breaks, or ""


FLAG = Key(bool, False)
NORMALIZE = Key(bool, False, field="batch_norm")
WINDOW = Key(default=1, low=1, high=MAX_SIZE)
FILTERS = Key(low=1, high=MAX_FILTERS)
ACTIVATION = Key(str, "logistic", words=ACTIVATIONS)


@dataclass(frozen=True)
class Layer:
    """What all kinds of layers have, with the values of a layer without parameters."""

    section: ClassVar[str]  # of a .cfg
    keys: ClassVar[dict[str, Key]] = {}  # of the section
    # Keys that must have this value: a number, a word, or "=" and the key with the same value.
    fixed_keys: ClassVar[dict[str, int | str]] = {}
    ignored_keys: ClassVar[tuple[str, ...]] = ()  # keys for training in Darknet
    file_axes: ClassVar[dict[str, tuple[int, ...]]] = {}  # of a file's array, in a leaf's order
    takes_vectors: ClassVar[bool] = False  # works behind a connected layer

    @classmethod
    def from_keys(cls, values: dict) -> "Layer":
        """Make a layer from a value for each of `keys`."""
        return cls(**{key.field or name: values[name] for name, key in cls.keys.items()})

    def to_keys(self) -> dict:
        """Return the values of the keys in a .cfg. Flags that are off are left out."""
        values = {name: getattr(self, key.field or name) for name, key in self.keys.items()}
        return {name: value for name, value in values.items() if value is not False}

    def sources(self, index: int) -> tuple[int, ...]:
        """Return the indices of the layers whose outputs layer `index` reads; -1 is the images."""
        return (index - 1,)

    def output_shape(self, before: Shape, shapes: list[Shape]) -> Shape:
        """Return the shape of the output for an input of shape `before`.

        `shapes` are the output shapes of all layers above. Raises ValueError where the layer does
        not fit. Called by `output_shape`, which checks what holds for all kinds.
        """
        return before

    @property
    def leaves(self) -> tuple[str, ...]:
        """Names of the parameters and running statistics, in the order of a .weights file."""
        return ()

    def leaf_shapes(self, before: Shape) -> dict[str, Shape]:
        """Return the shapes of `leaves` for an input of shape `before`."""
        return {}

    def products(self, before: Shape, after: Shape) -> int:
        """Return the number of multiplications for one image."""
        return 0

    @property
    def settings(self) -> str:
        """The settings as a summary shows them."""
        return ""


@dataclass(frozen=True)
class Conv(Layer):
    """A convolution, zero-padded, with batch normalisation or a bias.

    With `groups`, channels and filters are split into as many parts; each part of the filters reads
    its part of the channels.
    """

    filters: int
    size: int = 3
    stride: int = 1
    batch_norm: bool = True
    activation: str = "leaky"  # one of ACTIVATIONS
    name: str = ""  # of its parameters
    padding: int | None = None  # zeros on each side; None: size // 2
    groups: int = 1

    section = "convolutional"
    keys: ClassVar = {
        "batch_normalize": NORMALIZE,
        "filters": FILTERS,
        "size": WINDOW,
        "stride": WINDOW,
        "groups": Key(default=1, low=1, high=MAX_FILTERS),
        "pad": FLAG,  # padding of size // 2
        "padding": Key(default=0, high=MAX_SIZE),
        "activation": ACTIVATION,
    }
    fixed_keys: ClassVar = {
        **dict.fromkeys(("antialiasing", "bin_output", "binarize", "binary", "cbn"), 0),
        **dict.fromkeys(("coordconv", "dot", "flipped", "reverse", "rotate"), 0),
        **dict.fromkeys(("stretch", "stretch_sway", "sway", "xnor"), 0),
        **{"dilation": 1, "share_index": -1000000000, "stride_x": "=stride", "stride_y": "=stride"},
    }
    file_axes: ClassVar = {"kernel": (2, 3, 1, 0)}  # [out, in / groups, k, k]

    @classmethod
    def from_keys(cls, values: dict) -> "Conv":
        """Make a layer; `pad` and an equal `padding` are the same."""
        values = dict(values)
        padded = values.pop("pad") or values["padding"] == values["size"] // 2
        values["batch_norm"] = values.pop("batch_normalize")
        return cls(**(values | ({"padding": None} if padded else {})))

    def to_keys(self) -> dict:
        """Return the values of the keys, with `pad` or `padding`."""
        padding = {"pad": 1} if self.padding is None else {"padding": self.padding}
        values = {
            "batch_normalize": self.batch_norm,
            "filters": self.filters,
            "size": self.size,
            "stride": self.stride,
            "groups": self.groups > 1 and self.groups,
            **padding,
            "activation": self.activation,
        }
        return {name: value for name, value in values.items() if value is not False}

    @property
    def zeros(self) -> int:
        """Zeros on each side."""
        return self.size // 2 if self.padding is None else self.padding

    def output_shape(self, before: Shape, shapes: list[Shape]) -> Shape:
        """Return (height, width, filters)."""
        if before[2] % self.groups or self.filters % self.groups:
            raise ValueError(
                f"groups={self.groups} must divide its {before[2]} input channels and its "
                f"{self.filters} filters"
            )
        return *_windows(before, self.size, self.stride, 2 * self.zeros), self.filters

    @property
    def leaves(self) -> tuple[str, ...]:
        """Statistics come before the kernel."""
        return ("bias", *(NORM if self.batch_norm else ()), "kernel")

    def leaf_shapes(self, before: Shape) -> dict[str, Shape]:
        """A kernel [k, k, in / groups, out] and vectors [out]."""
        kernel = (self.size, self.size, before[2] // self.groups, self.filters)
        return dict.fromkeys(self.leaves, (self.filters,)) | {"kernel": kernel}

    def products(self, before: Shape, after: Shape) -> int:
        """Each output is a sum over a window of its group."""
        return self.size**2 * (before[2] // self.groups) * math.prod(after)

    @property
    def settings(self) -> str:
        """Filters, window and groups."""
        groups = f" in {self.groups}" if self.groups > 1 else ""
        return f"{self.filters:>5}  {_window_text(self.size, self.stride)}{groups}"


@dataclass(frozen=True)
class Local(Layer):
    """A convolution with a separate kernel at each position (YOLOv1 since 2016)."""

    filters: int
    size: int = 3
    stride: int = 1
    activation: str = "leaky"
    name: str = ""
    padding: int = 1  # zeros on each side

    section = "local"
    keys: ClassVar = {
        "filters": FILTERS,
        "size": WINDOW,
        "stride": WINDOW,
        "pad": Key(
            default=0,
            high=MAX_SIZE,
            field="padding",  # the number of zeros, not a flag
            # local_layer.c computes its output size for these, and reads out of bounds for others.
            rule=lambda pad, values: _local_padding_rule(pad, values["size"]),
        ),
        "activation": ACTIVATION,
    }
    # The kernel is [H', W', out, in * k * k] in a file, the bias [out, H', W'].
    file_axes: ClassVar = {"kernel": (0, 1, 3, 2), "bias": (1, 2, 0)}

    def output_shape(self, before: Shape, shapes: list[Shape]) -> Shape:
        """Return (height, width, filters). All windows are in memory at once."""
        shape = *_windows(before, self.size, self.stride, 2 * self.padding), self.filters
        window = self.size**2
        if max(math.prod(shape[:2]), window) * window * before[2] > MAX_VALUES:
            raise ValueError(f"its windows hold more than {MAX_VALUES:,} values; make size smaller")
        return shape

    leaves = ("bias", "kernel")

    def leaf_shapes(self, before: Shape) -> dict[str, Shape]:
        """A kernel [H', W', in * k * k, out] and a bias [H', W', out]."""
        shape = self.output_shape(before, [])
        kernel = (*shape[:2], before[2] * self.size**2, self.filters)
        return {"bias": shape, "kernel": kernel}

    def products(self, before: Shape, after: Shape) -> int:
        """As of a convolution."""
        return self.size**2 * before[2] * math.prod(after)

    @property
    def settings(self) -> str:
        """Filters and window."""
        return f"{self.filters:>5}  {_window_text(self.size, self.stride)}"


@dataclass(frozen=True)
class Connected(Layer):
    """A fully connected layer. A map [H, W, C] is flattened channel by channel, as in Darknet."""

    outputs: int
    batch_norm: bool = False
    activation: str = "leaky"
    name: str = ""

    section = "connected"
    keys: ClassVar = {
        "batch_normalize": NORMALIZE,
        "output": Key(low=1, high=MAX_OUTPUTS, field="outputs"),
        "activation": ACTIVATION,
    }
    fixed_keys: ClassVar = {"flipped": 0}
    file_axes: ClassVar = {"kernel": (1, 0)}  # [out, in]
    takes_vectors = True

    def output_shape(self, before: Shape, shapes: list[Shape]) -> Shape:
        """Return (outputs,)."""
        return (self.outputs,)

    @property
    def leaves(self) -> tuple[str, ...]:
        """Statistics come after the kernel."""
        return ("bias", "kernel", *(NORM if self.batch_norm else ()))

    def leaf_shapes(self, before: Shape) -> dict[str, Shape]:
        """A kernel [in, out] and vectors [out]."""
        kernel = (math.prod(before), self.outputs)
        return dict.fromkeys(self.leaves, (self.outputs,)) | {"kernel": kernel}

    def products(self, before: Shape, after: Shape) -> int:
        """One for each value of the kernel."""
        return math.prod(before) * self.outputs

    @property
    def settings(self) -> str:
        """The number of outputs."""
        return f"{self.outputs:>5}"


@dataclass(frozen=True)
class MaxPool(Layer):
    """Maximum over size x size windows."""

    size: int = 2
    stride: int = 2
    padding: int | None = None  # rows and columns in all; None: size - 1

    section = "maxpool"
    keys: ClassVar = {
        "stride": WINDOW,
        "size": WINDOW._replace(default=lambda values: values["stride"]),
        "padding": Key(
            default=lambda values: values["size"] - 1,
            high=lambda values: 2 * (values["size"] - 1),  # no window of padding alone
        ),
    }
    fixed_keys: ClassVar = {
        **dict.fromkeys(("antialiasing", "maxpool_depth", "maxpool_zero_nonmax"), 0),
        **{"out_channels": 1, "stride_x": "=stride", "stride_y": "=stride"},
    }

    @classmethod
    def from_keys(cls, values: dict) -> "MaxPool":
        """Make a layer; the default padding is None."""
        size, padding = values["size"], values["padding"]
        return cls(size, values["stride"], None if padding == size - 1 else padding)

    def to_keys(self) -> dict:
        """Return the values of the keys, without the default padding."""
        padding = {} if self.padding is None else {"padding": self.padding}
        return {"size": self.size, "stride": self.stride, **padding}

    @property
    def rows(self) -> int:
        """Rows, and columns, of padding in all."""
        return self.size - 1 if self.padding is None else self.padding

    def output_shape(self, before: Shape, shapes: list[Shape]) -> Shape:
        """Return (height, width, channels)."""
        return *_windows(before, self.size, self.stride, self.rows), before[2]

    @property
    def settings(self) -> str:
        """The window."""
        return f"{'':<7}{_window_text(self.size, self.stride)}"


@dataclass(frozen=True)
class AvgPool(Layer):
    """The mean over all positions: a map of one cell."""

    section = "avgpool"

    def output_shape(self, before: Shape, shapes: list[Shape]) -> Shape:
        """Return (1, 1, channels)."""
        return (1, 1, before[2])


@dataclass(frozen=True)
class Route(Layer):
    """The outputs of other layers, concatenated along channels. Negative indices are relative."""

    layers: tuple[int, ...]

    section = "route"
    keys: ClassVar = {
        "layers": Key(
            tuple,
            (),
            -MAX_INDEX,
            MAX_INDEX,
            rule=lambda layers, values: (
                ""
                if 1 <= len(layers) <= MAX_ROUTED
                else f"name the layers it joins, as in layers=-1,-4, at most {MAX_ROUTED}"
            ),
        )
    }
    fixed_keys: ClassVar = {"group_id": 0, "groups": 1}
    takes_vectors = True

    def sources(self, index: int) -> tuple[int, ...]:
        """`layers` as indices from 0."""
        return tuple(layer % index for layer in self.layers)

    def output_shape(self, before: Shape, shapes: list[Shape]) -> Shape:
        """Return the shape of the maps with the sum of their channels."""
        if not all(_is_above(layer, shapes) for layer in self.layers):
            raise ValueError(
                f"it takes layers {self.layers}, and before it there are {len(shapes)}"
            )
        maps = [shapes[i] for i in self.layers]
        if len({shape[:-1] for shape in maps}) > 1:
            text = ", ".join(map(describe, maps))
            raise ValueError(f"the maps it joins must have one height and width, got {text}")
        return (*maps[0][:-1], sum(shape[-1] for shape in maps))

    @property
    def settings(self) -> str:
        """The indices."""
        return ", ".join(map(str, self.layers))


@dataclass(frozen=True)
class Shortcut(Layer):
    """The sum of the layer above and another one, then the activation (shortcut_layer.c).

    The output has the shape of the layer above. Where the other map is larger, every n-th of its
    rows and columns is added; where it is smaller, it is added to every n-th row and column. Of
    different numbers of channels, the first are added.
    """

    source: int  # index of the other layer; negative indices are relative
    activation: str = "linear"

    section = "shortcut"
    keys: ClassVar = {
        "from": Key(low=-MAX_INDEX, high=MAX_INDEX, field="source"),
        "activation": ACTIVATION._replace(default="linear"),
    }
    fixed_keys: ClassVar = {"alpha": 1, "beta": 1}
    fixed_keys |= {"weights_type": "none", "weights_normalization": "none"}

    def sources(self, index: int) -> tuple[int, ...]:
        """The layer above and the other one."""
        return index - 1, self.source % index

    def output_shape(self, before: Shape, shapes: list[Shape]) -> Shape:
        """Return the shape of the layer above."""
        if not _is_above(self.source, shapes):
            raise ValueError(f"it takes layer {self.source}, and before it there are {len(shapes)}")
        other = shapes[self.source]
        if len(other) == 1:
            raise ValueError("behind a connected layer there is no map to add")
        (rows, columns), (other_rows, other_columns) = before[:2], other[:2]
        down = other_rows // rows, other_columns // columns
        up = rows // other_rows, columns // other_columns
        if down[0] != down[1] or up[0] != up[1]:
            raise ValueError(
                f"height and width of {describe(other)} must have the same ratio to those of "
                f"{describe(before)}"
            )
        return before

    @property
    def settings(self) -> str:
        """The index of the other layer."""
        return f"{self.source}"


@dataclass(frozen=True)
class Reorg(Layer):
    """Moves stride x stride neighbours into channels, in Darknet's order."""

    stride: int = 2

    section = "reorg"
    keys: ClassVar = {"stride": WINDOW}
    fixed_keys: ClassVar = {"extra": 0, "flatten": 0, "reverse": 0}

    def output_shape(self, before: Shape, shapes: list[Shape]) -> Shape:
        """Return (height / stride, width / stride, channels * stride**2)."""
        height, width, channels = before
        s = self.stride
        if height % s or width % s or channels % s**2:
            raise ValueError(
                f"stride {s} must divide height and width, and {s**2} the channels, "
                f"of {describe(before)}"
            )
        return (height // s, width // s, channels * s**2)

    @property
    def settings(self) -> str:
        """The neighbours."""
        return f"{'':<7}{_window_text(self.stride, self.stride)}"


@dataclass(frozen=True)
class Dropout(Layer):
    """Sets a share of the values to 0 in training and scales the others up by 1 / (1 - rate)."""

    rate: float = 0.5

    section = "dropout"
    keys: ClassVar = {"probability": Key(float, 0.5, 0, 0.999, field="rate")}
    takes_vectors = True

    @property
    def settings(self) -> str:
        """The share."""
        return f"{'':<7}p = {self.rate:g}"


@dataclass(frozen=True)
class Crop(Layer):
    """The middle of the images, moved from 0..1 to -1..1 (YOLOv1 of the paper)."""

    height: int = 0  # 0: all rows
    width: int = 0

    section = "crop"
    keys: ClassVar = {
        "crop_height": Key(default=1, low=1, high=MAX_CROP, field="height"),
        "crop_width": Key(default=1, low=1, high=MAX_CROP, field="width"),
    }
    fixed_keys: ClassVar = {"noadjust": 0}
    ignored_keys = ("angle", "exposure", "flip", "saturation", "shift")

    def output_shape(self, before: Shape, shapes: list[Shape]) -> Shape:
        """Return (height, width, channels)."""
        shape = (self.height or before[0], self.width or before[1], before[2])
        if shape[0] > before[0] or shape[1] > before[1]:
            raise ValueError(f"the crop {describe(shape)} exceeds {describe(before)}")
        return shape

    @property
    def settings(self) -> str:
        """The size."""
        return f"{'':<7}{self.height} x {self.width}" if self.height else ""


KINDS = (Conv, Local, Connected, MaxPool, AvgPool, Route, Shortcut, Reorg, Dropout, Crop)
WITH_PARAMETERS = (Conv, Local, Connected)
Table = tuple[Layer, ...]


def output_shape(layer: Layer, before: Shape, shapes: list[Shape]) -> Shape:
    """Return the output shape of `layer`; `shapes` are those of all layers above it.

    Raises:
        ValueError: the layer does not fit, or its output has more than MAX_VALUES.
    """
    if len(before) == 1 and not layer.takes_vectors:
        raise ValueError("behind a connected layer there is no map; use [connected] or [dropout]")
    shape = layer.output_shape(before, shapes)
    if math.prod(shape) > MAX_VALUES:
        raise ValueError(f"its output of {describe(shape)} has more than {MAX_VALUES:,} values")
    return shape


def output_shapes(table: Table, image: Shape) -> list[Shape]:
    """Return the output shape of every layer, for images of (height, width, channels).

    Nothing is allocated or traced. Raises ValueError as `output_shape`.
    """
    shapes: list[Shape] = []
    for layer in table:
        shapes.append(output_shape(layer, shapes[-1] if shapes else image, shapes))
    return shapes


def count_parameters(layer: Layer, before: Shape) -> int:
    """Return the number of floats of `layer` in a .weights file."""
    return sum(math.prod(shape) for shape in layer.leaf_shapes(before).values())


def count_outputs_of_last(table: Table) -> int:
    """Return the filters or outputs of the last layer with parameters."""
    last = [layer for layer in table if isinstance(layer, WITH_PARAMETERS)][-1]
    return getattr(last, _width_field(last))


def scale_width(table: Table, width: float) -> Table:
    """Multiply the filters or outputs of every layer but the last with parameters by `width`.

    The result is rounded to whole numbers, at least 1, and to multiples of what groups and a
    following Reorg divide by.

    Raises:
        ValueError: `width` is not above 0.
    """
    if not width > 0:
        raise ValueError(f"width must be above 0, got {width}; 1.0 is the published network.")
    last = max(i for i, layer in enumerate(table) if isinstance(layer, WITH_PARAMETERS))
    followers = (*table[1:], None)
    return tuple(
        _scaled(layer, width, follower)
        if isinstance(layer, WITH_PARAMETERS) and i != last
        else layer
        for i, (layer, follower) in enumerate(zip(table, followers, strict=True))
    )


def _scaled(layer: Layer, width: float, follower: Layer | None) -> Layer:
    field = _width_field(layer)
    squares = follower.stride**2 if isinstance(follower, Reorg) else 1
    multiple = math.lcm(squares, getattr(layer, "groups", 1), getattr(follower, "groups", 1))
    value = max(1, round(getattr(layer, field) * width / multiple)) * multiple
    return replace(layer, **{field: value})


def _width_field(layer: Layer) -> str:
    return "outputs" if isinstance(layer, Connected) else "filters"


def read_elsewhere(table: Table) -> frozenset[int]:
    """Return the indices of layers whose outputs a layer other than the next one reads."""
    return frozenset(
        source
        for index, layer in enumerate(table)
        for source in layer.sources(index)
        if source != index - 1
    )


def downsampling(table: Table) -> int:
    """Return the pixels of the input per cell of the coarsest map, in each direction."""
    factors: list[int] = []
    for index, layer in enumerate(table):
        if isinstance(layer, Connected | AvgPool):
            break  # positions end here
        source = layer.sources(index)[0]
        before = factors[source] if source >= 0 else 1
        factors.append(before * getattr(layer, "stride", 1))
    return math.lcm(*factors)


def describe(shape: Shape) -> str:
    """Return (13, 13, 5) as "13 x 13 x 5"."""
    return " x ".join(map(str, shape))


def _local_padding_rule(padding: int, size: int) -> str:
    """Return the rule that `padding` of a Local breaks, or ""."""
    if not padding or size == 2 * padding + 1:
        return ""
    allowed = f"0 or {size // 2}" if size % 2 else "0"
    return f"with size={size} it must be {allowed}"


def _is_above(layer: int, shapes: list[Shape]) -> bool:
    return -len(shapes) <= layer < len(shapes)


def _windows(before: Shape, size: int, stride: int, padding: int) -> tuple[int, int]:
    """Return (rows, columns) of windows, with `padding` rows and columns in all."""
    for places in before[:2]:
        if places + padding < size:
            raise ValueError(f"its window of {size} exceeds the {places} + {padding} padded places")
    rows, columns = ((places + padding - size) // stride + 1 for places in before[:2])
    return rows, columns


def _window_text(size: int, stride: int) -> str:
    return f"{size} x {size} / {stride}"
