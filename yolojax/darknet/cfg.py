"""Read a Darknet .cfg: the table of its layers, its head and its [net] values.

Nothing is allocated: shapes are computed by arithmetic and kept within limits. The keys of layers
are defined in models/layers.py.
"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from yolojax.darknet.cfg_heads import (
    FIXED,
    IGNORED,
    TAILS,
    Classes,
    Head,
    Net,
    Region,
    read_head,
    read_net,
)
from yolojax.darknet.cfg_sections import (
    Section,
    check_keys,
    failure,
    flag,
    integer,
    number,
    numbers,
    read_sections,
    refusal,
    short,
    word,
)
from yolojax.files import read_text
from yolojax.models import NETWORKS
from yolojax.models.layers import (
    KINDS,
    MAX_PARAMETERS,
    WITH_PARAMETERS,
    Crop,
    Key,
    Layer,
    Shape,
    Table,
    count_outputs_of_last,
    count_parameters,
    describe,
    output_shape,
)
from yolojax.suggestions import did_you_mean

SECTIONS = {kind.section: kind for kind in KINDS}
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
    "logistic", "lrn", "lstm", "normalization", "rnn", "upsample", "yolo",
)  # fmt: skip


class Cfg(NamedTuple):
    """The content of a .cfg."""

    net: Net
    table: Table
    head: Head


def read_cfg(path: str | Path) -> Cfg:
    """Read the .cfg `path`; see `parse_cfg`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as `parse_cfg`, or it is not text.
    """
    return parse_cfg(read_text(path, "a .cfg"), str(path))


def parse_cfg(text: str, file: str) -> Cfg:
    """Parse `text`; errors name `file` and the line.

    The layers have the names of the table in NETWORKS that they equal, or else those of their kind
    and index (conv07).

    Raises:
        ValueError: a section, key or value is unknown, out of range or not supported, or the layers
            and the head do not fit together.
    """
    sections = read_sections(text, file, ALIASES)
    _check_kinds(sections, file)
    net = read_net(sections[0])
    end = next((i for i, s in enumerate(sections) if s.kind in TAILS), len(sections))
    body, tail = sections[1:end], sections[end:]
    _check_tail(tail)
    table = tuple(_read_layer(section, i) for i, section in enumerate(body))
    # A crop of the whole image fits any image size.
    table = tuple(Crop() if layer == Crop(net.height, net.width) else layer for layer in table)
    if not any(isinstance(layer, WITH_PARAMETERS) for layer in table):
        raise failure(file, sections[0].line, "no layer of this network has parameters")
    output = _measure(table, body, (net.height, net.width, 3))
    head = read_head(tail)
    _check_head(head, output, body, tail)
    return Cfg(net, _named(table), head)


def known_name(table: Table) -> str | None:
    """Return the key of NETWORKS whose layers equal those of `table`, except for names, or None."""
    outputs = count_outputs_of_last(table)
    equal = (n for n in NETWORKS if _unnamed(NETWORKS[n].table(outputs)) == _unnamed(table))
    return next(equal, None)


def _named(table: Table) -> Table:
    name = known_name(table)
    return NETWORKS[name].table(count_outputs_of_last(table)) if name else table


def _unnamed(table: Table) -> list[Layer]:
    return [replace(x, name="") if hasattr(x, "name") else x for x in table]


def _read_layer(section: Section, index: int) -> Layer:
    kind = SECTIONS[section.kind]
    check_keys(section, kind.keys, FIXED | kind.fixed_keys, (*IGNORED, *kind.ignored_keys))
    if kind is Crop and index:
        raise refusal(section, "crop_height", "[crop] stands right behind [net] or nowhere")
    values: dict = {}
    for name, key in kind.keys.items():
        values[name] = _read_key(section, name, key, values)
    layer = kind.from_keys(values)
    if isinstance(layer, WITH_PARAMETERS):
        return replace(layer, name=f"{kind.__name__.lower()}{index:02}")
    return layer


def _read_key(section: Section, name: str, key: Key, values: dict):
    """Read the value of a key; `values` are those of the keys above it in Layer.keys."""
    default, high = (v(values) if callable(v) else v for v in (key.default, key.high))
    if key.form is bool:
        value = flag(section, name)
    elif key.form is str:
        value = word(section, name, default, key.words)
    elif key.form is tuple:
        value = numbers(section, name, key.low, high, whole=True)
    else:
        read = integer if key.form is int else number
        value = read(section, name, default, key.low, high)
    if rule := key.rule(value, values):
        raise refusal(section, name, rule)
    return value


def _check_kinds(sections: list[Section], file: str) -> None:
    """Raise ValueError unless [net] comes first, and then sections that are supported."""
    if not sections:
        raise ValueError(f"{file}: no sections; a .cfg has [net] and then the layers.")
    for i, section in enumerate(sections):
        _check_kind(section)
        if (section.kind == "net") != (i == 0):
            raise failure(file, section.line, "[net] comes first, and once")


def _check_kind(section: Section) -> None:
    known = ("net", *SECTIONS, *TAILS)
    name = f"[{short(section.kind)}]"
    if section.kind in UNSUPPORTED:
        rule = "is not built here, where YOLOv1, YOLOv2, YOLO9000 and their classifiers are"
        raise failure(section.file, section.line, f"{name} {rule}: {', '.join(SECTIONS)}")
    if section.kind not in known:
        hint = did_you_mean(section.kind[:60], (*known, *ALIASES), "[{}]")
        rule = f"{name} is unknown; known: {', '.join(known)}"
        raise ValueError(f"{failure(section.file, section.line, rule)}{hint}")


def _check_tail(tail: list[Section]) -> None:
    """Raise ValueError unless the last sections are one head, or softmax and cost."""
    allowed = 2 if [section.kind for section in tail[:2]] == ["softmax", "cost"] else 1
    for section in tail[allowed:]:
        before = tail[0]
        rule = f"[{section.kind}] behind [{before.kind}] (line {before.line}), which must come last"
        raise failure(section.file, section.line, rule)


def _measure(table: Table, body: list[Section], image: Shape) -> Shape:
    """Return the last output shape; raise ValueError where a layer does not fit or is too large."""
    shapes, before, parameters = [], image, 0
    for layer, section in zip(table, body, strict=True):
        try:
            after = output_shape(layer, before, shapes)
        except ValueError as error:
            raise failure(section.file, section.line, f"[{section.kind}] {error}") from error
        parameters += count_parameters(layer, before)
        if parameters > MAX_PARAMETERS:
            rule = f"with [{section.kind}] there are {parameters:,} parameters"
            raise failure(section.file, section.line, f"{rule}; at most {MAX_PARAMETERS:,}")
        shapes.append(after)
        before = after
    return before


def _check_head(head: Head, output: Shape, body: list[Section], tail: list[Section]) -> None:
    """Raise ValueError unless the last layer has the outputs that `head` reads."""
    if isinstance(head, Classes):
        return
    if isinstance(head, Region):
        wanted = head.num * (5 + head.classes)
        formula = f"{head.num} * (5 + {head.classes}) (num, classes) channels"
        fits = len(output) == 3 and output[-1] == wanted
    else:
        wanted = head.side**2 * (head.classes + 5 * head.num)
        numbers = f"{head.side} * {head.side} * ({head.classes} + 5 * {head.num})"
        formula = f"{numbers} (side, side, classes, num) of a [connected] layer"
        fits = output == (wanted,)
    if not fits:
        head_section, last = tail[0], body[-1]
        found = f"[{last.kind}] in line {last.line} gives {describe(output)}"
        rule = f"[{head_section.kind}] reads {wanted} outputs, {formula}, but {found}"
        raise failure(head_section.file, head_section.line, rule)
