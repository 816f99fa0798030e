import pytest
from wordtree_cases import write_wordnet

from yolojax.cli.main import main
from yolojax.wordtree import files


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(text):
    return main(["tree", *text.split()])


def test_a_tree_is_built_from_wordnet(here, capsys):
    write_wordnet(here)
    (here / "labels.txt").write_text("n00000015\nn00000016\nn00000017\nn00000022\n")
    command = "build --wordnet . --labels labels.txt --root n00000002 --out x.tree"
    assert run(command) == 0
    out = capsys.readouterr().out
    assert "x.tree: 4 labels and 2 nodes that connect them" in out
    assert "6 nodes, 4 of them leaves; 3 groups of siblings, up to 2 in one; 3 levels" in out
    tree = files.read_tree("x.tree")
    assert files.read_names_of("x.tree", tree)[0] == "canine"
    assert run(command) == 1
    assert "exists already" in capsys.readouterr().err
    assert run(f"{command} --force --without contraction") == 0
    assert (
        "6 nodes that connect" in capsys.readouterr().out
    )  # animal, canine, dog, terrier; tool, saw


def test_rehang_puts_labels_below_the_root(here, capsys):
    write_wordnet(here)
    (here / "labels.txt").write_text("n00000017\nn00000030\n")
    command = "build --wordnet . --labels labels.txt --root n00000002 --out x.tree"
    assert run(command) == 1
    assert "n00000030 (idea)" in capsys.readouterr().err
    (here / "own.csv").write_text("n00000030,n00000012\n")
    assert run(f"{command} --rehang own.csv") == 0
    assert files.read_tree("x.tree").wnids == ("n00000012", "n00000017", "n00000030")
    (here / "own.csv").write_text("n00000030,n9\n")
    assert run(f"{command} --rehang own.csv --force") == 1
    assert "own.csv: n9 is not in" in capsys.readouterr().err


def test_build_from_nested_names_needs_no_labels(here, capsys):
    (here / "a.yaml").write_text("animal:\n  dog: [big terrier, poodle]\n  cat:\nvehicle: car\n")
    assert run("build --nested a.yaml --out a.tree") == 0
    tree = files.read_tree("a.tree")
    assert tree == (("animal", "car", "dog", "cat", "big_terrier", "poodle"), (-1, -1, 0, 0, 2, 2))
    assert files.read_names_of("a.tree", tree)[4] == "big terrier"


def test_labels_of_several_files_are_joined_without_repeats(here, capsys):
    (here / "a.csv").write_text("horse,\nsorrel,horse\ncow,\n")
    (here / "a.txt").write_text("sorrel\ncow\n")
    (here / "b.txt").write_text("horse\ncow\n")
    command = "build --csv a.csv --out a.tree --labels a.txt b.txt"
    assert run(command) == 0
    assert "3 labels and 0 nodes" in capsys.readouterr().out
    assert files.read_tree("a.tree") == (("horse", "cow", "sorrel"), (-1, -1, 0))
    assert run(f"{command} --force --promotion") == 0
    assert files.read_tree("a.tree").parents == (-1, -1, -1)


def test_tree_and_names_are_written_together(here, capsys):
    (here / "a.csv").write_text("dog,\n")
    (here / "a.tree").mkdir()
    assert run("build --csv a.csv --out a.tree --force") == 1
    assert "a.tree: is a folder, not a file" in capsys.readouterr().err
    assert sorted(path.name for path in here.iterdir()) == ["a.csv", "a.tree"]


def test_the_shipped_tree_can_be_shown(capsys):
    assert run("show imagenet1k --node schnauzer") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("canine > dog > hunting dog > terrier > schnauzer")
    assert [line.split("  n")[0] for line in lines[1:]] == [
        "schnauzer",
        "  miniature schnauzer",
        "  giant schnauzer",
        "  standard schnauzer",
    ]
    assert run("show imagenet1k --levels 0") == 0
    assert capsys.readouterr().out == "object  n00002684 0\nmatter  n00020827 1\n"


