"""A Darknet .cfg -> the table of its layers, its head and its [net] values.

Nothing is allocated for a .cfg: its shapes are worked out by arithmetic and held within limits
(cfg_layers.py, shapes.py) before anyone builds it.
"""

from pathlib import Path
from typing import NamedTuple

from yolojax.darknet.cfg_heads import TAILS, Classes, Head, Net, Region, read_head, read_net
from yolojax.darknet.cfg_keys import ALIASES, UNSUPPORTED
from yolojax.darknet.cfg_layers import LAYERS
from yolojax.darknet.cfg_sections import Section, failure, read_sections, short
from yolojax.files import read_text
from yolojax.models import NETWORKS
from yolojax.models.layers import WITH_PARAMETERS, Connected, Crop, Layer, Table
from yolojax.models.shapes import MAX_PARAMETERS, Shape, count_parameters, describe, output_shape
from yolojax.suggestions import did_you_mean


class Cfg(NamedTuple):
    """What a .cfg says."""

    net: Net
    table: Table
    head: Head


def read_cfg(path: str | Path) -> Cfg:
    """`parse_cfg` of the text in `path`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as `parse_cfg`, or it is no text.
    """
    return parse_cfg(read_text(path, "a .cfg"), str(path))


def parse_cfg(text: str, file: str) -> Cfg:
    """The Cfg in `text`; errors name `file` and the line.

    The layers are named after their place where the network is one of NETWORKS, and otherwise
    after their kind and Darknet's index (conv07).

    Raises:
        ValueError: a section, key or value is unknown, out of range, or not built here; the layers
            or the head do not fit together.
    """
    sections = read_sections(text, file, ALIASES)
    _check_kinds(sections, file)
    net = read_net(sections[0])
    end = next((i for i, s in enumerate(sections) if s.kind in TAILS), len(sections))
    body, tail = sections[1:end], sections[end:]
    _check_tail(tail)
    table = tuple(LAYERS[section.kind](section, i) for i, section in enumerate(body))
    # One that leaves the images whole belongs to any size of them.
    table = tuple(Crop() if layer == Crop(net.height, net.width) else layer for layer in table)
    if not any(isinstance(layer, WITH_PARAMETERS) for layer in table):
        raise failure(file, sections[0].line, "no layer of this network has parameters")
    output = _measure(table, body, (net.height, net.width, 3))
    head = read_head(tail)
    _check_head(head, output, body, tail)
    return Cfg(net, _named(table), head)


def known_name(table: Table) -> str | None:
    """The key of NETWORKS whose layers are those of `table`, names aside; None if there is none."""
    outputs = count_last(table)
    found = (n for n in NETWORKS if _bare(NETWORKS[n].table(outputs)) == _bare(table))
    return next(found, None)


def count_last(table: Table) -> int:
    """Filters or outputs of the last layer in `table` that has parameters."""
    last = [layer for layer in table if isinstance(layer, WITH_PARAMETERS)][-1]
    return last.outputs if isinstance(last, Connected) else last.filters


def _named(table: Table) -> Table:
    name = known_name(table)
    return NETWORKS[name].table(count_last(table)) if name else table


def _bare(table: Table) -> list[tuple[type, Layer]]:
    """The layers without names, and with their types: tuples of numbers alone are soon equal."""
    return [(type(x), x._replace(name="") if hasattr(x, "name") else x) for x in table]


def _check_kinds(sections: list[Section], file: str) -> None:
    """Raises ValueError unless [net] comes first, and then what can be built."""
    if not sections:
        raise ValueError(f"{file}: no sections; a .cfg has [net] and then the layers.")
    for i, section in enumerate(sections):
        _check_kind(section)
        if (section.kind == "net") != (i == 0):
            raise failure(file, section.line, "[net] comes first, and once")


def _check_kind(section: Section) -> None:
    known = ("net", *LAYERS, *TAILS)
    name = f"[{short(section.kind)}]"
    if section.kind in UNSUPPORTED:
        rule = "is not built here, where YOLOv1, YOLOv2, YOLO9000 and their classifiers are"
        raise failure(section.file, section.line, f"{name} {rule}: {', '.join(LAYERS)}")
    if section.kind not in known:
        hint = did_you_mean(section.kind[:60], (*known, *ALIASES), "[{}]")
        rule = f"{name} is unknown; known: {', '.join(known)}"
        raise ValueError(f"{failure(section.file, section.line, rule)}{hint}")


def _check_tail(tail: list[Section]) -> None:
    """Raises ValueError unless the sections from the first head on are one, or softmax and cost."""
    allowed = 2 if [section.kind for section in tail[:2]] == ["softmax", "cost"] else 1
    for section in tail[allowed:]:
        before = tail[0]
        rule = f"[{section.kind}] behind [{before.kind}] (line {before.line}), which must come last"
        raise failure(section.file, section.line, rule)


def _measure(table: Table, body: list[Section], image: Shape) -> Shape:
    """The shape of the last output; raises ValueError where a layer does not fit, or is too big."""
    shapes, before, parameters = [], image, 0
    for layer, section in zip(table, body, strict=True):
        try:
            after = output_shape(layer, before, shapes)
        except ValueError as error:
            raise failure(section.file, section.line, f"[{section.kind}] {error}") from error
        parameters += count_parameters(layer, before, after)
        if parameters > MAX_PARAMETERS:
            rule = f"with [{section.kind}] there are {parameters:,} parameters"
            raise failure(section.file, section.line, f"{rule}; at most {MAX_PARAMETERS:,}")
        shapes.append(after)
        before = after
    return before


def _check_head(head: Head, output: Shape, body: list[Section], tail: list[Section]) -> None:
    """Raises ValueError unless the last layer has the outputs that `head` reads."""
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
