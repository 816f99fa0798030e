"""The text of a Darknet .cfg: sections of key=value lines, and values within their ranges.

Every error is a ValueError that starts with FILE:LINE.
"""

import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

from yolojax.files import check_length
from yolojax.suggestions import did_you_mean

MAX_SECTIONS = 1000
MAX_ITEMS = 1000  # of a list
LINE_END = re.compile(r"\r\n|\r|\n")
COMMENT = re.compile(r"(?:^|(?<=\s))[#;].*")
INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?", re.ASCII)


class Value(NamedTuple):
    """The text behind the = of a line."""

    text: str
    line: int


class Section(NamedTuple):
    """A [kind] and the lines below it."""

    kind: str
    values: dict[str, Value]
    file: str
    line: int


def read_lines(text: str) -> list[tuple[int, str]]:
    """Return (number from 1, content) of the lines of `text` without blanks and comments."""
    lines = enumerate(LINE_END.split(text.removeprefix("\ufeff")), 1)
    stripped = ((number, COMMENT.sub("", line).strip()) for number, line in lines)
    return [(number, line) for number, line in stripped if line]


def read_sections(text: str, file: str, aliases: dict[str, str]) -> list[Section]:
    """Split `text` into sections; `aliases` maps other names of a kind to it.

    Raises:
        ValueError: a line is neither [section] nor key=value, or a key has two values.
    """
    check_length(len(text), file)
    sections: list[Section] = []
    for line, content in read_lines(text):
        if content.startswith("["):
            name = _section_name(content, file, line)
            sections.append(Section(aliases.get(name, name), {}, file, line))
            if len(sections) > MAX_SECTIONS:
                raise failure(file, line, f"a .cfg may have {MAX_SECTIONS} sections, no more")
        elif not sections:
            raise failure(file, line, f"a .cfg starts with [net], got {short(content)!r}")
        else:
            add_value(sections[-1].values, content, file, line)
    return sections


def _section_name(content: str, file: str, line: int) -> str:
    if not content.endswith("]"):
        raise failure(file, line, f"a section is [name] alone on its line, got {short(content)!r}")
    return content[1:-1].strip()


def add_value(values: dict[str, Value], content: str, file: str, line: int) -> None:
    """Add the line `content`, key=value, to `values`.

    Raises:
        ValueError: it is not such a line, or the key already has another value.
    """
    key, equals, text = (part.strip() for part in content.partition("="))
    if not (key and equals and text):
        raise failure(
            file, line, f"a line is [section], key=value or # comment, got {short(key)!r}"
        )
    before = values.setdefault(key, Value(text, line))
    if before.text != text:
        rule = f"{short(key)} is {short(before.text)} in line {before.line} and {short(text)} here"
        raise failure(file, line, f"{rule} (Darknet takes the first); leave one of them out")


def failure(file: str, line: int, rule: str) -> ValueError:
    """Return the error that `line` of `file` breaks `rule`."""
    return ValueError(f"{file}:{line}: {rule}.")


def refusal(section: Section, key: str, rule: str) -> ValueError:
    """Return the error that the value of `key`, or its absence, breaks `rule`."""
    if key not in section.values:
        return failure(section.file, section.line, f"[{section.kind}] without {key}: {rule}")
    text, line = section.values[key]
    return failure(section.file, line, f"[{section.kind}] {key}={short(text)}: {rule}")


def short(text: str) -> str:
    """Shorten `text` to 60 characters, for errors."""
    return text if len(text) <= 60 else f"{text[:57]}..."


def integer(section: Section, key: str, default: int | None, low: int, high: int) -> int:
    """Read the whole number `key` from `low` to `high`; without a default it is required."""
    return _ranged(section, key, default, low, high, INTEGER, "a whole number")


def number(section: Section, key: str, default: float | None, low: float, high: float) -> float:
    """Read the number `key` from `low` to `high`; without a default it is required."""
    return float(_ranged(section, key, default, low, high, NUMBER, "a number"))


def _ranged(section, key, default, low, high, form, what):
    rule = f"must be {what} from {low} to {high}"
    if key not in section.values:
        if default is None:
            raise refusal(section, key, rule)
        return default
    value = _parsed(section.values[key].text, form)
    if value is None or not low <= value <= high:
        raise refusal(section, key, rule)
    return value


def _parsed(text: str, form: re.Pattern):
    """Return the number in `text`, or None if it does not have that `form`."""
    if not form.fullmatch(text):
        return None
    return int(text) if form is INTEGER else float(text)


def flag(section: Section, key: str) -> bool:
    """Read `key`, which is 0 (the default) or 1."""
    return bool(integer(section, key, 0, 0, 1))


def numbers(section: Section, key: str, low: float, high: float, whole: bool = False) -> tuple:
    """Read the list `key` of numbers from `low` to `high`; () where it is missing."""
    if key not in section.values:
        return ()
    form, what = (INTEGER, "whole numbers") if whole else (NUMBER, "numbers")
    items = section.values[key].text.split(",", MAX_ITEMS)
    values = tuple(_parsed(item.strip(), form) for item in items)
    rule = f"must be {what} from {low} to {high} with commas between, at most {MAX_ITEMS}"
    if any(value is None or not low <= value <= high for value in values):
        raise refusal(section, key, rule)
    return values


def word(section: Section, key: str, default: str, known: Collection[str]) -> str:
    """Read the value of `key`, one of `known`."""
    if key not in section.values:
        return default
    text = section.values[key].text
    if text not in known:
        rule = f"known: {', '.join(sorted(known))}"
        raise ValueError(f"{refusal(section, key, rule)}{did_you_mean(text[:60], known)}")
    return text


def path(section: Section, key: str) -> str:
    """Read the file name in `key`; "" where it is missing."""
    return section.values[key].text if key in section.values else ""


def check_keys(
    section: Section, read: Iterable[str], fixed: dict[str, int], ignored: Iterable[str] = ()
) -> None:
    """Raise ValueError for an unknown key, or one that asks for what is not built here.

    Args:
        section: the section.
        read: the keys whose values are used.
        fixed: keys that change the numbers, which are supported with this value only.
        ignored: keys without effect here, mostly for training in Darknet.
    """
    known = {*read, *fixed, *ignored}
    for key, value in section.values.items():
        if key not in known:
            hint = did_you_mean(key[:60], known)
            rule = f"[{section.kind}] has no key {short(key)!r}; known: {', '.join(sorted(known))}"
            raise ValueError(f"{failure(section.file, value.line, rule)}{hint}")
    for key, value in fixed.items():
        if key in section.values and number(section, key, None, -1e9, 1e9) != value:
            raise refusal(section, key, f"only {key}={value} is built here")


def check_required(section: Section, key: str, value: int) -> None:
    """Raise ValueError unless `key` is there; `value` is the one that is built here."""
    if key not in section.values:
        raise refusal(section, key, f"only {key}={value} is built here")
