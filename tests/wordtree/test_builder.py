import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wordtree_cases import write_wordnet

from yolojax.data.class_names import imagenet_wnids
from yolojax.wordtree import builder, files, hierarchy
from yolojax.wordtree.hierarchy import WORDNET_ROOT, named_hierarchy, rehang

SHARED = Path(__file__).parents[3] / "shared"
DARKNET = Path("/usr/share/darknet/data")  # Debian's package darknet
THING = "n00000002"


def parents(tree):
    """{node: parent or None} by id."""
    return {w: tree.wnids[p] if p >= 0 else None for w, p in zip(*tree, strict=True)}


def build(pairs, labels, **options):
    """Build from "child parent" words -> {node: parent}."""
    edges = [tuple(pair.split()) if " " in pair else (pair, "") for pair in pairs]
    return parents(builder.build_tree(named_hierarchy(edges, "test"), labels.split(), **options))


def test_concepts_with_one_path_are_added_first():
    # c is a kind of x and of y; d, a kind of y alone, has brought y in: y needs one node, x two.
    pairs = ("x r", "y r", "c x", "c y", "d y", "e r")
    assert build(pairs, "c d e", root="r") == {"y": None, "e": None, "c": "y", "d": "y"}
    assert build(pairs, "c d e", root="r", without=["growth"])["c"] is None  # x: first, contracted


def test_the_path_that_adds_fewer_nodes_wins_over_a_shorter_one():
    # The paper's example: three edges against one.
    pairs = ("l1 r", "l2 l1", "l3 l2", "known l3", "c l3", "s1 r", "c s1")
    assert build(pairs, "known c", root="r") == {"l3": None, "known": "l3", "c": "l3"}


def test_each_round_adds_the_labels_that_need_fewest_nodes():
    # y (one node) comes before a, though a is the first label: then y is the shorter way for a.
    pairs = ("k r", "x r", "y r", "y k", "a x", "a y")
    tree = build(pairs, "k a y", root="r", without=["contraction"])
    assert tree == {"k": None, "y": None, "a": "y"}


def test_the_first_of_equal_paths_is_taken():
    assert build(("x r", "y r", "c x", "c y"), "c", root="r", without=["contraction"]) == {
        "x": None,
        "c": "x",
    }


def test_contraction_removes_only_nodes_that_are_no_labels():
    pairs = ("a r", "b a", "c b", "d b", "e a2", "a2 r")
    assert build(pairs, "c d e", root="r") == {"b": None, "e": None, "c": "b", "d": "b"}
    with_a = build(pairs, "c d e a", root="r")
    assert with_a == {"a": None, "e": None, "b": "a", "c": "b", "d": "b"}


def test_without_promotion_a_label_stays_below_a_label():
    # Otherwise a picture of a sorrel would be a negative of horse.
    tree = build(("horse r", "sorrel horse", "cow r"), "horse sorrel cow", root="r")
    assert tree == {"horse": None, "sorrel": "horse", "cow": None}


def test_promotion_makes_an_only_child_a_sibling():
    # gamecock, cock, bird (docs/notes/wordtree.md). The child of hen is no leaf and stays.
    pairs = (
        "bird r",
        "cock bird",
        "gamecock cock",
        "hen bird",
        "layer hen",
        "l1 layer",
        "l2 layer",
    )
    tree = build(pairs, "bird cock gamecock hen l1 l2", root="r", promotion=True)
    assert tree["gamecock"] == "bird"
    assert tree["layer"] == "hen"
    tree = build(pairs, "cock gamecock", root="r", promotion=True)
    assert tree == {"cock": None, "gamecock": None}


def test_siblings_are_numbered_before_their_descendants():
    edges = [("b", "a"), ("c", "a"), ("d", "b"), ("e", "b"), ("f", "c"), ("g", "c"), ("h", "")]
    tree = builder.build_tree(named_hierarchy(edges, "test"), ("g", "f", "e", "d", "h"))
    assert tree == (("a", "h", "b", "c", "d", "e", "f", "g"), (-1, -1, 0, 0, 2, 2, 3, 3))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("", "no labels"),
        ("dog cat dog", "dog is repeated"),
        ("dg", r"dg is not in test\. Did you mean 'dog'"),
        ("dog idea", r"1 of 2 labels are not below the root thing \(thing\) in test: idea"),
        ("thing", r"1 of 1 labels are not below the root"),
    ],
)
def test_unusable_labels_are_named(labels, message):
    edges = [("dog", "thing"), ("cat", "thing"), ("idea", "")]
    with pytest.raises(ValueError, match=message):
        builder.build_tree(named_hierarchy(edges, "test"), labels.split(), root="thing")


@st.composite
def hierarchies(draw):
    """Concepts 1, 2, ..., each with up to three parents of lower number; some are labels."""
    edges = [("0", "")]
    for child in range(1, draw(st.integers(2, 14))):
        for parent in draw(st.sets(st.integers(0, child - 1), min_size=1, max_size=3)):
            edges.append((str(child), str(parent)))
    names = sorted({child for child, _ in edges} - {"0"})
    return named_hierarchy(edges, "test"), draw(
        st.lists(st.sampled_from(names), min_size=1, unique=True)
    )


@given(hierarchies())
def test_a_tree_has_all_labels_and_no_superfluous_node(case):
    concepts, labels = case
    tree = builder.build_tree(concepts, labels, root="0", promotion=True)
    files.check_tree(tree, "built")
    assert set(labels) <= set(tree.wnids)
    for node, wnid in enumerate(tree.wnids):
        children = [child for child, parent in enumerate(tree.parents) if parent == node]
        if wnid not in labels:
            assert len(children) > 1
        elif len(children) == 1:
            assert children[0] in tree.parents  # no leaf


