"""data.yaml, the description of a data set in the format of YOLOv5 and later tools.

The grammar, within YAML 1.1 in UTF-8 or UTF-16, of the keys that are read; other keys are ignored:

    path: TEXT                          the folder where the other paths start
    train: PLACE, or a list of PLACE    a folder of pictures, or a text file that lists them
    val, test: as train                 valid and validation are other names of val
    nc: INTEGER                         the number of names
    names: a list of NAME, or a mapping 0: NAME, 1: NAME, ... of all numbers from 0
    kpt_shape: [INTEGER, INTEGER]       keypoints of an object, numbers of a keypoint

TEXT and PLACE are YAML text, NAME is text or a number, which is taken as it is written (1.0 is the
name "1.0"). YAML reads yes, no, on, off, true and false without quotes as booleans, and ~ and
nothing as null: no name may be one of them. Names are one line each, not empty, and unique. No key
may come twice, and << is not read. A key without a value counts as missing.
"""

import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import yaml

from yolojax.data.parsing import check_names
from yolojax.files import check_length, read_utf8

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
MAX_YAML = 600_000  # bytes; 20,000 names have fewer, and PyYAML takes a second for 200 kB
MAX_DEPTH = 50  # levels of nesting
TAG = "tag:yaml.org,2002:"
KINDS = {
    "str": "the text",
    "int": "the number",
    "float": "the number",
    "timestamp": "the date",
    "bool": "the boolean",
    "null": "the empty value",
    "seq": "a list",
    "map": "a mapping",
}
NAME_KINDS = ("str", "int", "float", "timestamp", "value")  # "value" is the text =
NOT_TEXT = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")


class DataYaml(NamedTuple):
    """The content of a data.yaml."""

    names: tuple[str, ...]
    entries: dict[str, list[str]]  # split: its folders and lists of pictures
    path: str  # "": not given
    keypoint_numbers: int  # in each line of a label file, after the box


def read_data_yaml(path: Path) -> DataYaml:
    """Read a data.yaml; the grammar is in the docstring of this file.

    The YAML nodes are read, not the values that PyYAML makes of them, as the nodes have the text as
    it is written, and as repeated aliases in them take no memory.

    Raises:
        ValueError: the file cannot be read, or breaks the grammar; the message names file and key.
    """
    keys = _mapping(_root(path), str(path))
    names = keys.pop("names", None)
    if names is None:
        raise ValueError(f"{path}: has no names; add a line such as `names: [cat, dog]`.")
    classes = check_names(_names(names, f"{path}: names"), path)
    _check_count(keys.get("nc"), classes, path)
    entries = {
        split: _places(keys[key], f"{path}: {key}")
        for split, key in keys_of_splits(keys, path).items()
    }
    root = _text(keys["path"], f"{path}: path") if "path" in keys else ""
    given = {split: places for split, places in entries.items() if places}
    return DataYaml(classes, given, root, _keypoint_numbers(keys.get("kpt_shape"), path))


def keys_of_splits(keys: Collection[str], path: Path) -> dict[str, str]:
    """Map train, val and test to the one of `keys` that has this split, if there is one.

    Raises:
        ValueError: two keys have the same split.
    """
    found: dict[str, str] = {}
    for key, split in SPLITS.items():
        if key in keys and found.setdefault(split, key) != key:
            raise ValueError(f"{path}: {found[split]} and {key} are the same split; remove one.")
    return found


class _Loader(yaml.SafeLoader):
    """Stops at deep nesting, where PyYAML is slow and ends with a RecursionError."""

    depth = 0

    def fetch_flow_collection_start(self, token):
        """Read a [ or {; PyYAML reads up to 1024 of them before the first node is composed."""
        if self.flow_level == MAX_DEPTH:
            raise yaml.YAMLError("nested too deeply")
        super().fetch_flow_collection_start(token)

    def compose_node(self, parent, index):
        """Compose a node and what is in it."""
        if self.depth == MAX_DEPTH:
            raise yaml.YAMLError("nested too deeply")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _root(path: Path) -> yaml.Node:
    """Parse the file -> its uppermost node."""
    text = read_utf8(path)
    check_length(len(text), path, MAX_YAML)
    try:
        node = yaml.compose(text, Loader=_Loader)
    # PyYAML raises the others for numbers that are too large in escapes and directives.
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        words = " ".join(str(error).split()).replace(' in "<unicode string>",', "")
        raise ValueError(f"{path}: not valid YAML: {words}.") from error
    if _kind(node) != "map":
        raise ValueError(
            f"{path}: must have the keys names (a list or 0: name, ...), train and val."
        )
    return node


