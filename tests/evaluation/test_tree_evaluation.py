"""Evaluate a source with a class tree and a fake network that is uncertain between two leaves."""

import json
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolojax.config import Config, DataConfig, EvalConfig, ModelConfig
from yolojax.data.records import Record
from yolojax.data.tree_labels import MappedSource, nodes_of
from yolojax.distributed.sharding import make_mesh
from yolojax.evaluation import classification, detection
from yolojax.evaluation.significance import read_hits, read_matches
from yolojax.heads import yolo9000
from yolojax.tasks import Task
from yolojax.wordtree.tree import bucket_layout, make_tree

NODES = ("animal", "thing", "pet", "cattle", "hound", "domestic cat")
TREE = (-1, -1, 0, 0, 2, 2)
OF_CLASS = {"dog": 4, "cow": 3, "cat": 5}  # in an order that is not that of the nodes
PROBABILITY = 0.6  # of the correct one of dog and cat
LAYOUT = bucket_layout(make_tree(TREE))
CERTAIN, NEVER = 0.0, -20.0
DECODE = partial(yolo9000.decode, anchors=((0.5, 0.5),))


class Three:
    """A source with an image of a dog, a cow and a cat, as in a COCO file."""

    name, classes, skipped, category_ids = "memory", tuple(OF_CLASS), (), (18, 21, 17)

    def __len__(self):
        return 3

    def __getitem__(self, index):
        image = np.full((48, 48, 3), 80 * index, np.uint8)
        no, box = np.zeros(1, bool), np.array([[0.25, 0.25, 0.75, 0.75]], np.float32)
        labels, area = np.array([index], np.int32), np.float32([576])
        return Record(str(index), image, box, labels, no, no, area, index)


SOURCE = MappedSource(Three(), NODES, tuple(OF_CLASS.values()))


def class_logits():
    """Logits of all nodes for each image, in the order of channels, certain down to "pet"."""
    by_node = np.full((3, len(NODES)), NEVER, np.float32)
    by_node[:, 0] = CERTAIN
    by_node[[0, 1, 2], [2, 3, 2]] = CERTAIN
    by_node[:, 4], by_node[:, 5] = np.log(PROBABILITY), np.log(1 - PROBABILITY)
    by_node[2, [4, 5]] = by_node[2, [5, 4]]
    return by_node[:, LAYOUT.node]


def task_of(decode, raw):
    """A task whose output for each image, identified by its brightness, is its row of `raw`."""
    raw = jnp.asarray(raw)

    def apply(variables, image, *, train):
        return raw[jnp.clip(jnp.round(image.mean((1, 2, 3)) * 255 / 80), 0, 2).astype(int)]

    head = "classes" if decode is yolo9000.decode_classes else "region"
    return Task(SimpleNamespace(apply=apply), partial(decode, tree=TREE), None, head, True)


def config_of(**settings):
    return Config(
        model=ModelConfig(classes=NODES, tree=TREE),
        data=DataConfig(image_size=(32, 32), threads=0),
        eval=EvalConfig(batch_size=2, bootstrap=0, **settings),
    )


def evaluated(kind, decode, raw, folder, source=SOURCE, **settings):
    config = config_of(**settings)
    programs = kind.make_programs(task_of(decode, raw), config.eval, nodes_of(source))
    mesh = make_mesh(jax.devices()[:1])
    return kind.evaluate_source(programs, {}, source, config, mesh, folder)


@pytest.fixture(scope="module")
def detected(tmp_path_factory):
    """Result and folder of a detector with one correct box and uncertain classes."""
    folder = tmp_path_factory.mktemp("run")
    box = np.tile(np.float32([0, 0, 0, 0, 10]), (3, 1))  # x, y, w, h; an objectness of nearly 1
    raw = np.concatenate([box, class_logits()], axis=1)[:, None, None]
    return evaluated(detection, DECODE, raw, folder, seen=(4, 3), tree_threshold=0.7), folder


