from collections import Counter
from types import SimpleNamespace

import pytest

from yolojax.data.class_names import COCO_CLASSES, imagenet_wnids
from yolojax.data.sources.load import load_source
from yolojax.data.tree_labels import MappedSource, classes_of, find_nodes, nodes_of, to_nodes
from yolojax.wordtree.files import tree_fields

NODES = ("shape", "round", "pointed", "circle", "polygon", "star", "square", "triangle")
OF_SHAPE = (3, 6, 7, 5)  # circle, square, triangle, star


def mapped_to(nodes, **more):
    source = SimpleNamespace(classes=("cup", "plate", "mug"), **more)
    return MappedSource(source, NODES, nodes)


def test_nodes_have_the_order_and_names_of_the_classes():
    assert nodes_of(mapped_to((5, 1, 3))) == (5, 1, 3)
    assert classes_of(mapped_to((5, 1, 3))) == {5: "cup", 1: "plate", 3: "mug"}
    assert classes_of(mapped_to((5, 1, 5))) == {5: "cup + mug", 1: "plate"}
    assert classes_of(SimpleNamespace(classes=("cup",))) == {}


def test_coco_ids_are_passed_on():
    assert mapped_to((5, 1, 3), category_ids=(47, 9, 48)).category_ids == (47, 9, 48)
    assert mapped_to((5, 1, 5), category_ids=(47, 9, 48)).category_ids == (47, 9)
    assert (
        mapped_to((5, 1, 3)).category_ids
        == mapped_to((5, 1, 3), category_ids=()).category_ids
        == ()
    )


def shapes_as_nodes(split):
    return to_nodes(load_source(f"shapes:{split}"), NODES, NODES, "")


def test_labels_become_nodes_and_the_classes_stay_known():
    plain, source = load_source("shapes:single"), shapes_as_nodes("single")
    assert isinstance(source, MappedSource)
    assert (source.name, len(source), source.skipped) == (plain.name, len(plain), [])
    assert (source.classes, source.source.classes) == (NODES, plain.classes)
    assert source.nodes == OF_SHAPE
    for i in range(5):
        assert source[i].label == OF_SHAPE[plain[i].label]
        assert source[i].labels.tolist() == [OF_SHAPE[label] for label in plain[i].labels]
    assert shapes_as_nodes("train")[0].label == -1


def test_a_map_gives_the_nodes(tmp_path):
    plain = load_source("shapes:train")
    (tmp_path / "a.map").write_text("1\n4\n4\n2\n")
    assert to_nodes(plain, NODES, NODES, str(tmp_path / "a.map")).nodes == (1, 4, 4, 2)
    (tmp_path / "b.map").write_text("1\n4\n")
    with pytest.raises(ValueError, match=r"b\.map: has a node for 2 classes, but .* has 4"):
        to_nodes(plain, NODES, NODES, str(tmp_path / "b.map"))
    (tmp_path / "c.map").write_text("1\n8\n0\n0\n")
    with pytest.raises(ValueError, match=r"c\.map:2: must be a node, one of 0\.\.7"):
        to_nodes(plain, NODES, NODES, str(tmp_path / "c.map"))


def test_nodes_are_found_by_wnid_and_by_name():
    wnids, names = ("n1", "n2", "n3", "n4"), ("dog", "Hot_dog", "crane", "crane")
    assert find_nodes(["n3", "hot-dog", "Dog"], wnids, names, "x") == (2, 1, 0)


def test_all_classes_without_a_node_are_named():
    wnids, names = ("n1", "n2", "n3"), ("dog", "crane", "crane")
    message = (
        r"my: 2 of 3 classes .* crane \(one of \[1, 2\]\), cat \(none\)\. .* `yolojax tree map`"
    )
    with pytest.raises(ValueError, match=message):
        find_nodes(["crane", "dog", "cat"], wnids, names, "my")


def test_the_shipped_tree_has_the_classes_of_coco_and_of_imagenet():
    fields = tree_fields("coco_imagenet1k")
    wnids, names = fields["classes"], fields["class_names"]
    assert len(wnids) == 1411
    labels = find_nodes(imagenet_wnids(), wnids, names, "imagenet")
    inner = set(labels) & set(fields["tree"])
    assert [names[node] for node in inner] == ["racket"]  # COCO's is below it, a tennis racket
    source = to_nodes(NamedClasses(COCO_CLASSES), wnids, names, "coco_imagenet1k")
    assert max(Counter(source.nodes).values()) == 1
    named = dict(zip(COCO_CLASSES, (names[node] for node in source.nodes), strict=True))
    assert {name: named[name] for name in ("person", "tv", "cow")} == {
        "person": "person", "tv": "display", "cow": "cattle",
    }  # fmt: skip


class NamedClasses:
    """A source of which only the classes matter."""

    def __init__(self, classes):
        self.name, self.classes, self.skipped = "coco", classes, []
