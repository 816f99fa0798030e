"""Random changes of files, for tests/fuzz.py: of bytes, of words in lines, and of nested values."""

import json
import random
import struct
import zlib
from collections.abc import Callable, Sequence

import yaml

Mutate = Callable[[random.Random, bytes], bytes]

DEEP = 20_000  # levels of nesting
WORDS = (
    "", "0", "-1", "1", "0.5", "2", "1e400", "-1e400", "nan", "inf", "-inf", "1e-400", "0x10",
    "1_0", "99999999999999999999", "9" * 5000, "True", "null", "yes", "~", "a", "a" * 300,
    "a" * 5000, ".", "..", "/", "../../x", "a/../../x", "C:\\x\\y.jpg", "\0", "x\0y", "\udcff",
    "é", "猫", "\u202e", "#", ";", "=", "[", "]", "{", "&a [*a]", "<x>", "&lt;", "%s", "-", "+",
    ",", " ", "\t", "\r", "\n",
)  # fmt: skip
VALUES = (
    None, True, False, 0, 1, -1, 2, 0.5, 1e308, float("nan"), float("inf"), 10**20, 10**400, "",
    "1", "0.5", "cat", "a" * 5000, "\0", "x\0y", "\udcff", "../../x", "/etc/passwd", ".", [],
    [1], [[]],
    {}, {"a": 1}, {"id": 1}, [1, 2, 3, 4], ["1", "2", "3", "4"], [None] * 4, [1e308] * 4,
)  # fmt: skip
BYTES = (b"\0", b"\xff", b"\xfe\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\x7f", b"\x80", b"\r", b"\n")
INTEGERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 40000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    """Change a few places of `data`."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        data = rng.choice(BYTE_CHANGES)(rng, data)
    return data


def _flip(rng, data):
    if not data:
        return data
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def _span(rng, data) -> tuple[int, int]:
    start = rng.randint(0, len(data))
    return start, min(len(data), start + rng.choice((1, 1, 2, 4, 8, 64, len(data))))


def _insert(rng, data):
    at = rng.randint(0, len(data))
    return data[:at] + rng.choice((*BYTES, rng.randbytes(rng.randint(1, 8)))) + data[at:]


def _delete(rng, data):
    start, end = _span(rng, data)
    return data[:start] + data[end:]


def _repeat(rng, data):
    start, end = _span(rng, data)
    return data[:end] + data[start:end] * rng.choice((1, 2, 100)) + data[end:]


def _truncate(rng, data):
    return data[: rng.randint(0, len(data))]


def _integer(rng, data):
    kind = rng.choice(("<H", ">H", "<I", ">I"))
    value = struct.pack(kind, rng.choice(INTEGERS) & (0xFFFF if kind[1] == "H" else 0xFFFFFFFF))
    at = rng.randint(0, max(0, len(data) - len(value)))
    return data[:at] + value + data[at + len(value) :]


BYTE_CHANGES = (_flip, _flip, _insert, _delete, _repeat, _truncate, _integer)


def mutate_png(rng: random.Random, data: bytes) -> bytes:
    """Change bytes of a PNG; half of the time its checksums are corrected, so that they pass."""
    data = mutate_bytes(rng, data)
    if rng.random() < 0.5:
        return data
    at, fixed = 8, data[:8]
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        body = data[at + 4 : at + 8 + length]
        fixed += data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return fixed


def mutate_lines(rng: random.Random, data: bytes) -> bytes:
    """Change words and lines of a text, or sometimes its bytes."""
    if rng.random() < 0.3:
        return mutate_bytes(rng, data)
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(lines))
        change = rng.randrange(6)
        if change == 0:
            lines[at] = _with_other_word(rng, lines[at], " ")
        elif change == 1:
            lines[at] = _with_other_word(rng, lines[at], rng.choice("=,:"))
        elif change == 2:
            lines.insert(at, rng.choice(lines))
        elif change == 3 and len(lines) > 1:
            del lines[at]
        elif change == 4:
            lines[at] += rng.choice((" ", "=", ",", "")) + rng.choice(WORDS)
        else:
            lines[at] = rng.choice(WORDS)
    if rng.random() < 0.02:
        lines *= 200
    text = rng.choice(("\n", "\n", "\n", "\r\n", "\r")).join(lines)
    return text.encode("utf-8", "surrogatepass")


def _with_other_word(rng, line: str, separator: str) -> str:
    words = line.split(separator)
    words[rng.randrange(len(words))] = rng.choice(WORDS)
    return separator.join(words)


def mutate_json(rng: random.Random, data: bytes) -> bytes:
    """Change values, keys and nesting of a JSON document, or sometimes its bytes."""
    if rng.random() < 0.3:
        return mutate_bytes(rng, data)
    text = json.dumps(mutate_value(rng, json.loads(data)))
    if rng.random() < 0.02:
        deep = rng.choice(("[", '{"a":')) * DEEP
        text = text.replace(rng.choice(("1", '"cat"', "[]")), deep, 1)
    return text.encode(rng.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16")), "surrogatepass")


def mutate_json_lines(rng: random.Random, data: bytes) -> bytes:
    """Change one line of a JSON Lines file, or its bytes."""
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    lines[at] = mutate_json(rng, lines[at]) if lines[at] else mutate_bytes(rng, lines[at])
    return b"\n".join(lines)


def mutate_value(rng: random.Random, value):
    """Change a few places in nested lists and dicts."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        value = _changed(rng, value)
    return value


