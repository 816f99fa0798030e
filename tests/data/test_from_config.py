from dataclasses import replace

import cv2
import numpy as np
import pytest

from yolojax.config import Config, from_dict
from yolojax.data import from_config
from yolojax.data.prepare import prepare_dataset
from yolojax.data.sources.load import load_source
from yolojax.wordtree.files import tree_fields

NODES = ("shape", "round", "pointed", "circle", "polygon", "star", "square", "triangle")
TREE = (-1, 0, 0, 1, 2, 2, 4, 4)
OF_SHAPE = (3, 6, 7, 5)  # circle, square, triangle, star


@pytest.fixture
def write_map(tmp_path):
    """Write a .map of these nodes and return its path."""

    def write(name, nodes):
        (tmp_path / name).write_text("".join(f"{node}\n" for node in nodes))
        return str(tmp_path / name)

    return write


def config_of(tree=TREE, **fields):
    config = Config()
    config.model.tree, config.model.classes = tree, NODES
    config.model.anchors = ((1.0, 1.0),)
    for name, value in fields.items():
        part, field = name.split("__")
        setattr(getattr(config, part), field, value)
    return config


@pytest.mark.parametrize(("val_map", "nodes"), [("b", (2, 4, 4, 5)), ("", OF_SHAPE)])
def test_evaluation_may_have_its_own_map(val_map, nodes, write_map):
    ours = write_map("a.map", (1, 4, 4, 2))
    config = config_of(data__map=ours, data__val_map=val_map and write_map("b.map", nodes))
    assert from_config.open_source("shapes:train", config).nodes == (1, 4, 4, 2)
    assert from_config.open_source("shapes:val", config).nodes == nodes
    config.data.val_map = None
    assert from_config.open_source("shapes:val", config).nodes == (1, 4, 4, 2)


def test_seen_nodes_may_come_from_a_map(write_map):
    config = config_of(eval__seen=(1,), eval__seen_map=write_map("a.map", (5, 4, 4, 2)))
    settings = from_config.with_tree(config).eval
    assert (settings.seen, settings.seen_map) == ((2, 4, 5), "")
    assert config.eval.seen == (1,)
    wrong = replace(config.eval, seen_map=write_map("b.map", (8,)))
    with pytest.raises(ValueError, match=r"b\.map:1: must be a node, one of 0\.\.7"):
        from_config.with_tree(replace(config, eval=wrong))


def test_seen_nodes_may_come_from_a_shipped_map():
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
        ("eval__max_tree_boxes", 900),
    ],
)
def test_fields_without_effect_are_refused(name, value):
    field = name.replace("__", r"\.")
    with pytest.raises(
        ValueError, match=rf"config\.{field} is .*, but .* form no tree: .*tree_file"
    ):
        from_config.with_tree(config_of(tree=(), **{name: value}))
    if not name.endswith("map"):
        config = config_of(**{name: value})
        assert from_config.with_tree(config) is config


def test_an_older_config_without_the_fields_is_read():
    config = from_dict({"data": {"map": "a.map"}, "eval": {"seen": [3]}})
    assert (config.data.val_map, config.eval.seen_map) == (None, "")


def test_both_sources_are_opened():
    source = from_config.open_train_source(
        config_of(data__labelled="shapes:single", data__mix=(3, 2)), "region"
    )
    assert (source.boxes.name, source.labels.name) == ("shapes:train", "shapes:single")
    assert source.mix == (3, 2)
    assert from_config.open_train_source(config_of(), "region").classes == NODES
    assert from_config.open_source("shapes:val", config_of())[0].labels.max() > 2


def test_labelled_pictures_have_their_own_map(tmp_path):
    (tmp_path / "a.map").write_text("1\n4\n4\n2\n")
    boxes, labels = (
        config_of(data__labelled="shapes:single", **{field: str(tmp_path / "a.map")})
        for field in ("data__map", "data__labelled_map")
    )
    source = from_config.open_train_source(boxes, "region")
    assert (source.boxes.nodes, source.labels.nodes) == ((1, 4, 4, 2), OF_SHAPE)
    source = from_config.open_train_source(labels, "region")
    assert (source.boxes.nodes, source.labels.nodes) == (OF_SHAPE, (1, 4, 4, 2))


