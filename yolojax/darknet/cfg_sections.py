"""The text of a Darknet .cfg: sections of key=value lines, and values within their ranges.

What is wrong is recorded in a Report, so that one error can name all of it.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from yolojax.files import check_length, shorten
from yolojax.suggestions import did_you_mean

MAX_SECTIONS = 1000
MAX_ITEMS = 1000  # of a list
BROKEN_LINE = ""  # in Section.refused, in place of a key
SHOWN = 12  # problems of a file in one error, and settings in a note
LINES = 5  # of one problem
LINE_END = re.compile(r"\r\n|\r|\n")
COMMENT = re.compile(r"(?:^|(?<=\s))[#;].*|[#;](?:\s.*|$)")
VALUE_COMMENT = re.compile(r"[#;].*|//.*")  # of numbers and words; file names may hold these
MORE_NUMBERS = re.compile(r"[-+0-9.eE,\s]*[0-9][-+0-9.eE,\s]*", re.ASCII)
LIST_END = ", \t\\"  # of a list that the next line continues
COMMA = re.compile(r"\s*,\s*|\s+")
INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?", re.ASCII)
# Keys without which the shapes of the layers, or of what the head reads, are unknown.
SHAPE_KEYS = {
    "channels", "classes", "coords", "crop_height", "crop_width", "dilation", "extra",
    "filters", "flatten", "from", "groups", "height", "layers", "num", "output", "pad",
    "padding", "reverse", "side", "size", "stride", "stride_x", "stride_y", "width",
}  # fmt: skip


class Problem(NamedTuple):
    """What is wrong in a line."""

    line: int
    rule: str
    hint: str  # a sentence behind the rule, or ""


@dataclass
class Report:
    """What is wrong in a .cfg, and what its user should know.

    Attributes:
        file: for messages.
        problems: for which the file is refused.
        ignored: settings without effect on inference, as "mosaic=1".
        unknown: settings that Darknet has no key for, as "foo=3".
        notes: other sentences.
        has_shapes: whether all values that shapes depend on were read.
    """

    file: str
    problems: list[Problem] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    has_shapes: bool = True

    def refuse(self, line: int, rule: str, *, hint: str = "", shapes: bool = False) -> None:
        """Record that `line` breaks `rule`; with `shapes` they are unknown from here on."""
        self.problems.append(Problem(line, rule, hint))
        self.has_shapes = self.has_shapes and not shapes

    def check(self) -> None:
        """Raise ValueError with all problems, if there are any."""
        if not self.problems:
            return
        lines: dict[tuple[str, str], list[int]] = {}
        for problem in sorted(self.problems, key=lambda problem: problem.line):
            lines.setdefault((problem.rule, problem.hint), []).append(problem.line)
        ((rule, hint), (first, *others)), *more = lines.items()
        if not more:
            also = f" (also in {_lines(others)})" if others else ""
            raise ValueError(f"{self.file}:{first}: {rule}{also}.{hint}")
        texts = [
            f"{_lines(numbers).capitalize()}: {rule}.{hint}"
            for (rule, hint), numbers in list(lines.items())[:SHOWN]
        ]
        left = f" And {len(lines) - SHOWN} more." if len(lines) > SHOWN else ""
        raise ValueError(f"{self.file}: {len(lines)} problems. {' '.join(texts)}{left}")

    def note(self) -> str:
        """Return what the user should know in one line, or ""."""
        ignored, unknown = (_listed(dict.fromkeys(n)) for n in (self.ignored, self.unknown))
        parts = [
            ignored and f"ignored, no effect on inference: {ignored}",
            unknown and f"ignored, no keys of Darknet: {unknown}",
            *list(dict.fromkeys(self.notes))[:SHOWN],
        ]
        text = "; ".join(part for part in parts if part)
        return f"{self.file}: {text}" if text else ""


def _lines(numbers: list[int]) -> str:
    return f"line{'s' * (len(numbers) > 1)} {_listed(numbers, LINES)}"


def _listed(items: Collection, most: int = SHOWN) -> str:
    left = f" and {len(items) - most} more" if len(items) > most else ""
    return f"{', '.join(map(str, list(items)[:most]))}{left}"


class Value(NamedTuple):
    """The text behind the = of a line."""

    text: str
    line: int


@dataclass(frozen=True)
class Section:
    """A [kind] and the lines below it.

    Attributes:
        kind: the name, without aliases.
        line: of the name.
        report: of the file.
        values: the first value of each key.
        repeats: further values that differ from the first.
        refused: keys whose values, or whose absence, are problems.
    """

    kind: str
    line: int
    report: Report
    values: dict[str, Value] = field(default_factory=dict)
    repeats: list[tuple[str, Value]] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)

    def refuse(self, key: str, rule: str, hint: str = "") -> None:
        """Record that the value of `key`, or its absence, breaks `rule`."""
        if key not in self.values and self.refused & {key, BROKEN_LINE}:
            return  # its line is a problem already
        self.refused.add(key)
        line, text = self.line, f"[{self.kind}] without {key}: {rule}"
        if key in self.values:
            line, text = self.values[key].line, f"[{self.kind}] {self.setting(key)}: {rule}"
        self.report.refuse(line, text, hint=hint, shapes=key in SHAPE_KEYS)

    def setting(self, key: str) -> str:
        """Return "key=value", shortened."""
        return f"{shorten(key)}={shorten(self.values[key].text)}"


def read_lines(text: str) -> list[tuple[int, str]]:
    """Return (number from 1, content) of the lines of `text` without blanks and comments."""
    lines = enumerate(LINE_END.split(text.removeprefix("\ufeff")), 1)
    stripped = ((number, COMMENT.sub("", line).strip()) for number, line in lines)
    return [(number, line) for number, line in stripped if line]


def read_sections(text: str, report: Report, aliases: dict[str, str]) -> list[Section]:
    """Split `text` into sections; `aliases` maps other names of a kind to it.

    A line of numbers alone continues the list above it. Other lines that are neither [section] nor
    key=value are problems.

    Raises:
        ValueError: `text` is too long or has too many sections.
    """
    check_length(len(text), report.file)
    sections: list[Section] = []
    for line, content in read_lines(text):
        if content.startswith("["):
            name = content[1:].removesuffix("]").strip()
            sections.append(Section(aliases.get(name, name), line, report))
            if not content.endswith("]"):
                rule = f"a section is [name] alone on its line, got {shorten(content)!r}"
                _refuse_line(sections[-1], line, rule)
            if len(sections) > MAX_SECTIONS:
                rule = f"a .cfg may have {MAX_SECTIONS} sections, no more"
                raise ValueError(f"{report.file}:{line}: {rule}.")
        elif not sections:
            report.refuse(line, f"a .cfg starts with [net], got {shorten(content)!r}", shapes=True)
        else:
            _add_line(sections[-1], content, line)
    return sections


def _refuse_line(section: Section, line: int, rule: str) -> None:
    section.refused.add(BROKEN_LINE)
    section.report.refuse(line, rule, shapes=True)


def _add_line(section: Section, content: str, line: int) -> None:
    """Add the line `content`, key=value or more numbers of the list above, to `section`."""
    if section.values and MORE_NUMBERS.fullmatch(content):
        key = next(reversed(section.values))
        text, first = section.values[key]
        section.values[key] = Value(f"{text.rstrip(LIST_END)}, {content.lstrip(', ')}", first)
        section.report.notes.append(f"{shorten(key)} continues in line {line}")
        return
    key, equals, text = (part.strip() for part in content.partition("="))
    if not (key and equals and text):
        rule = f"a line is [section], key=value or # comment, got {shorten(content)!r}"
        _refuse_line(section, line, rule)
        return
    if section.values.setdefault(key, Value(text, line)).text != text:
        section.repeats.append((key, Value(text, line)))


def integer(section: Section, key: str, default: int | None, low: int, high: int) -> int:
    """Read the whole number `key` from `low` to `high`; without a default it is required.

    As for all readers below, what is wrong becomes a problem of the section.
    """
    return _ranged(section, key, default, low, high, INTEGER, "a whole number")


def number(section: Section, key: str, default: float | None, low: float, high: float) -> float:
    """Read the number `key` from `low` to `high`; without a default it is required."""
    return float(_ranged(section, key, default, low, high, NUMBER, "a number"))


def _ranged(section, key, default, low, high, form, what):
    if key not in section.values and default is not None:
        return default
    value = _parsed(bare(section.values[key].text), form) if key in section.values else None
    if value is None or not low <= value <= high:
        section.refuse(key, f"must be {what} from {low} to {high}")
        return low if default is None else default
    return value


def bare(text: str) -> str:
    """Return the text of a number or word without a comment behind it."""
    return VALUE_COMMENT.sub("", text).strip()


def _parsed(text: str, form: re.Pattern):
    """Return the number in `text`, or None if it does not have that `form`."""
    if not form.fullmatch(text):
        return None
    return int(text) if form is INTEGER else float(text)


def flag(section: Section, key: str) -> bool:
    """Read `key`, which is 0 (the default) or 1."""
    return bool(integer(section, key, 0, 0, 1))


def numbers(section: Section, key: str, low: float, high: float, whole: bool = False) -> tuple:
    """Read the list `key` of numbers from `low` to `high`; () where it is missing.

    Commas or blanks are between them; one comma may follow the last.
    """
    if key not in section.values:
        return ()
    form, what = (INTEGER, "whole numbers") if whole else (NUMBER, "numbers")
    text = bare(section.values[key].text).removesuffix(",").rstrip()
    values = tuple(_parsed(item, form) for item in COMMA.split(text, MAX_ITEMS))
    if any(value is None or not low <= value <= high for value in values):
        rule = f"must be {what} from {low} to {high} with commas between, at most {MAX_ITEMS}"
        section.refuse(key, rule)
        return ()
    return values


def word(section: Section, key: str, default: str, known: Collection[str]) -> str:
    """Read the value of `key`, one of `known`."""
    if key not in section.values:
        return default
    text = bare(section.values[key].text)
    if text not in known:
        hint = did_you_mean(text[:60], known)
        section.refuse(key, f"known: {', '.join(sorted(known))}", hint)
        return default
    return text


def path(section: Section, key: str) -> str:
    """Read the file name in `key`; "" where it is missing."""
    return section.values[key].text if key in section.values else ""
