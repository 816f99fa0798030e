"""The classes of a data set as nodes, and which map and which nodes a config means."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from yolojax.config import Config, from_dict
from yolojax.data import from_config
from yolojax.data.tree_labels import MappedSource, classes_of, nodes_of

NODES = ("shape", "round", "pointed", "circle", "polygon", "star", "square", "triangle")
TREE = (-1, 0, 0, 1, 2, 2, 4, 4)
OF_SHAPE = (3, 6, 7, 5)  # circle, square, triangle, star


def mapped(nodes, **more):
    source = SimpleNamespace(classes=("cup", "plate", "mug"), **more)
    return MappedSource(source, NODES, nodes)


def test_nodes_come_in_the_order_of_the_classes_and_with_their_names():
    assert nodes_of(mapped((5, 1, 3))) == (5, 1, 3)
    assert classes_of(mapped((5, 1, 3))) == {5: "cup", 1: "plate", 3: "mug"}
    assert classes_of(mapped((5, 1, 5))) == {5: "cup + mug", 1: "plate"}
    assert classes_of(SimpleNamespace(classes=("cup",))) == {}


def test_ids_of_a_coco_file_are_carried_through():
    assert mapped((5, 1, 3), category_ids=(47, 9, 48)).category_ids == (47, 9, 48)
    assert mapped((5, 1, 5), category_ids=(47, 9, 48)).category_ids == (47, 9)
    assert mapped((5, 1, 3)).category_ids == mapped((5, 1, 3), category_ids=()).category_ids == ()


@pytest.fixture
def write_map(tmp_path):
    """Writes a .map of these nodes and returns its path."""

    def write(name, nodes):
        (tmp_path / name).write_text("".join(f"{node}\n" for node in nodes))
        return str(tmp_path / name)

    return write


def config_of(tree=TREE, **fields):
    config = Config()
    config.model.tree, config.model.classes = tree, NODES
    for name, value in fields.items():
        part, field = name.split("__")
        setattr(getattr(config, part), field, value)
    return config


@pytest.mark.parametrize(("val_map", "nodes"), [("b", (2, 4, 4, 5)), ("", OF_SHAPE)])
def test_what_is_evaluated_may_have_a_map_of_its_own(val_map, nodes, write_map):
    ours = write_map("a.map", (1, 4, 4, 2))
    config = config_of(data__map=ours, data__val_map=val_map and write_map("b.map", nodes))
    assert from_config.open_source("shapes:train", config).nodes == (1, 4, 4, 2)
    assert from_config.open_source("shapes:val", config).nodes == nodes
    config.data.val_map = None
    assert from_config.open_source("shapes:val", config).nodes == (1, 4, 4, 2)


def test_the_nodes_with_boxes_may_be_those_of_a_map(write_map):
    config = config_of(eval__seen=(1,), eval__seen_map=write_map("a.map", (5, 4, 4, 2)))
    settings = from_config.with_tree(config).eval
    assert (settings.seen, settings.seen_map) == ((2, 4, 5), "")
    assert config.eval.seen == (1,)
    wrong = replace(config.eval, seen_map=write_map("b.map", (8,)))
    with pytest.raises(ValueError, match=r"b\.map:1: must be a node, one of 0\.\.7"):
        from_config.with_tree(replace(config, eval=wrong))


def test_a_shipped_map_has_the_nodes_with_boxes():
    config = config_of(model__tree_file="coco_imagenet1k", eval__seen_map="coco_imagenet1k")
    config = from_config.with_tree(config)
    assert len(config.eval.seen) == 80
    assert "dog" in {config.model.shown[node] for node in config.eval.seen}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data__map", "a.map"),
        ("data__val_map", ""),
        ("data__labelled_map", "a.map"),
        ("loss__image_semantics", "paper"),
        ("eval__nodes", (3,)),
        ("eval__seen", (3,)),
        ("eval__seen_map", "a.map"),
        ("eval__tree_threshold", 0.1),
        ("eval__tree_semantics", "darknet"),
        ("eval__max_slots", 900),
    ],
)
def test_what_would_do_nothing_without_a_tree_is_refused(name, value):
    field = name.replace("__", r"\.")
    with pytest.raises(
        ValueError, match=rf"config\.{field} is .*, but .* form no tree: .*tree_file"
    ):
        from_config.with_tree(config_of(tree=(), **{name: value}))
    if not name.endswith("map"):
        config = config_of(**{name: value})
        assert from_config.with_tree(config) is config


def test_a_config_of_an_older_run_has_neither_field():
    config = from_dict({"data": {"map": "a.map"}, "eval": {"seen": [3]}})
    assert (config.data.val_map, config.eval.seen_map) == (None, "")