@given(hierarchies())
def test_a_parent_is_an_ancestor(case):
    concepts, labels = case
    tree = builder.build_tree(concepts, labels, root="0")
    for child, parent in parents(tree).items():
        assert (parent or "0") in ancestors(concepts, child)


def ancestors(concepts, concept):
    """All concepts above `concept`."""
    above, pending = set(), [concept]
    while pending:
        new = concepts.parents[pending.pop()]
        above.update(new)
        pending += new
    return above


def test_a_hierarchy_may_be_deep():
    edges = [("0", ""), *((str(i), str(i - 1)) for i in range(1, 3000))]
    tree = builder.build_tree(named_hierarchy(edges, "test"), ("2999", "7"))
    assert tree == (("7", "2999"), (-1, 0))


def test_wordnet_gives_the_tree_of_its_labels(tmp_path):
    concepts = hierarchy.read_wordnet(write_wordnet(tmp_path))
    labels = [f"n000000{i}" for i in (15, 16, 17, 22)]
    # canine > terriers, wolf; animal, dog, tool and saw have one child each.
    assert parents(builder.build_tree(concepts, labels, root=THING)) == {
        "n00000012": None,
        "n00000022": None,
        "n00000014": "n00000012",
        "n00000017": "n00000012",
        "n00000015": "n00000014",
        "n00000016": "n00000014",
    }


@pytest.fixture(scope="module")
def real():
    try:
        concepts = hierarchy.read_wordnet(hierarchy.find_wordnet())
    except FileNotFoundError as error:
        pytest.skip(str(error))
    return rehang(concepts, hierarchy.WORDNET_PATCHES)


def test_ilsvrc_gives_the_shipped_tree(real):
    built = builder.build_tree(real, imagenet_wnids(), root=WORDNET_ROOT)
    path = files.find_tree("imagenet1k")
    shipped = files.read_tree(path)
    assert built == shipped
    assert len(built.wnids) == 1369  # the paper, section 4
    assert len(set(built.parents)) == 370
    names = tuple(real.names[wnid][0] for wnid in built.wnids)
    assert names == files.read_names_of(path, shipped)


def test_coco_classes_are_above_their_kinds_in_ilsvrc(real):
    path = files.find_tree("coco_imagenet1k")
    shipped = files.read_tree(path)
    coco = [shipped.wnids[n] for n in files.read_map(path.with_suffix(".map"), 1411)]
    built = builder.build_tree(
        real, list(dict.fromkeys([*imagenet_wnids(), *coco])), root=WORDNET_ROOT
    )
    assert built == shipped
    names = tuple(real.names[wnid][0] for wnid in built.wnids)
    assert names == files.read_names_of(path, shipped)
    kinds = {w: ancestors(real, w).intersection(coco) for w in imagenet_wnids() if w not in coco}
    kinds = {wnid: above for wnid, above in kinds.items() if above}
    for wnid, above in kinds.items():  # a minivan is a car and a truck; the tree has one of them
        line = files.lineage(shipped, shipped.wnids.index(wnid))
        assert above.intersection(shipped.wnids[node] for node in line), wnid
    assert len(kinds) == 281


def test_coco_nodes_are_the_authors():
    if not DARKNET.is_dir():
        pytest.skip(f"needs {DARKNET}")
    path = files.find_tree("coco_imagenet1k")
    ours, theirs = files.read_tree(path), files.read_tree(DARKNET / "9k.tree")
    nodes = files.read_map(path.with_suffix(".map"), len(ours.wnids))
    authors = files.read_map(DARKNET / "coco9k.map", len(theirs.wnids))
    assert [ours.wnids[n] for n in nodes] == [theirs.wnids[n] for n in authors]


def test_three_labels_need_the_patches(real):
    unpatched = hierarchy.read_wordnet(hierarchy.find_wordnet())
    with pytest.raises(ValueError, match=r"3 of 1000 labels .*street sign"):
        builder.build_tree(unpatched, imagenet_wnids(), root=WORDNET_ROOT)


def test_ilsvrc_agrees_with_an_independent_build():
    golden = SHARED / "golden" / "wordtree1k.json"
    if not golden.is_file():
        pytest.skip(f"needs {golden}")
    reference = json.loads(golden.read_text())
    shipped = parents(files.read_tree(files.find_tree("imagenet1k")))
    assert reference.pop(WORDNET_ROOT) is None  # the implicit root
    assert {node: parent or WORDNET_ROOT for node, parent in shipped.items()} == reference


def test_the_tree_of_the_authors_is_nearly_rebuilt(real):
    listed = DARKNET / "imagenet.labels.list"  # the 21842 synsets of ImageNet
    if not listed.is_file():
        pytest.skip(f"needs {listed}")
    authors = parents(files.read_tree(DARKNET / "9k.tree"))
    # Which nodes were labels is not published; 269 have no pictures in ImageNet and were not.
    labels = sorted(set(authors).intersection(files.read_labels(listed)))
    assert len(labels) == 9149
    built = parents(builder.build_tree(real, labels, root=WORDNET_ROOT, promotion=True))
    same = sum(built.get(node, "") == parent for node, parent in authors.items())
    assert same / len(authors) >= 0.993
    assert len(built.keys() & authors.keys()) == 9414
