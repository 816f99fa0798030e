from pathlib import Path

import pytest
from wordtree_cases import SYNSETS, write_wordnet

from yolojax.data.parsing import read_names
from yolojax.wordtree import files, survey, wordnet
from yolojax.wordtree.files import TreeFile
from yolojax.wordtree.matching import match_classes

DARKNET = Path("/usr/share/darknet/data")  # Debian's package darknet
# Of the concepts in the cases; canine and pet are not in it.
WNIDS = tuple(f"n000000{i}" for i in (10, 20, 13, 18, 22, 23, 14))
TREE = TreeFile(WNIDS, (-1, -1, 0, 0, 1, 1, 2))
NAMES = tuple(SYNSETS[wnid][0][0].replace("_", " ") for wnid in WNIDS)
ANIMAL, TOOL, DOG, CAT, CHAIN_SAW, CATERPILLAR, TERRIER = range(7)


@pytest.fixture
def hierarchy(tmp_path):
    return wordnet.read_wordnet(write_wordnet(tmp_path))


def match(name, hierarchy=None):
    return match_classes([name], TREE, NAMES, hierarchy)[0]


@pytest.mark.parametrize("name", ["chain saw", "Chain_Saw", "chainsaw", "chain-saw", "chain saws"])
def test_ways_of_writing_do_not_count(name):
    assert match(name).node == CHAIN_SAW


def test_synonyms_come_from_wordnet(hierarchy):
    assert match("beast") == (None, ())
    assert match("beast", hierarchy).node == ANIMAL


def test_a_name_with_two_meanings_is_to_be_decided(hierarchy):
    assert match("cat").node == CAT  # so it seems without synonyms
    assert match("cat", hierarchy) == (None, (CAT, CATERPILLAR))


def test_the_only_kind_of_a_class_is_a_candidate(hierarchy):
    assert match("saw", hierarchy) == (None, (CHAIN_SAW, TOOL))


def test_what_the_tree_does_not_have_has_the_node_above_as_candidate(hierarchy):
    assert match("Norfolk terrier", hierarchy) == (None, (TERRIER,))
    assert match("wolf", hierarchy) == (None, (ANIMAL,))  # canine is not in the tree


def test_a_synonym_yields_to_the_usual_name_of_something_else(hierarchy):
    # "tool" the tree has; take it away and "beast" in its place: then it may mean either.
    names = {**hierarchy.names, "n00000017": ("beast",)}
    assert match("beast", hierarchy._replace(names=names)) == (None, (ANIMAL,))


def test_a_wnid_is_its_node():
    assert match("n00000018").node == CAT


def test_names_without_letters_and_digits_mean_themselves():
    tree = TreeFile(("n1", "n2"), (-1, -1))
    symbols = match_classes(["zebra", "+", "-", "s"], tree, ("+", "*"))
    assert symbols == [(None, ()), (0, (0,)), (None, ()), (None, ())]


def test_the_last_word_is_a_hint_and_no_more(hierarchy):
    assert match("guide dog") == (None, (DOG,))
    assert match("guide robot") == (None, ())


def test_coco_comes_to_the_nodes_of_the_authors():
    try:
        real = wordnet.read_wordnet(wordnet.find_wordnet())
        tree = files.read_tree(files.find_tree(DARKNET / "9k.tree"))
    except FileNotFoundError as error:
        pytest.skip(str(error))
    names = files.names_beside(DARKNET / "9k.tree", tree)
    chosen = files.read_map(DARKNET / "coco9k.map", len(names))
    matches = match_classes(read_names(DARKNET / "coco.names"), tree, names, real)
    taken = [(m.node, node) for m, node in zip(matches, chosen, strict=True) if m.node is not None]
    asked = [
        (m.candidates, node) for m, node in zip(matches, chosen, strict=True) if m.node is None
    ]
    assert len(taken) == 46
    assert sum(node == other for node, other in taken) == 41
    near = (
        other in survey.lineage(tree, a) or a in survey.lineage(tree, other) for a, other in taken
    )
    assert sum(near) == 45  # all but tvmonitor, a television monitor where the authors say display
    assert sum(node in candidates for candidates, node in asked) == 25


def test_coco_comes_to_the_nodes_of_the_authors_by_names_alone():
    try:
        tree, names = files.read_named_tree(DARKNET / "9k.tree")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    chosen = files.read_map(DARKNET / "coco9k.map", len(names))
    matches = match_classes(read_names(DARKNET / "coco.names"), tree, names)
    taken = [m.node == node for m, node in zip(matches, chosen, strict=True) if m.node is not None]
    assert (len(taken), sum(taken)) == (47, 41)
    asked = [
        node in m.candidates for m, node in zip(matches, chosen, strict=True) if m.node is None
    ]
    assert (len(asked), sum(asked)) == (33, 15)
