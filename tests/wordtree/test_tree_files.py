import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolojax.wordtree import files
from yolojax.wordtree.files import TreeFile

ANIMALS = TreeFile(("animal", "car", "dog", "cat", "terrier"), (-1, -1, 0, 0, 2))


@st.composite
def trees(draw):
    """Trees in the order of 9k.tree: a random node gets children until there are enough."""
    parents, waiting = [], [-1]
    for size in draw(st.lists(st.integers(1, 4), min_size=1, max_size=6)):
        parent = waiting.pop(draw(st.integers(0, len(waiting) - 1)))
        waiting += range(len(parents), len(parents) + size)
        parents += [parent] * size
    return TreeFile(tuple(f"n{i:08}" for i in range(len(parents))), tuple(parents))


@given(trees())
def test_a_written_tree_is_read_back(tmp_path_factory, tree):
    path = tmp_path_factory.mktemp("tree") / "a.tree"
    files.write_tree(path, tree)
    assert files.read_tree(path) == tree


def test_text_is_darknets(tmp_path):
    files.write_tree(tmp_path / "a.tree", ANIMALS)
    assert (tmp_path / "a.tree").read_text() == "animal -1\ncar -1\ndog 0\ncat 0\nterrier 2\n"


def test_windows_line_ends_are_read(tmp_path):
    (tmp_path / "a.tree").write_bytes(b"animal -1\r\ndog 0\r\n\r\n")
    assert files.read_tree(tmp_path / "a.tree") == (("animal", "dog"), (-1, 0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a -1\nb 0\nc 3\nd 2\n", r":3: node 2 is its own ancestor 3"),
        ("a -1\nb 1\n", r":2: node 1 is its own ancestor 1"),
        ("a -1\nb 2\nc 0\n", r":2: node 1 comes before its parent 2"),
        ("a -1\nb 0\nc 1\nd 0\n", r":4: the children of 0 .* the previous child is in line 2"),
        ("a -1\nb 0\nc -1\n", r":3: the children of -1 must be on successive lines"),
        ("a -1\nb 0\na 0\n", r":3: a is already in line 1"),
        ("a -1\nb 9\n", r":2: the parent must be -1 or one of 0..1"),
        ("a -1\nb -2\n", r":2: the parent must be -1 or one of 0..1"),
        ("a -1\n\nb 0\n", r":2: must be `wnid parent`"),
        ("a -1\nb c 0\n", r":2: must be `wnid parent`"),
        ("a -1\nb 0.5\n", r":2: must be `wnid parent`"),
        ("", r": is empty; must have a line for each node or class"),
    ],
)
def test_a_broken_tree_is_refused_with_its_line(tmp_path, text, message):
    (tmp_path / "a.tree").write_text(text)
    with pytest.raises(ValueError, match=rf"a\.tree{message}"):
        files.read_tree(tmp_path / "a.tree")


def test_nothing_is_written_of_a_broken_tree(tmp_path):
    for tree in (TreeFile(("a", "b"), (1, -1)), TreeFile(("a b",), (-1,))):
        with pytest.raises(ValueError, match=":1: "):
            files.write_tree(tmp_path / "a.tree", tree)
    with pytest.raises(ValueError, match=r"a\.names:2: a name must be one line"):
        files.write_tree(tmp_path / "a.tree", TreeFile(("a", "b"), (-1, 0)), ["a", ""])
    assert not list(tmp_path.iterdir())


def test_a_map_has_a_node_of_each_class(tmp_path):
    files.write_map(tmp_path / "a.map", [4, 0, 4])
    assert files.read_map(tmp_path / "a.map", 5) == (4, 0, 4)
    with pytest.raises(ValueError, match=r"a\.map:1: must be a node, one of 0\.\.3; got '4'"):
        files.read_map(tmp_path / "a.map", 4)
    (tmp_path / "b.map").write_text("0\n-1\n")
    with pytest.raises(ValueError, match=r"b\.map:2: must be a node"):
        files.read_map(tmp_path / "b.map", 4)


def test_labels_are_unique_words(tmp_path):
    path = tmp_path / "a.labels"
    files.write_names(path, ANIMALS.wnids)
    assert files.read_labels(path) == ANIMALS.wnids
    path.write_text("dog\ncat\ndog\n")
    with pytest.raises(ValueError, match=r":3: dog is already in line 1"):
        files.read_labels(path)
    path.write_text("dog\nbig cat\n")
    with pytest.raises(ValueError, match=r":2: must be one word"):
        files.read_labels(path)


def test_names_are_read_next_to_the_tree(tmp_path):
    path = tmp_path / "a.tree"
    tree = TreeFile(("big_cat", "n2"), (-1, 0))
    assert files.read_names_of(path, tree) == ("big cat", "n2")
    files.write_names(tmp_path / "a.names", ["printer", "printer"])  # two senses
    assert files.read_names_of(path, tree) == ("printer", "printer")
    with pytest.raises(ValueError, match=r"a\.names: must have a line for each of 3 nodes; has 2"):
        files.read_node_names(tmp_path / "a.names", 3)
    (tmp_path / "a.names").write_text("printer\n\nprinter\n")
    with pytest.raises(ValueError, match=r"a\.names:2: an empty line"):
        files.read_node_names(tmp_path / "a.names", 3)


def test_names_with_line_breaks_are_refused(tmp_path):
    with pytest.raises(ValueError, match=":2: a name must be one line"):
        files.write_names(tmp_path / "a.names", ["dog", "big\ncat"])


def test_the_shipped_tree_is_found_by_name():
    path = files.find_tree("imagenet1k")
    tree = files.read_tree(path)
    assert len(tree.wnids) == 1369  # the paper, section 4
    assert len(files.read_names_of(path, tree)) == 1369
    licence = (path.parent / "README.md").read_text()
    assert (
        "WordNet 3.0 Copyright 2006 by Princeton University." in licence
    )  # the licence requires it


def test_a_missing_tree_lists_the_shipped_ones():
    with pytest.raises(FileNotFoundError, match=r"none\.tree: no such file.*imagenet1k"):
        files.find_tree("none.tree")


def test_statistics_count_nodes_leaves_and_groups():
    leaves = {0: 1, 1: 1, 2: 1}
    assert files.statistics(ANIMALS) == (5, 3, {1: 1, 2: 2}, {0: 2, 1: 2, 2: 1}, leaves)


def test_lineage_and_subtree():
    assert files.lineage(ANIMALS, 4) == (0, 2, 4)
    assert list(files.subtree(ANIMALS)) == [(0, 0), (1, 2), (2, 4), (1, 3), (0, 1)]
    assert list(files.subtree(ANIMALS, 0, levels=1)) == [(0, 0), (1, 2), (1, 3)]
    assert list(files.subtree(ANIMALS, 4)) == [(0, 4)]
