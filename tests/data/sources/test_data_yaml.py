import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from yolojax.data.sources.data_yaml import read_data_yaml


@pytest.fixture
def read(tmp_path):
    """Read a text as data.yaml."""
    path = tmp_path / "data.yaml"

    def read(text):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_data_yaml(path)

    return read


TRAIN = "train: images\n"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("[cat, dog]", ("cat", "dog")),
        ("\n- cat\n- hot dog", ("cat", "hot dog")),
        ("{0: cat, 1: dog}", ("cat", "dog")),
        ("{'1': dog, '0': cat}", ("cat", "dog")),
        ("['yes', \"no\", 'null', '1']", ("yes", "no", "null", "1")),
        ("[1.0, 007, 1e3, 2020-01-01, 0x1F]", ("1.0", "007", "1e3", "2020-01-01", "0x1F")),
        ("[y, n, 'a, b', 猫, !!str no]", ("y", "n", "a, b", "猫", "no")),
    ],
)
def test_names_are_taken_as_they_are_written(read, names, expected):
    assert read(f"{TRAIN}names: {names}\n").names == expected


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "Yes", "NO", "true", "False", "ON"])
def test_a_boolean_is_never_a_name(read, word):
    message = rf"data.yaml: names\[1\]: YAML reads the boolean '{word}'.*quote the name: '{word}'"
    for names in (f"[cat, {word}]", f"{{0: cat, 1: {word}}}", f"\n- cat\n- {word}\n"):
        with pytest.raises(ValueError, match=message):
            read(f"{TRAIN}names: {names}\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", "must have the keys names"),
        ("", "must have the keys names"),
        ("cat", "must have the keys names"),
        ("!!map cat", "not valid YAML|must have the keys names"),
        (TRAIN, "has no names"),
        ("names:\n", "has no names"),
        ("names: cat, dog", r"names: must be a list such as \[cat, dog\].*the text 'cat, dog'"),
        ("names: 2", "names: must be a list.*the number '2'"),
        ("names: []", "no class names"),
        ("names: [cat, ~]", r"names\[1\]: YAML reads the empty value '~'.*quote the name"),
        ("names:\n- cat\n-\n", r"names\[1\]: YAML reads the empty value in line 3.*write a name"),
        ("names: [cat, [dog]]", r"names\[1\]: must be the name of a class, got a list in line 1"),
        ("names: [cat, {dog: 1}]", r"names\[1\]: must be the name of a class, got a mapping"),
        ("names: [cat, '']", r"names\[1\]: is empty"),
        ("names: [cat, ' ']", r"names\[1\]: is empty"),
        ('names: [cat, "a\\nb"]', r"has the character '\\n' in 'a\\nb'"),
        ('names: [cat, "a\\ud800"]', r"has the character '\\ud800'"),
        ("names: [a, b, a]", r"unique, repeated: \['a'\]"),
        ("names: {1: cat, 2: dog}", r"keys must be 0\.\.1, got 1, 2\. Labels count from 0"),
        ("names: {0: cat, 2: dog}", r"keys must be 0\.\.1, got 0, 2\.$"),
        ("names: {0: cat, 0: dog}", "once each, got the number '0'"),
        ("names: {0: cat, '00': dog}", "once each, got the text '00'"),
        ("names: {cat: 0, dog: 1}", r"keys must be 0, 1, 2.*the text 'cat'"),
        (f"names: {{{'9' * 500}: cat}}", "keys must be 0, 1, 2"),
        ("names: [a]\nnc: 2", "nc is 2, but there are 1 names"),
        ("names: [a]\nnc: two", "nc is two, but there are 1 names"),
        (f"names: [a]\nnc: {'9' * 5000}", "nc is 9999"),
        ("names: [a]\nnc: [1]", "nc must be the number of names, got a list"),
        ("names: [a]\nnc: 1.0", "nc must be the number of names, got the number '1.0'"),
        ("names: [a]\ntrain: 5", "train: must be a path as text.*got the number '5'"),
        ("names: [a]\ntrain: yes", "train: must be a path as text.*got the boolean 'yes'"),
        ("names: [a]\nval: [x, [y]]", r"val\[1\]: must be a path as text.*got a list"),
        ("names: [a]\nval: [x, ~]", r"val\[1\]: must be a path as text.*got the empty value"),
        ("names: [a]\ntest: {a: b}", "test: must be a path as text.*got a mapping"),
        ("names: [a]\npath: [x]", "path: must be a path as text.*got a list"),
        ('names: [a]\ntrain: "a\\0b"', r"train: has the character '\\x00' in 'a\\x00b'"),
        ("names: [a]\ntrain: !!python/object/apply:os.getcwd []", "train: must be a path as text"),
        ("names: [a]\ntrain: x\ntrain: y", "the key 'train' is there twice, line 3"),
        ("names: [a]\nval: x\nvalid: y", "val and valid are the same split"),
        ("names: [a]\n<<: {train: x}", "merge key << is not read"),
        ("names: [a]\nkpt_shape: 17", "kpt_shape must be two numbers"),
        ("names: [a", "not valid YAML"),
        ("names:\n\t- cat", "not valid YAML"),
        ('names: ["\\Uffffffff"]', "not valid YAML"),
        ("%YAML " + "9" * 5000 + ".1\n---\n", "not valid YAML"),
        ("names: " + 2000 * "[", "not valid YAML: nested too deeply"),
        ("names: &a [*a]", r"names\[0\]: must be the name of a class, got a list"),
        (b"names: [k\xe4se]\n", "data.yaml:1: must be a text file in UTF-8"),
        (b"names: [a]\n\0", "data.yaml:2: .*NUL"),
        (b"\xff\xfen\0a", "data.yaml:1: must be a text file"),
        ("#" + 600_000 * "x", "longer than 600,000 bytes"),
    ],
)
def test_a_defect_is_named_with_file_and_key(read, text, message):
    with pytest.raises(ValueError, match=message) as error:
        read(text)
    assert "data.yaml" in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000