def _kind(node: yaml.Node | None) -> str:
    """Return the YAML type of a node: str, int, float, bool, null, seq, map, ... or "other"."""
    if node is None:
        return "null"
    kind = node.tag.removeprefix(TAG)
    form = {"seq": yaml.SequenceNode, "map": yaml.MappingNode}.get(kind, yaml.ScalarNode)
    return kind if isinstance(node, form) else "other"


def _shown(node: yaml.Node) -> str:
    """Describe a value for a message, briefly."""
    kind = KINDS.get(_kind(node), "a value of another type")
    text = f" {node.value[:40]!r}" if isinstance(node, yaml.ScalarNode) and node.value else ""
    return f"{kind}{text} in line {node.start_mark.line + 1}"


def _mapping(node: yaml.Node, place: str) -> dict[str, yaml.Node]:
    """Return the values of the text keys of a mapping, without those that are null or empty."""
    values: dict[str, yaml.Node] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        if _kind(key) == "merge":
            raise ValueError(f"{place}: the merge key << is not read; write the keys themselves.")
        if key.value in values:
            raise ValueError(
                f"{place}: the key {key.value[:40]!r} is there twice, "
                f"line {key.start_mark.line + 1}; remove one."
            )
        values[key.value] = value
    return {k: v for k, v in values.items() if _kind(v) != "null" and v.value != ""}


def _names(node: yaml.Node, place: str) -> list[str]:
    if _kind(node) == "seq":
        return [_name(item, f"{place}[{i}]") for i, item in enumerate(node.value)]
    if _kind(node) != "map":
        raise ValueError(
            f"{place}: must be a list such as [cat, dog] or a mapping from 0, got {_shown(node)}."
        )
    by_label: dict[int, yaml.Node] = {}
    for key, value in node.value:
        number = isinstance(key, yaml.ScalarNode) and re.fullmatch("[0-9]{1,9}", key.value)
        if not number or int(key.value) in by_label:
            raise ValueError(
                f"{place}: the keys must be 0, 1, 2, ... once each, got {_shown(key)}."
            )
        by_label[int(key.value)] = value
    if by_label.keys() != set(range(len(by_label))):
        from_one = by_label.keys() == set(range(1, len(by_label) + 1))
        some = ", ".join(map(str, sorted(by_label)[:5])) + (", ..." if len(by_label) > 5 else "")
        way_out = " Labels count from 0; subtract 1 from each key." if from_one else ""
        raise ValueError(f"{place}: the keys must be 0..{len(by_label) - 1}, got {some}.{way_out}")
    return [_name(by_label[label], f"{place}[{label}]") for label in range(len(by_label))]


def _name(node: yaml.Node, place: str) -> str:
    if _kind(node) in ("bool", "null"):
        quoted = f"quote the name: {node.value[:40]!r}" if node.value else "write a name"
        raise ValueError(f"{place}: YAML reads {_shown(node)} here; {quoted}.")
    if _kind(node) not in NAME_KINDS:
        raise ValueError(f"{place}: must be the name of a class, got {_shown(node)}.")
    return check_text(node.value.strip(), place)


def _text(node: yaml.Node, place: str) -> str:
    if _kind(node) != "str":
        raise ValueError(
            f"{place}: must be a path as text, in quotes if need be, got {_shown(node)}."
        )
    return check_text(node.value, place)


def _places(node: yaml.Node, place: str) -> list[str]:
    if _kind(node) == "seq":
        return [_text(item, f"{place}[{i}]") for i, item in enumerate(node.value)]
    return [_text(node, place)]


def check_text(text: str, place: str) -> str:
    """Return `text` if it is one line that can be a name or a path.

    Raises:
        ValueError: it is empty, or has control characters or surrogates; `place` is named.
    """
    if found := NOT_TEXT.search(text):
        raise ValueError(f"{place}: has the character {found[0]!r} in {text[:60]!r}; remove it.")
    if not text:
        raise ValueError(f"{place}: is empty.")
    return text


def _check_count(node: yaml.Node | None, names: tuple[str, ...], path: Path) -> None:
    if node is None:
        return
    if _kind(node) not in ("int", "str"):
        raise ValueError(f"{path}: nc must be the number of names, got {_shown(node)}.")
    if node.value.strip() != str(len(names)):
        shown = node.value[:40]
        raise ValueError(f"{path}: nc is {shown}, but there are {len(names)} names.")


def _keypoint_numbers(node: yaml.Node | None, path: Path) -> int:
    """Return how many numbers a line has for its keypoints."""
    if node is None:
        return 0
    sides = node.value if _kind(node) == "seq" else []
    if len(sides) != 2 or not all(
        _kind(side) == "int" and re.fullmatch("[0-9]{1,3}", side.value) for side in sides
    ):
        raise ValueError(f"{path}: kpt_shape must be two numbers such as [17, 3].")
    return int(sides[0].value) * int(sides[1].value)
