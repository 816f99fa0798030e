from collections import Counter
from functools import partial

import numpy as np
import pytest

from yolojax.config import AugmentConfig, Config
from yolojax.data import from_config, joint
from yolojax.data.joint import JointSource, place_at
from yolojax.data.loader import fingerprint
from yolojax.data.pipeline import train_loader
from yolojax.data.sources.load import load_source
from yolojax.data.tree_labels import MappedSource, find_nodes, to_nodes
from yolojax.wordtree.files import tree_fields

NODES = ("shape", "round", "pointed", "circle", "polygon", "star", "square", "triangle")
TREE = (-1, 0, 0, 1, 2, 2, 4, 4)
OF_SHAPE = (3, 6, 7, 5)  # circle, square, triangle, star
SAMPLE = partial(joint.train_sample, augment=AugmentConfig(), max_boxes=6)


def mapped(split):
    return to_nodes(load_source(f"shapes:{split}"), NODES, NODES, "")


def load(mix=(4, 1), **options):
    source = JointSource(mapped("train"), mapped("single"), mix)
    options = {"image_size": (32, 32), "batch_size": 10, "seed": 3, "threads": 0} | options
    return train_loader(source, SAMPLE, **options)


def test_of_each_five_rows_one_is_known_by_its_label():
    batch = next(load())
    alone = batch["label"] >= 0
    assert alone.reshape(2, 5).sum(axis=1).tolist() == [1, 1]
    assert not batch["mask"][alone].any()
    assert batch["mask"][~alone].any(axis=1).all()
    assert set(batch["label"][alone]) <= set(OF_SHAPE)
    assert set(batch["labels"][batch["mask"]]) <= set(OF_SHAPE)
    shapes = {name: (array.shape, array.dtype) for name, array in batch.items()}
    assert shapes["image"] == ((10, 32, 32, 3), np.uint8)
    assert shapes["boxes"] == ((10, 6, 4), np.float32)
    assert shapes["label"] == ((10,), np.int32)


@pytest.mark.parametrize("mix", [(4, 1), (1, 1), (2, 3)])
def test_every_row_of_each_kind_comes_once(mix):
    places = [place_at(i, mix, seed=0) for i in range(40 * sum(mix))]
    for kind, count in zip((False, True), mix, strict=True):
        positions = [place.position for place in places if place.labelled == kind]
        assert sorted(positions) == list(range(40 * count))


@pytest.mark.parametrize("stride", [2, 4, 5])
def test_strided_parts_of_a_batch_have_both_kinds(stride):
    kinds = np.array([place_at(i, (1, 1), seed=0).labelled for i in range(400)])
    for k in range(stride):
        assert 0.2 < kinds[k::stride].mean() < 0.8


def test_a_row_depends_on_its_place_alone():
    whole = [next(it) for it in [load()] for _ in range(3)]
    assert fingerprint(whole[2]) == fingerprint(next(load(start_batch=2)))
    halves = [next(load(start_batch=1, host=h, hosts=2, threads=2)) for h in range(2)]
    joined = {k: np.concatenate([half[k] for half in halves]) for k in halves[0]}
    assert fingerprint(joined) == fingerprint(whole[1])
    assert fingerprint(next(load(seed=4))) != fingerprint(whole[0])


def test_sizes_change_for_both_kinds_together():
    batches = [next(load(sizes=(32, 64), sizes_every=1, start_batch=i)) for i in range(6)]
    assert {batch["image"].shape for batch in batches} == {(10, 32, 32, 3), (10, 64, 64, 3)}


def test_one_seed_gives_both_kinds_draws_of_their_own():
    """The same pictures as both kinds, in the same place: another order."""
    boxes = mapped("single")
    source = JointSource(boxes, boxes, (1, 1))
    batch = next(
        train_loader(source, SAMPLE, image_size=(32, 32), batch_size=20, seed=0, threads=0)
    )
    alone = batch["label"] >= 0
    assert set(batch["image_id"][alone]) != set(batch["image_id"][~alone])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mix": (4, 0)}, r"data\.mix must be two numbers of 1 or more"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_arguments_out_of_range_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        next(load(**change))


def test_labelled_pictures_need_a_label():
    with pytest.raises(ValueError, match="its pictures have boxes, not one class each"):
        JointSource(mapped("train"), mapped("train"), (4, 1))


