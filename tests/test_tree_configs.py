"""The configs of YOLO9000, and the nodes that a config may name."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from yolojax.config import read_config
from yolojax.data.class_names import COCO_CLASSES, imagenet_wnids
from yolojax.data.tree_labels import find_nodes, nodes_of, to_nodes
from yolojax.models.network import variable_shapes
from yolojax.tasks import build
from yolojax.wordtree.tree import leaves, make_tree

CONFIGS = Path(__file__).parents[1] / "configs"


def raw_of(config):
    """The task of `config`, and the output shape of its network for one picture."""
    task, size = build(config), tuple(config.data.image_size)
    image = jax.ShapeDtypeStruct((1, *size, 3), "float32")
    apply = partial(task.model.apply, train=False)
    return task, jax.eval_shape(apply, variable_shapes(task.model, size), image)


def test_darknet19_classifies_the_thousand_leaves_of_its_tree():
    config = read_config(CONFIGS / "darknet19_wordtree1k.py")
    task, raw = raw_of(config)
    model = config.model
    assert task.head == "classes"
    assert (raw.shape, jax.eval_shape(task.decode, raw).shape) == ((1, 1, 1, 1369), (1, 1369))
    labels = find_nodes(imagenet_wnids(), model.classes, model.shown, "imagenet2012")
    assert sorted(labels) == leaves(make_tree(model.tree)).tolist()


def test_the_joint_network_detects_coco_or_descends_the_tree():
    config = read_config(CONFIGS / "yolo9000_joint.py")
    task, raw = raw_of(config)
    model = config.model
    assert raw.shape == (1, 17, 17, len(model.anchors) * (5 + len(model.tree)))
    coco = SimpleNamespace(classes=COCO_CLASSES, name="coco")
    nodes = nodes_of(to_nodes(coco, model.classes, model.shown, config.data.map))
    assert jax.eval_shape(partial(task.decode, nodes=nodes), raw).class_probs.shape == (1, 300, 80)
    assert jax.eval_shape(task.decode, raw).labels.shape == (1, 300, 1)
    find_nodes(imagenet_wnids(), model.classes, model.shown, config.data.labelled)


@pytest.mark.parametrize("field", ["nodes", "seen"])
@pytest.mark.parametrize("node", [8, -1])
def test_nodes_of_another_tree_are_refused_before_anything_is_read(field, node):
    config = read_config(f"{CONFIGS / 'wordtree_smoke.py'}:smoke")
    build(replace(config, eval=replace(config.eval, **{field: (0, 7)})))
    wrong = replace(config, eval=replace(config.eval, **{field: (0, 7, node)}))
    message = rf"config\.eval\.{field} holds {node}, but the nodes of yolo9000 are 0 to 7"
    with pytest.raises(ValueError, match=message):
        build(wrong)


def test_nodes_without_a_tree_do_not_stop_a_run_from_loading():
    config = read_config(f"{CONFIGS / 'quickstart.py'}:smoke")
    build(replace(config, eval=replace(config.eval, seen=(3,))))