def test_splits_are_text_or_lists(read):
    text = "names: [a]\nvalid: x/y\ntrain: [images\\a, b.txt]\ntest:\nvalidation: ~\npath: p\n"
    content = read(text + "download: [1, {}]\n1: 2\n[a]: b\n")
    assert content.entries == {"train": ["images\\a", "b.txt"], "val": ["x/y"]}
    assert content.path == "p"
    empty = read("names: [a]\npath: ''\ntrain: \"\"\nval: []\nnc: ''\n")
    assert (empty.path, empty.entries) == ("", {})
    assert content.keypoint_numbers == 0
    assert read("names: [a]\nkpt_shape: [17, 3]").keypoint_numbers == 51


def test_other_encodings_and_aliases(read):
    text = "train: &images images\nval: *images\nnames: [käse]\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        content = read(text.encode(encoding))
        assert content.names == ("käse",)
        assert content.entries == {"train": ["images"], "val": ["images"]}


def test_repeated_aliases_take_neither_time_nor_memory(read):
    levels = "".join(f"a{i + 1}: &a{i + 1} [{', '.join(9 * [f'*a{i}'])}]\n" for i in range(30))
    start = time.monotonic()
    with pytest.raises(ValueError, match=r"names\[0\]: must be the name of a class, got a list"):
        read(f"a0: &a0 [x]\n{levels}names: *a30\n")
    merged = "".join(f"a{i + 1}: &a{i + 1} {{<<: [{9 * f'*a{i}, '}]}}\n" for i in range(30))
    with pytest.raises(ValueError, match="has no names"):
        read(f"a0: &a0 {{x: y}}\n{merged}")
    assert time.monotonic() - start < 2


name = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), min_size=1)


@settings(max_examples=50, deadline=None)
@given(st.lists(name.map(str.strip).filter(bool), min_size=1, max_size=5, unique=True))
def test_names_survive_a_writer_of_yaml(tmp_path_factory, names):
    path = tmp_path_factory.mktemp("yaml") / "data.yaml"
    path.write_text(yaml.safe_dump({"names": names, "nc": len(names)}, allow_unicode=True), "utf-8")
    assert read_data_yaml(path).names == tuple(names)