def test_labels_become_nodes_and_the_old_ones_stay_known():
    own, source = load_source("shapes:single"), mapped("single")
    assert isinstance(source, MappedSource)
    assert (source.name, len(source), source.skipped) == (own.name, len(own), [])
    assert (source.classes, source.source.classes) == (NODES, own.classes)
    assert source.nodes == OF_SHAPE
    for i in range(5):
        assert source[i].label == OF_SHAPE[own[i].label]
        assert source[i].labels.tolist() == [OF_SHAPE[label] for label in own[i].labels]
    assert mapped("train")[0].label == -1


def test_a_map_says_the_nodes(tmp_path):
    own = load_source("shapes:train")
    (tmp_path / "a.map").write_text("1\n4\n4\n2\n")
    assert to_nodes(own, NODES, NODES, str(tmp_path / "a.map")).nodes == (1, 4, 4, 2)
    (tmp_path / "b.map").write_text("1\n4\n")
    with pytest.raises(ValueError, match=r"b\.map: has a node for 2 classes, but .* has 4"):
        to_nodes(own, NODES, NODES, str(tmp_path / "b.map"))
    (tmp_path / "c.map").write_text("1\n8\n0\n0\n")
    with pytest.raises(ValueError, match=r"c\.map:2: must be a node, one of 0\.\.7"):
        to_nodes(own, NODES, NODES, str(tmp_path / "c.map"))


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


def config_of(**data):
    config = Config()
    config.model.tree, config.model.classes = TREE, NODES
    config.model.anchors = ((1.0, 1.0),)
    for name, value in data.items():
        setattr(config.data, name, value)
    return config


def test_the_door_opens_both_sources():
    source = from_config.open_train_source(
        config_of(labelled="shapes:single", mix=(3, 2)), "region"
    )
    assert (source.boxes.name, source.labels.name) == ("shapes:train", "shapes:single")
    assert source.mix == (3, 2)
    assert from_config.open_train_source(config_of(), "region").classes == NODES
    assert from_config.open_source("shapes:val", config_of())[0].labels.max() > 2


def test_labelled_pictures_have_a_map_of_their_own(tmp_path):
    (tmp_path / "a.map").write_text("1\n4\n4\n2\n")
    boxes, labels = (
        config_of(labelled="shapes:single", **{field: str(tmp_path / "a.map")})
        for field in ("map", "labelled_map")
    )
    source = from_config.open_train_source(boxes, "region")
    assert (source.boxes.nodes, source.labels.nodes) == ((1, 4, 4, 2), OF_SHAPE)
    source = from_config.open_train_source(labels, "region")
    assert (source.boxes.nodes, source.labels.nodes) == (OF_SHAPE, (1, 4, 4, 2))


def test_a_message_names_the_field_of_the_map_that_is_wrong(tmp_path):
    (tmp_path / "a.map").write_text("1\n")
    config = config_of(labelled="shapes:single", labelled_map=str(tmp_path / "a.map"))
    with pytest.raises(
        ValueError, match=r"give the .map of this data as --config\.data\.labelled_"
    ):
        from_config.open_train_source(config, "region")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "n9_a.jpg").write_bytes(b"")
    config = config_of(labelled=f"folder:{tmp_path}/photos")
    with pytest.raises(ValueError, match=r"n9 \(none\).* give it as --config\.data\.labelled_map"):
        from_config.open_train_source(config, "region")


def test_a_missing_map_names_those_that_are_shipped():
    message = r"none\.map: no such file; give a \.map .* a shipped one: coco_imagenet1k\."
    with pytest.raises(FileNotFoundError, match=message):
        from_config.open_source("shapes:train", config_of(map="none.map"))


@pytest.mark.parametrize("head", ["region", "classes"])
def test_labelled_pictures_need_a_tree_and_boxes(head):
    config = config_of(labelled="shapes:single")
    if head == "region":
        config.model.tree, config.model.classes = (), ("circle", "square", "triangle", "star")
    with pytest.raises(ValueError, match=r"labelled is 'shapes:single', but only a YOLOv2"):
        from_config.open_train_source(config, head)


def test_a_tree_is_read_once_and_kept(tmp_path):
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


def test_the_shipped_tree_has_the_classes_of_coco_and_of_imagenet():
    from yolojax.data.class_names import COCO_CLASSES, imagenet_wnids

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