def test_the_shipped_tree_is_counted(capsys):
    assert run("stats imagenet1k") == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "1369 nodes, 1000 of them leaves; 370 groups of siblings, up to 28 in one"
    )
    rows = [line.split() for line in out.splitlines()]
    assert ["0", "2", "0"] in rows
    assert ["1", "5", "1"] in rows
    assert rows[-1] == ["28", "1"]


def test_negative_levels_are_refused(capsys):
    with pytest.raises(SystemExit):
        run("show imagenet1k --levels -3")
    assert "argument --levels: must be 0 or more; got -3" in capsys.readouterr().err


def test_a_class_may_start_with_a_number_sign(here):
    (here / "a.tree").write_text("n1 -1\nn2 -1\n")
    (here / "own.names").write_text("#1 sign\n")
    command = "map --tree a.tree --names own.names --out own.map"
    assert run(command) == 1
    todo = here / "own.map.todo"
    todo.write_text(todo.read_text().replace("#1 sign = ?", "#1 sign = n2"))
    assert run(f"{command} --choices own.map.todo") == 0
    assert files.read_map("own.map", 2) == (1,)


def test_ambiguous_classes_are_decided_in_a_file(here, capsys):
    (here / "a.tree").write_text("animal -1\ntool -1\nn3 0\ndog 0\nn5 1\n")
    (here / "a.names").write_text("animal\ntool\nbat\ndog\nbat\n")
    (here / "own.names").write_text("Dogs\nbat\nzebu\n")
    command = "map --tree a.tree --names own.names --out own.map"
    assert run(command) == 1
    assert "1 of 3 classes have one clear node" in capsys.readouterr().err
    todo = here / "own.map.todo"
    assert not (here / "own.map").exists()
    assert (
        "bat = ?\n#   n3  animal > bat\n#   n5  tool > bat\n\nzebu = ?\n#   no" in todo.read_text()
    )
    assert "Dogs = dog\n#   dog  animal > dog\n" in todo.read_text()
    assert run(command) == 1
    assert "exists already; give it as --choices" in capsys.readouterr().err

    todo.write_text(todo.read_text().replace("bat = ?", "bat = n5"))
    assert run(f"{command} --choices own.map.todo") == 1
    assert "own.map.todo: not decided yet: zebu." in capsys.readouterr().err
    todo.write_text(todo.read_text().replace("zebu = ?", "zebu = animal"))
    assert run(f"{command} --choices own.map.todo") == 0
    assert files.read_map("own.map", 5) == (3, 4, 0)
    assert "bat   4  tool > bat\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("bat", "c:1: must be `class = node`; got 'bat'"),
        ("bta = n3", "c:1: no class 'bta'. Did you mean 'bat'?"),
        ("bat = n3\nbat = n5", "c:2: 'bat' is already in line 1"),
        ("bat = bat", "c:1: several nodes have the name 'bat'; write one of n3, n5"),
        ("bat = bird", "c:1: no node has the name, wnid or number 'bird'"),
    ],
)
def test_a_wrong_choice_is_refused_with_its_line(here, capsys, line, message):
    (here / "a.tree").write_text("n3 -1\nn5 -1\n")
    (here / "a.names").write_text("bat\nbat\n")
    (here / "own.names").write_text("bat\n")
    (here / "c").write_text(line)
    assert run("map --tree a.tree --names own.names --out own.map --choices c") == 1
    assert message in capsys.readouterr().err
    assert not (here / "own.map").exists()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("build --out x.tree", "--labels is needed with WordNet"),
        ("build --csv a.csv --out x.txt", "--out must end in .tree"),
    ],
)
def test_misuse_is_refused(here, monkeypatch, capsys, command, message):
    monkeypatch.setenv("WORDNET_DIR", str(write_wordnet(here)))
    assert run(command) == 2
    assert message in capsys.readouterr().err


def test_help_lists_the_steps(capsys):
    with pytest.raises(SystemExit):
        run("build --help")
    out = " ".join(capsys.readouterr().out.split())
    assert "one path would add three edges to our tree" in out
    for step in ("growth", "contraction", "patches"):
        assert f"{step}: " in out
