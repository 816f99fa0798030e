import pytest
from wordtree_cases import SYNSETS, write_wordnet

from yolojax.wordtree import hierarchy


def test_wordnet_is_read(tmp_path):
    concepts = hierarchy.read_wordnet(write_wordnet(tmp_path))
    assert list(concepts.parents) == list(SYNSETS)
    assert concepts.names["n00000015"] == ("Yorkshire terrier",)
    assert concepts.names["n00000010"] == ("animal", "beast")
    assert concepts.parents["n00000001"] == ()
    assert concepts.parents["n00000013"] == ("n00000012", "n00000011")  # by name: canine, pet


def test_instances_have_parents_and_parts_do_not(tmp_path):
    text = (
        "00000001 03 n 01 river 0 000 | a stream\n00000002 03 n 01 Rhine 0 002 @i 00000001 n 0000"
    )
    (tmp_path / "data.noun").write_text(f"{text} #p 00000001 n 0000 | a river @ 00000009\n")
    assert hierarchy.read_wordnet(tmp_path).parents["n00000002"] == ("n00000001",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("00000001 03 n 01 dog 0 001 @ 00000002", r":1: not a synset of WordNet"),
        ("00000001 03 v 01 go 0 000 | to move", r":1: not a synset of WordNet"),
        ("dog", r":1: not a synset of WordNet: 'dog'"),
        ("00000001 03 n 01 dog 0 001 @ 00000002 n 0000 | x", r"n00000001 points to n00000002"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    (tmp_path / "data.noun").write_text(text + "\n")
    with pytest.raises(ValueError, match=message):
        hierarchy.read_wordnet(tmp_path)


def test_wordnet_is_found_in_the_given_folder(tmp_path, monkeypatch):
    write_wordnet(tmp_path)
    assert hierarchy.find_wordnet(tmp_path) == tmp_path
    monkeypatch.setenv("WORDNET_DIR", str(tmp_path))
    assert hierarchy.find_wordnet() == tmp_path
    monkeypatch.setenv("WORDNET_DIR", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match=r"no data\.noun .*none; install it"):
        hierarchy.find_wordnet()


def test_csv_yaml_and_json_are_equivalent(tmp_path):
    (tmp_path / "a.csv").write_text(
        'child,parent\nanimal,\nbig cat,animal\n"lion",big cat\ntiger,big cat\ndog,animal\n'
    )
    (tmp_path / "a.yaml").write_text("animal:\n  big cat: [lion, tiger]\n  dog:\n")
    (tmp_path / "a.json").write_text('{"animal": [{"big cat": ["lion", "tiger"]}, "dog"]}')
    expected = {
        "animal": (),
        "big_cat": ("animal",),
        "lion": ("big_cat",),
        "tiger": ("big_cat",),
        "dog": ("animal",),
    }
    for concepts in (
        hierarchy.read_csv(tmp_path / "a.csv"),
        hierarchy.read_nested(tmp_path / "a.yaml"),
        hierarchy.read_nested(tmp_path / "a.json"),
    ):
        assert concepts.parents == expected
        assert concepts.names["big_cat"] == ("big cat",)


def test_several_lines_are_several_parents(tmp_path):
    (tmp_path / "a.csv").write_text("dog,canine\ndog,pet\n")
    assert hierarchy.read_csv(tmp_path / "a.csv").parents["dog"] == ("canine", "pet")


def test_yaml_values_are_read_as_names(tmp_path):
    (tmp_path / "a.yaml").write_text("no: [1, yes, null]\n")
    concepts = hierarchy.read_nested(tmp_path / "a.yaml")
    assert concepts.parents == {"no": (), "1": ("no",), "yes": ("no",)}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "dog,animal\ndog\n", r"a\.csv:2: must be `child,parent`; got 'dog'"),
        ("a.csv", ",animal\n", r"a\.csv:1: must be"),
        ("a.csv", "child,parent\n", r"a\.csv: no concepts"),
        ("a.csv", "a,b\nb,c\nc,a\n", r"a\.csv: a concept must not be its own ancestor: "),
        (
            "a.yaml",
            "dog: dog\n",
            r"a\.yaml:1: 'dog' is in line 1 \(at the top\) and in line 1 \(below dog",
        ),
        (
            "a.yaml",
            "a:\n  b:\n  c:\n  b:\n",
            r"a\.yaml:4: 'b' is in line 2 \(below a\) and in line 4",
        ),
        ("a.yaml", "a: [b\n", r"a\.yaml: not valid YAML or JSON"),
        (
            "a.yaml",
            "bird:\n  crane:\nmachine: [lift, crane]\n",
            r"a\.yaml:3: 'crane' is in line 2 \(below bird\) and in line 3 \(below machine\)\. "
            r"Give two concepts two names .* or write a CSV",
        ),
        ("a.json", '["big cat", "big_cat"]', r"a\.json:1: 'big_cat' is in"),
        ("a.yaml", "a: &x [b]\nc: *x\n", r"a\.yaml:1: 'b' is in line 1 \(below a\)"),
        ("a.yaml", "[a]: b\n", r"a\.yaml:1: a key must be the name"),
        ("a.yaml", "", r"a\.yaml: no concepts"),
        ("a.yaml", "a: &x [*x]\n", r"a\.yaml: is nested too deeply"),
    ],
)
def test_a_broken_hierarchy_is_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    read = hierarchy.read_csv if name.endswith("csv") else hierarchy.read_nested
    with pytest.raises(ValueError, match=message):
        read(tmp_path / name)


def test_rehang_replaces_parents():
    concepts = hierarchy.named_hierarchy([("dog", "canine"), ("canine", ""), ("pet", "")], "test")
    moved = hierarchy.rehang(concepts, {"dog": ("pet",), "unknown": ("pet",)})
    assert moved.parents == {"canine": (), "dog": ("pet",), "pet": ()}
    with pytest.raises(ValueError, match="own ancestor"):
        hierarchy.rehang(concepts, {"canine": ("dog",)})