def test_a_message_names_the_field_of_the_wrong_map(tmp_path):
    (tmp_path / "a.map").write_text("1\n")
    config = config_of(data__labelled="shapes:single", data__labelled_map=str(tmp_path / "a.map"))
    with pytest.raises(
        ValueError, match=r"give the .map of this data as --config\.data\.labelled_"
    ):
        from_config.open_train_source(config, "region")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "n9_a.jpg").write_bytes(b"")
    config = config_of(data__labelled=f"folder:{tmp_path}/photos")
    with pytest.raises(ValueError, match=r"n9 \(none\).* give it as --config\.data\.labelled_map"):
        from_config.open_train_source(config, "region")


def test_a_missing_map_lists_the_shipped_ones():
    message = r"none\.map: no such file; give a \.map .* a shipped one: coco_imagenet1k\."
    with pytest.raises(FileNotFoundError, match=message):
        from_config.open_source("shapes:train", config_of(data__map="none.map"))


@pytest.mark.parametrize("head", ["region", "classes"])
def test_labelled_pictures_need_a_tree_and_boxes(head):
    config = config_of(data__labelled="shapes:single")
    if head == "region":
        config.model.tree, config.model.classes = (), ("circle", "square", "triangle", "star")
    with pytest.raises(ValueError, match=r"labelled is 'shapes:single', but only a YOLOv2"):
        from_config.open_train_source(config, head)


def test_a_tree_file_becomes_the_fields_of_its_tree(tmp_path):
    (tmp_path / "a.tree").write_text("n1 -1\nn2 0\nn3 0\n")
    config = Config()
    assert from_config.with_tree(config) is config
    config.model.tree_file = str(tmp_path / "a.tree")
    (tmp_path / "a.names").write_text("animal\ncat\ncat\n")
    model = from_config.with_tree(config).model
    assert (model.tree, model.classes) == ((-1, 0, 0), ("n1", "n2", "n3"))
    assert (model.class_names, model.tree_file) == (("animal", "cat", "cat"), "")
    with pytest.raises(
        FileNotFoundError, match=r"no such file; give a \.tree file, or the name of a shipped one"
    ):
        tree_fields("nothing")


def crowded(tmp_path, counts):
    """A SOURCE of pictures with so many boxes."""
    (tmp_path / "images").mkdir(parents=True)
    (tmp_path / "labels").mkdir()
    for number, count in enumerate(counts):
        picture = tmp_path / "images" / f"{number}.png"
        cv2.imwrite(str(picture), np.full((8, 8, 3), number, np.uint8))
        (tmp_path / "labels" / f"{number}.txt").write_text("0 .5 .5 .5 .5\n" * count)
    (tmp_path / "data.yaml").write_text("train: images\nnames: [cat]\n")
    return f"darknet:{tmp_path / 'data.yaml'}"


def test_boxes_beyond_max_boxes_are_counted_at_the_start(tmp_path, capsys):
    spec = crowded(tmp_path / "a", (0, 3, 5, 9))
    config = Config()
    config.data.train, config.data.max_boxes = spec, 4
    from_config.open_train_source(config, "region")
    assert (
        f"{spec}: 6 of 17 ground-truth boxes are not trained on: 2 pictures have more than "
        "config.data.max_boxes=4, one has 9; set --config.data.max_boxes=9 for all of them."
    ) in capsys.readouterr().out
    config.data.max_boxes = 9
    from_config.open_train_source(config, "region")
    assert "not trained on" not in capsys.readouterr().out
    config.data.train, config.data.max_boxes = f"{spec}+shapes:val+{spec}", 8
    config.model.classes = ("cat", "circle", "square", "triangle", "star")
    from_config.open_train_source(config, "region")
    assert "2 of 34 ground-truth boxes are not trained on: 2 pictures" in capsys.readouterr().out


def test_prepared_boxes_are_counted_only_if_they_are_read(tmp_path, capsys):
    source = load_source(crowded(tmp_path / "a", (2, 5)))
    prepare_dataset({"train": source}, tmp_path / "out")
    config = Config()
    config.data.train, config.data.max_boxes = f"tfds:{tmp_path / 'out'}", 4
    from_config.open_train_source(config, "region")
    assert "not trained on" not in capsys.readouterr().out
    config.data.on_bad_record = "skip"
    from_config.open_train_source(config, "region")
    assert "1 of 7 ground-truth boxes are not trained on" in capsys.readouterr().out


def test_classes_are_chosen_before_they_become_nodes():
    config = config_of(
        data__keep_classes=("pointed", "circle"), data__rename=(("star", "pointed"),)
    )
    source = from_config.open_source("shapes:train", config)
    assert source.nodes == (2, 3)
    assert {label for index in range(20) for label in source[index].labels.tolist()} == {2, 3}
