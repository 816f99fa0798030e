import pytest

from yolojax.wordtree import survey
from yolojax.wordtree.files import TreeFile

#      animal            car
#   dog      cat
# terrier
TREE = TreeFile(("n1", "n2", "n3", "n4", "n5"), (-1, -1, 0, 0, 2))
NAMES = ("animal", "car", "dog", "cat", "terrier")


def test_nodes_are_counted():
    assert survey.statistics(TREE) == (5, 3, {1: 1, 2: 2}, {0: 2, 1: 2, 2: 1}, {0: 1, 1: 1, 2: 1})


def test_a_node_is_found_by_id_number_and_name():
    for text in ("n5", "4", "terrier", "Terrier"):
        assert survey.find_nodes(TREE, NAMES, text) == [4]
    assert survey.find_nodes(TREE, ("dog", "car", "dog", "cat", "x"), "dog") == [0, 2]
    with pytest.raises(ValueError, match=r"'terier'\. Did you mean 'terrier'"):
        survey.find_nodes(TREE, NAMES, "terier")


def test_the_way_to_a_node():
    assert survey.lineage(TREE, 4) == (0, 2, 4)
    assert survey.way(TREE, NAMES, 4) == "animal > dog > terrier"
    assert survey.way(TREE, NAMES, 4, last=2) == "... > dog > terrier"
    assert survey.way(TREE, NAMES, 1, last=2) == "car"


def test_what_is_below_a_node():
    assert list(survey.below(TREE)) == [(0, 0), (1, 2), (2, 4), (1, 3), (0, 1)]
    assert list(survey.below(TREE, 0, levels=1)) == [(0, 0), (1, 2), (1, 3)]
    assert list(survey.below(TREE, 4)) == [(0, 4)]