def test_classes_have_the_order_and_names_of_the_data(detected):
    result, folder = detected
    assert tuple(result["per_class"]) == tuple(OF_CLASS)
    assert {row["voc10"] for row in result["per_class"].values()} == {1.0}
    names = {path.name for path in (folder / "eval" / "val_voc").iterdir()}
    assert names == {f"comp4_det_test_{name}.txt" for name in OF_CLASS}
    assert result["errors"]["groups"] == [["cat", "cow", "dog"]]  # of VOC, by name
    assert len(read_matches(folder / "eval" / "val_matches.npz", "voc10").positives[0]) == 3


def test_detections_have_the_ids_of_their_data(detected):
    best = {}
    for row in json.loads((detected[1] / "eval" / "val_coco.json").read_text()):
        best[row["image_id"]] = max(
            best.get(row["image_id"], (0, 0)), (row["score"], row["category_id"])
        )
    assert [best[i][1] for i in range(3)] == [18, 21, 17]


def test_descent_stops_at_an_ancestor(detected):
    """Dog and cat are detected as "pet", a correct ancestor."""
    numbers = detected[0]["tree"]
    assert numbers["hierarchical_precision"] == 1.0
    assert numbers["hierarchical_recall"] == pytest.approx((2 / 3 + 1 + 2 / 3) / 3)
    assert numbers["strict"] == {"seen": 1.0, "seen_classes": 2, "unseen": 1.0, "unseen_classes": 1}


def test_nodes_add_a_second_program():
    task = task_of(DECODE, np.zeros((3, 1, 1, 11)))
    assert detection.make_programs(task, EvalConfig()).descend is None
    assert detection.make_programs(task, EvalConfig(), (3, 4)).descend is not None


def test_tree_settings_are_those_of_config_eval():
    """The settings of the evaluation override those of the task."""
    task = task_of(DECODE, np.zeros((3, 1, 1, 11)))
    settings = EvalConfig(nodes=(3,), tree_threshold=0.1, tree_semantics="darknet")
    given = {"nodes": (3,), "tree_threshold": 0.1, "tree_semantics": "darknet"}
    assert given.items() <= detection.decoder(task, settings, (4, 5)).keywords.items()
    assert detection.decoder(task, EvalConfig(), (4, 5)).keywords["nodes"] == (4, 5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seen": (4, 6)}, r"config\.eval\.seen holds 6, but the nodes .* are 0 to 5"),
        ({"seen": (-1,)}, r"config\.eval\.seen holds -1"),
        ({"nodes": (6,)}, r"config\.eval\.nodes holds 6"),
        ({"tree_threshold": 50.0}, r"tree_threshold must be a probability"),
    ],
)
def test_bad_settings_raise_before_a_picture_is_read(settings, message, tmp_path):
    class Unread(Three):
        def __getitem__(self, index):
            raise AssertionError("a picture was read")

    source = MappedSource(Unread(), NODES, tuple(OF_CLASS.values()))
    with pytest.raises(ValueError, match=message):
        evaluated(detection, DECODE, np.zeros((3, 1, 1, 11)), tmp_path, source, **settings)


def test_classifier_accuracy_by_depth(tmp_path, capsys):
    """The cat is classified as a dog, which is correct at two depths of three."""
    logits = class_logits()
    logits[2] = logits[0]
    result = evaluated(classification, yolo9000.decode_classes, logits, tmp_path, metric="top1")
    assert result["depths"] == [
        {"top1": 1.0, "images": 3}, {"top1": 1.0, "images": 3}, {"top1": 0.5, "images": 2},
    ]  # fmt: skip
    assert {name: row["top1"] for name, row in result["per_class"].items()} == {
        "dog": 1.0, "cow": 1.0, "cat": 0.0,
    }  # fmt: skip
    assert "correct at depth 0: 100.00, 1: 100.00, 2: 50.00" in capsys.readouterr().out
    hits, labels, _ = read_hits(tmp_path / "eval" / "val_hits.npz", "top1")
    assert (hits.tolist(), labels.tolist()) == ([True, True, False], [0, 1, 2])
