"""Convert the values that people and JSON give to the types of the config's fields."""

import dataclasses
from numbers import Integral, Real
from types import NoneType
from typing import get_args, get_origin

from yolojax.suggestions import did_you_mean

LONGEST = 60  # characters of a value in a message
# What a value of each type must be.
KINDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple[str, ...]: "texts, as ('cat', 'dog') or ('cat',)",
    tuple[int, ...]: "whole numbers, as (320, 416) or (320,)",
    tuple[float, ...]: "numbers, as (0.1, 0.5) or (0.1,)",
    tuple[int, int]: "two whole numbers, as (320, 416)",
    tuple[float, float]: "two numbers, as (0.5, 1.5)",
    tuple[tuple[float, float], ...]: "pairs of numbers, as ((1.0, 1.5), (3.0, 2.0))",
    tuple[tuple[str, str], ...]: "pairs of texts, as (('car', 'vehicle'), ('cat', 'animal'))",
    tuple[tuple[str, float], ...]: "pairs of text and number, as (('a', 0.1), ('b', 1.0))",
}


def read_fields(schema: type, fields, name: str = "config"):
    """Make a dataclass from a dict of its fields; a field that is not there has its default.

    Raises:
        ValueError: `fields` is no dict, a field is unknown, or as `converted`; it says which.
    """
    if not isinstance(fields, dict):
        raise ValueError(f"{name} is {shown(fields)}: must have fields, as {name}.FIELD.")
    kinds = {field.name: field.type for field in dataclasses.fields(schema)}
    values = {}
    for key, value in fields.items():
        if key not in kinds:
            hint = did_you_mean(str(key), kinds, f"{name}.{{}}")
            raise ValueError(f"{name}.{shown_name(key)}: there is no such field.{hint}")
        if dataclasses.is_dataclass(kinds[key]):
            values[key] = read_fields(kinds[key], value, f"{name}.{key}")
        else:
            try:
                values[key] = converted(value, kinds[key])
            except ValueError as error:
                raise ValueError(f"{name}.{key} is {shown(value)}: {error}.") from None
    return schema(**values)


def converted(value, kind: type):
    """Return `value` as `kind`, a type of KINDS or an optional one.

    Lists and arrays become tuples, and whole numbers floats; a float without a fraction becomes a
    whole number, as people write 1e6.

    Raises:
        ValueError: "must be ..."
    """
    required = required_kind(kind)
    if value is None and kind != required:
        return None
    try:
        return _converted(getattr(value, "tolist", lambda: value)(), required)
    except (TypeError, OverflowError):
        none = " or None" if kind != required else ""
        raise ValueError(f"must be {KINDS[required]}{none}") from None


def required_kind(kind: type) -> type:
    """Return `kind` without its None."""
    parts = [part for part in get_args(kind) if part is not NoneType]
    return parts[0] if NoneType in get_args(kind) else kind


def _converted(value, kind: type):
    """Raise TypeError or OverflowError if `value` is no `kind`."""
    if get_origin(kind) is tuple:
        if not isinstance(value, tuple | list):
            raise TypeError
        parts = get_args(kind)
        parts = (parts[0],) * len(value) if parts[-1] is Ellipsis else parts
        if len(value) != len(parts):
            raise TypeError
        return tuple(map(_converted, value, parts))
    if isinstance(value, bool) != (kind is bool):
        raise TypeError
    if kind is float and isinstance(value, Real):
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, Integral if kind is int else kind):
        raise TypeError
    return int(value) if kind is int else value


def shown(value) -> str:
    """Return the repr of `value`, cut if it is long."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of more than 4300 digits
        return f"a {type(value).__name__}"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def shown_name(name) -> str:
    """Return the name of a field that someone gave in one line, cut if it is long."""
    return repr(str(name))[1:-1][:LONGEST]