def _changed(rng, value):
    if not isinstance(value, list | dict) or not value or rng.random() < 0.15:
        return rng.choice(VALUES)
    value = value.copy()
    key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
    change = rng.random()
    if change < 0.15:
        del value[key]
    elif change < 0.25 and isinstance(value, dict):
        value[rng.choice(WORDS)] = value.pop(key)
    elif change < 0.25:
        value.append(value[key])
    elif change < 0.45:
        value[key] = rng.choice((str(value[key]), [value[key]], {"x": value[key]}))
    else:
        value[key] = _changed(rng, value[key])
    return value


def mutate_yaml(rng: random.Random, data: bytes) -> bytes:
    """Change values of a YAML document, or its lines."""
    if rng.random() < 0.5:
        return mutate_lines(rng, data)
    value = mutate_value(rng, yaml.safe_load(data))
    if rng.random() < 0.02:
        return b"names: " + b"[" * 5000
    if rng.random() < 0.02:
        levels = "".join(f"x{i + 1}: &x{i + 1} [*x{i}, *x{i}, *x{i}]\n" for i in range(30))
        return f"x0: &x0 [a, b]\n{levels}names: *x30\ntrain: images\n".encode()
    try:
        return yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass")
    except yaml.YAMLError:
        return data


def mutate_xml(rng: random.Random, data: bytes) -> bytes:
    """Change tags, texts, the encoding and the nesting of an XML document, or its bytes."""
    if rng.random() < 0.4:
        return mutate_bytes(rng, data)
    text = data.decode()
    for _ in range(rng.choice((1, 1, 2, 3))):
        parts = text.split("<")
        at = rng.randrange(len(parts))
        tag, close, content = parts[at].partition(">")
        change = rng.randrange(6)
        if change == 0:
            content = rng.choice(WORDS)
        elif change == 1:
            tag = rng.choice(WORDS)
        elif change == 2:
            content += f"<{tag}>"
        elif change == 3:
            content = f"&e;{content}"
        elif change == 4:
            content = "<object>" * rng.choice((1, 3, DEEP)) + content
        else:
            tag, close, content = "", "", ""
        parts[at] = tag + close + content
        text = "<".join(parts)
    if rng.random() < 0.2:
        entity = '<!DOCTYPE a [<!ENTITY e "&f;&f;"><!ENTITY f "xxxxxxxxxx">]>'
        text = rng.choice((entity, "", '<!DOCTYPE a SYSTEM "file:///etc/passwd">')) + text
    declared = rng.choice(("", "utf-8", "utf8", "gb2312", "ANSI", "ISO-8859-1", "utf-16", "zip"))
    if declared:
        text = f'<?xml version="1.0" encoding="{declared}"?>{text}'
    encoding = rng.choice(("utf-8", "utf-8", "gb18030", "utf-16", "utf-8-sig"))
    return text.encode(encoding, "surrogatepass" if encoding != "gb18030" else "ignore")


def spliced(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Join the start of one seed and the end of another."""
    first, second = rng.choice(seeds), rng.choice(seeds)
    return first[: rng.randint(0, len(first))] + second[rng.randint(0, len(second)) :]
