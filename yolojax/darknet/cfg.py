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
from yolojax.darknet.cfg_keys import check_keys
from yolojax.darknet.cfg_sections import (
    Report,
    Section,
    flag,
    integer,
    number,
    numbers,
    read_sections,
    word,
)
from yolojax.files import read_text, shorten
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
    "activation", "batchnorm", "contrastive", "conv_lstm", "crnn", "deconv", "deconvolutional",
    "empty", "Gaussian_yolo", "gru", "history", "implicit", "iseg", "l2norm", "local_avgpool",
    "logistic", "lrn", "lstm", "normalization", "reorg3d", "rnn", "sam", "scale_channels",
    "silence", "upsample", "yolo",
    "conv-extract", "conv-select", "extract", "select",  # of darkflow
)  # fmt: skip


class Cfg(NamedTuple):
    """The content of a .cfg."""

    net: Net
    table: Table
    head: Head
    note: str = ""  # one line on what was ignored, or ""
    file: str = ""  # for messages


def read_cfg(path: str | Path) -> Cfg:
    """Read the .cfg `path`; see `parse_cfg`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as `parse_cfg`, or it is not text.
    """
    return parse_cfg(read_text(path, "a .cfg"), str(path))


def parse_cfg(text: str, file: str) -> Cfg:
    """Parse `text`; errors name `file` and the line.

    The grammar: lines end in LF, CR LF or CR. "#" and ";" begin a comment at the start of a line,
    after or before a blank, and behind a number or word, as "//" does there. Other lines are
    [section] or key=value, with blanks anywhere around; a line of numbers alone continues the list
    above it. Lists have commas or blanks between their numbers, and may end in a comma. The first
    section is [net], then come layers (SECTIONS, ALIASES), then one head or none (TAILS). A key
    has one value in its section. Keys that are not read are sorted by cfg_keys.check_keys.

    The layers have the names of the table in NETWORKS that they equal, or else those of their kind
    and index (conv07).

    Raises:
        ValueError: a section, key or value is unknown, out of range or not supported, or the layers
            and the head do not fit together. It names all such problems; those of layers that do
            not fit only once all shapes are known, and of these the first.
    """
    report = Report(file)
    sections = read_sections(text, report, ALIASES)
    if not sections:
        report.check()
        raise ValueError(f"{file}: no sections; a .cfg has [net] and then the layers.")
    _check_kinds(sections, report)
    nets = [section for section in sections if section.kind == "net"]
    net = read_net(nets[0] if nets else Section("net", 0, Report(file)))
    end = next((i for i, s in enumerate(sections) if s.kind in TAILS), len(sections))
    body = [section for section in sections[:end] if section.kind in SECTIONS]
    tail = [section for section in sections[end:] if section.kind in (*SECTIONS, *TAILS)]
    _check_tail(tail)
    table = tuple(_read_layer(section, i) for i, section in enumerate(body))
    # A crop of the whole image fits any image size.
    table = tuple(Crop() if layer == Crop(net.height, net.width) else layer for layer in table)
    head = read_head([section for section in tail if section.kind in TAILS])
    if any(isinstance(layer, WITH_PARAMETERS) for layer in table):
        if report.has_shapes:
            _check_shapes(table, head, (net.height, net.width, 3), body, tail)
    elif not report.problems:
        report.refuse(sections[0].line, "no layer of this network has parameters")
    report.check()
    return Cfg(net, _named(table), head, report.note(), file)


def _check_shapes(
    table: Table, head: Head, image: Shape, body: list[Section], tail: list[Section]
) -> None:
    """Refuse the first layer that does not fit, or a head that does not."""
    output = _measure(table, body, image)
    if output is not None:
        _check_head(head, output, body, tail)


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
        section.refuse("crop_height", "[crop] stands right behind [net] or nowhere")
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
    if name not in section.refused and (rule := key.rule(value, values)):
        section.refuse(name, rule)
    return value


def _check_kinds(sections: list[Section], report: Report) -> None:
    """Refuse sections that are not supported, and a [net] that is not the first or missing."""
    known = ("net", *SECTIONS, *TAILS)
    for i, section in enumerate(sections):
        name, hint = f"[{shorten(section.kind)}]", ""
        if section.kind in UNSUPPORTED:
            rule = "is not built here, where YOLOv1, YOLOv2, YOLO9000 and their classifiers are"
            rule = f"{name} {rule}"
        elif section.kind not in known:
            hint = did_you_mean(section.kind[:60], (*known, *ALIASES), "[{}]")
            rule = f"{name} is unknown; known: {', '.join(known)}"
        elif (section.kind == "net") != (i == 0):
            rule = "[net] comes first, and once"
        else:
            continue
        report.refuse(section.line, rule, hint=hint, shapes=True)


def _check_tail(tail: list[Section]) -> None:
    """Refuse sections behind the head, which is one section, or softmax and cost."""
    allowed = 2 if [section.kind for section in tail[:2]] == ["softmax", "cost"] else 1
    for section in tail[allowed:]:
        before = tail[0]
        rule = f"[{section.kind}] behind [{before.kind}] (line {before.line}), which must come last"
        section.report.refuse(section.line, rule, shapes=True)


def _measure(table: Table, body: list[Section], image: Shape) -> Shape | None:
    """Return the last output shape; refuse a layer that does not fit or is too large -> None."""
    shapes, before, parameters = [], image, 0
    for layer, section in zip(table, body, strict=True):
        try:
            after = output_shape(layer, before, shapes)
        except ValueError as error:
            section.report.refuse(section.line, f"[{section.kind}] {error}")
            return None
        parameters += count_parameters(layer, before)
        if parameters > MAX_PARAMETERS:
            rule = f"with [{section.kind}] there are {parameters:,} parameters"
            section.report.refuse(section.line, f"{rule}; at most {MAX_PARAMETERS:,}")
            return None
        shapes.append(after)
        before = after
    return before


def _check_head(head: Head, output: Shape, body: list[Section], tail: list[Section]) -> None:
    """Refuse a last layer without the outputs that `head` reads."""
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
        section, last = tail[0], body[-1]
        found = f"[{last.kind}] in line {last.line} gives {describe(output)}"
        rule = f"[{section.kind}] reads {wanted} outputs, {formula}, but {found}"
        section.report.refuse(section.line, rule)
