"""A network whose classes form a tree: from config or .cfg to a task, a step, and files."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolojax.config import Config, DataConfig, ModelConfig, from_dict, read_config, to_dict
from yolojax.darknet.cfg_writer import cfg_text
from yolojax.darknet.tree import output_order
from yolojax.darknet.weights import save_weights
from yolojax.data.from_config import open_train_source, train_batches
from yolojax.distributed.sharding import make_mesh
from yolojax.export.safetensors import flat, nested, save_tensors
from yolojax.loading import Loaded, load_model
from yolojax.models.network import variable_shapes
from yolojax.pretrained import load_pretrained
from yolojax.saving import check_free, files_of, fresh_state, save_model
from yolojax.tasks import build
from yolojax.training.compilation import abstract_batch
from yolojax.training.optimizer import make_optimizer
from yolojax.training.step import make_train_step
from yolojax.wordtree.files import tree_fields
from yolojax.wordtree.tree import bucket_layout, make_tree

ROOT = Path(__file__).parents[1]
SMALL = Path(__file__).parent / "golden" / "trees" / "small.tree"
SIZE = (64, 64)
SMOKE = f"{ROOT / 'configs' / 'wordtree_smoke.py'}:smoke"


CONV = "[convolutional]\nbatch_normalize=1\nsize=3\nstride=2\npad=1\nactivation=leaky\nfilters="
HEAD = "[convolutional]\nsize=1\nactivation=linear\nfilters={}\n[region]\nclasses={}\n"
REGION = "num=3\nsoftmax=1\ntree=x.tree\nanchors=1,1,2,1,1,3\n"


def tiny_cfg(nodes):
    """Five convolutions, which compile soon, for a tree of so many nodes."""
    layers = [f"{CONV}{filters}\n" for filters in (8, 8, 16, 16, 32)]
    net = f"[net]\nheight={SIZE[0]}\nwidth={SIZE[1]}\nchannels=3\n"
    return net + "".join(layers) + HEAD.format(3 * (5 + nodes), nodes) + REGION


def small_config(network="tiny", **fields):
    """A small network for the 26 nodes of small.tree."""
    anchors = () if network == "darknet19" else ((1.0, 1.0), (2.0, 1.0), (1.0, 3.0))
    fields |= {"cfg": tiny_cfg(26)} if network == "tiny" else {}
    model = ModelConfig(
        network, anchors=anchors, width=1 / 16, epsilon="cpu", **(tree_fields(SMALL) | fields)
    )
    data = DataConfig(image_size=SIZE, resize="darknet", letterbox=bool(anchors))
    return Config(model=model, data=data)


def random_variables(task):
    """With a deviation that keeps activations near 1."""
    generator = np.random.default_rng(0)

    def leaf(name, shape):
        if name.endswith("var"):
            return np.ones(shape, np.float32)
        scale = np.sqrt(2 / np.prod(shape[:-1])) if len(shape) > 1 else 0.1
        return (scale * generator.normal(size=shape)).astype(np.float32)

    shapes = flat(variable_shapes(task.model, SIZE))
    return nested({name: leaf(name, s.shape) for name, s in shapes.items()})


def darknet_files(folder, network="tiny"):
    """The .cfg, .weights and .tree of Darknet, and the variables in its own order of channels."""
    config = small_config(network)
    task = build(config)
    variables = random_variables(task)
    save_weights(folder / "a.weights", task.model, variables, 64)
    (folder / "a.cfg").write_text(cfg_text(config, "data/small.tree"))
    (folder / "small.tree").write_text(SMALL.read_text())
    return variables


@pytest.mark.parametrize(
    ("network", "loss"),
    [("yolo9000", "region"), ("yolov2", "region"), ("darknet19", "tree_classification")],
)
def test_a_tree_chooses_decoder_and_loss(network, loss):
    config = small_config(network)
    task = build(config)
    config.loss.name = loss
    assert build(config).decode.func is task.decode.func
    assert task.decode.func.__module__ == "yolojax.heads.yolo9000"
    assert task.decode.keywords["tree"] == config.model.tree
    assert task.head == ("classes" if network == "darknet19" else "region")


def test_without_a_tree_nothing_changes():
    config = small_config("yolo9000", tree=())
    assert build(config).decode.func.__module__ == "yolojax.heads.yolov2"
    assert set(build(config).decode.keywords) == {"anchors", "location", "class_activation"}


def test_options_of_the_tree_reach_the_decoder():
    config = small_config()
    config.eval.tree_threshold, config.eval.nodes = 0.1, (3, 4)
    config.eval.tree_semantics = "darknet"
    given = {"tree_threshold": 0.1, "nodes": (3, 4), "tree_semantics": "darknet"}
    assert given.items() <= build(config).decode.keywords.items()
    config.loss.image_semantics = "nothing"
    with pytest.raises(ValueError, match=r"config\.loss\.image_semantics is"):
        build(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ("a", "b")}, r"config\.model\.tree has 26 entries, but there are 2 classes"),
        ({"class_names": ("a",)}, r"config\.model\.class_names has 1 entries, but there are 26"),
        ({"tree": (), "tree_file": "x.tree"}, r"the tree in x\.tree, but .*tree is empty"),
        ({"tree": (*range(1, 26), 0)}, "node 0 has parent 1"),
        ({"name": "yolov1"}, "the classes of yolov1 cannot form a tree"),
    ],
)
def test_a_tree_that_does_not_fit_is_refused(change, message):
    config = small_config("yolo9000")
    with pytest.raises(ValueError, match=message):
        build(replace(config, model=replace(config.model, **change)))


@pytest.fixture(scope="module")
def smoke():
    config = read_config(SMOKE)
    config.model.cfg = tiny_cfg(8)
    config.optimizer.burn_in_images = 0
    config.optimizer.learning_rate = 1e-2
    task, optimizer, mesh = build(config), make_optimizer(config.optimizer), make_mesh()
    source = open_train_source(config, task.head)
    batch = next(train_batches(source, config, task.head, start_batch=0))
    return config, task, optimizer, mesh, batch


def test_a_joint_batch_is_what_the_step_is_compiled_for(smoke):
    config, task, _, mesh, batch = smoke
    expected = abstract_batch(config, task.head, SIZE, mesh)
    assert {k: (v.shape, v.dtype) for k, v in batch.items()} == {
        k: (v.shape, v.dtype) for k, v in expected.items()
    }


def test_loss_falls_on_a_batch_of_both_kinds(smoke):
    config, task, optimizer, _, batch = smoke
    state = new_state(task, config)
    step = jax.jit(make_train_step(config, task, optimizer))
    numbers = []
    for _ in range(40):
        state, metrics = step(state, batch)
        numbers.append(jax.device_get(metrics))
    assert numbers[0]["image_count"] == 2
    assert numbers[-1]["loss"] < 0.5 * numbers[0]["loss"]
    assert numbers[-1]["class_prob"] > numbers[0]["class_prob"]
    assert numbers[-1]["image_class_prob"] > numbers[0]["image_class_prob"]


def test_the_order_of_outputs():
    """Nodes 0, 1 | 2 | 3, 4, 5: the group of one comes first, then those of two and three."""
    model = ModelConfig(tree=(-1, -1, 0, 1, 1, 1), anchors=((1.0, 1.0), (2.0, 2.0)))
    (first, second) = output_order(model).reshape(2, 11)
    assert first.tolist() == [0, 1, 2, 3, 4, 7, 5, 6, 8, 9, 10]
    np.testing.assert_array_equal(second, first + 11)
    assert output_order(replace(model, anchors=())).tolist() == [2, 0, 1, 3, 4, 5]


@pytest.mark.parametrize("network", ["yolo9000", "darknet19"])
def test_weights_come_in_permuted_and_go_out_as_they_were(network, tmp_path):
    theirs = darknet_files(tmp_path, network)
    model = load_model(tmp_path / "a.weights", cfg=tmp_path / "a.cfg")
    ours = list(model.variables["params"].values())[-1]
    layout = bucket_layout(make_tree(model.config.model.tree))
    anchors, before = (1, 0) if network == "darknet19" else (3, 5)
    for leaf, values in theirs["params"]["output"].items():
        expected = values.reshape(*values.shape[:-1], anchors, -1)
        found = np.asarray(ours[leaf]).reshape(expected.shape)
        np.testing.assert_array_equal(found[..., :before], expected[..., :before])
        np.testing.assert_array_equal(
            found[..., before:][..., layout.position], expected[..., before:]
        )
    save_model(tmp_path / "b.weights", model)
    assert (tmp_path / "b.weights").read_bytes() == (tmp_path / "a.weights").read_bytes()
    assert (tmp_path / "b.tree").read_text() == SMALL.read_text()
    again = load_model(
        tmp_path / "b.weights", cfg=tmp_path / "b.cfg", names=tmp_path / "b.names"
    ).config.model
    kept = ("tree", "classes", "class_names", "anchors")
    assert [getattr(again, k) for k in kept] == [getattr(model.config.model, k) for k in kept]


def test_probabilities_are_those_of_the_nodes_in_the_file(tmp_path):
    """One softmax for each set of siblings, in the order of the file, against the decoder."""
    theirs = darknet_files(tmp_path)
    model = load_model(tmp_path / "a.weights", cfg=tmp_path / "a.cfg")
    parents = model.config.model.tree
    model.config.eval.nodes = tuple(range(len(parents)))
    image = jnp.asarray(np.random.default_rng(1).uniform(size=(1, *SIZE, 3)), jnp.float32)
    network = build(small_config())
    apply = jax.jit(partial(network.model.apply, train=False))
    raw = np.asarray(apply(theirs, image))
    logits = raw.reshape(-1, 31)[:, 5:].astype(np.float64)
    probs = np.zeros_like(logits)
    for parent in dict.fromkeys(parents):  # parents come before their children
        group = np.array(parents) == parent
        share = np.exp(logits[:, group])
        above = probs[:, [parent]] if parent >= 0 else 1
        probs[:, group] = above * share / share.sum(axis=1, keepdims=True)
    assert 0.01 < probs.std() < 0.5
    task = build(model.config)
    apply_ours = jax.jit(partial(task.model.apply, train=False))
    ours = task.decode(apply_ours(model.variables, image))
    objectness = 1 / (1 + np.exp(-raw.reshape(-1, 31)[:, 4].astype(np.float64)))
    order = np.argsort(-objectness, kind="stable")
    np.testing.assert_allclose(ours.objectness[0], objectness[order], rtol=1e-4)
    np.testing.assert_allclose(ours.class_probs[0], probs[order], rtol=2e-3, atol=1e-7)


def test_a_run_holds_its_tree(tmp_path):
    darknet_files(tmp_path)
    model = load_model(tmp_path / "a.weights", cfg=tmp_path / "a.cfg")
    save_model(tmp_path / "run", model)
    for file in ("small.tree", "a.cfg", "a.weights"):
        (tmp_path / file).unlink()
    again = load_model(tmp_path / "run")
    assert again.config == model.config == from_dict(to_dict(model.config))
    for key, leaf in flat(model.variables).items():
        np.testing.assert_array_equal(flat(again.variables)[key], leaf, err_msg=key)


def new_state(task, config):
    return fresh_state(Loaded(task, config, random_variables(task), 0))


def test_training_starts_from_the_weights_of_the_same_tree(tmp_path, capsys):
    darknet_files(tmp_path, "yolo9000")
    config = small_config("yolo9000")
    task = build(config)
    state = new_state(task, config)
    state = load_pretrained(str(tmp_path / "a.weights"), state, task, config)
    loaded = load_model(tmp_path / "a.weights", config).variables["params"]["output"]
    np.testing.assert_array_equal(state.params["output"]["kernel"], loaded["kernel"])
    capsys.readouterr()
    other = small_config("yolo9000", tree=(-1,) * 26)
    save_tensors(tmp_path / "b.safetensors", other, random_variables(task), 0)
    load_pretrained(str(tmp_path / "b.safetensors"), state, task, config)
    assert re.search(r"output +skipped +another kind of head", capsys.readouterr().out)


def test_a_cfg_without_its_tree_is_refused(tmp_path):
    darknet_files(tmp_path)
    (tmp_path / "small.tree").unlink()
    with pytest.raises(ValueError, match=r"the class tree data/small\.tree does not exist"):
        load_model(tmp_path / "a.weights", cfg=tmp_path / "a.cfg")
    (tmp_path / "small.tree").write_text("a -1\nb -1\n")
    with pytest.raises(ValueError, match=r"has 26 classes, but data/small\.tree has 2 nodes"):
        load_model(tmp_path / "a.weights", cfg=tmp_path / "a.cfg")


def test_a_tree_is_found_where_darknet_keeps_it(tmp_path):
    (tmp_path / "cfg").mkdir()
    (tmp_path / "data").mkdir()
    darknet_files(tmp_path / "cfg")
    (tmp_path / "cfg" / "small.tree").rename(tmp_path / "data" / "small.tree")
    (tmp_path / "data" / "small.names").write_text("".join(f"thing {i}\n" for i in range(26)))
    (tmp_path / "data" / "my.map").write_text("3\n7\n")
    cfg = tmp_path / "cfg" / "a.cfg"
    cfg.write_text(f"{cfg.read_text()}map=data/my.map\n")
    config = load_model(tmp_path / "cfg" / "a.weights", cfg=cfg).config
    assert config.model.class_names[25] == config.model.shown[25] == "thing 25"
    assert config.model.classes[25] == "s00025"
    assert Path(config.data.map).name == "my.map"


def test_a_known_network_with_a_tree_has_its_name(tmp_path):
    from yolojax.darknet.cfg import parse_cfg
    from yolojax.darknet.config import config_from_cfg

    config = small_config("yolo9000")
    config.model.width = 1.0
    text = cfg_text(config, str(SMALL))
    model = config_from_cfg(parse_cfg(text, "a.cfg"), name="a", text=text).model
    assert (model.name, model.cfg, len(model.tree)) == ("yolo9000", "", 26)


def test_onnx_is_refused_and_the_tree_is_one_of_the_files(tmp_path):
    config = small_config()
    model = Loaded(build(config), config, {}, 0)
    with pytest.raises(ValueError, match="ONNX export does not support the class tree"):
        save_model(tmp_path / "a.onnx", model)
    assert [path.suffix for path in files_of("a.weights", tree=True)] == [
        ".weights", ".cfg", ".names", ".tree",
    ]  # fmt: skip
    (tmp_path / "a.tree").write_text("a -1\n")
    with pytest.raises(ValueError, match=r"a\.tree: already exists"):
        check_free(tmp_path / "a.weights")


def test_the_published_networks_of_a_tree():
    """What the authors' .cfg files say, if Darknet is installed with their tree."""
    cfg = Path("/usr/share/darknet/cfg/yolo9000.cfg")
    if not cfg.is_file() or not Path("/usr/share/darknet/data/9k.tree").is_file():
        pytest.skip("Darknet's own .cfg and .tree are not installed")
    from yolojax.darknet.cfg import parse_cfg
    from yolojax.darknet.config import config_from_cfg

    text = cfg.read_text()
    config = config_from_cfg(
        parse_cfg(text, str(cfg)), name="yolo9000", text=text, folder=cfg.parent
    )
    assert (config.model.name, config.model.cfg) == ("yolo9000", "")
    assert (len(config.model.tree), config.model.shown[0]) == (9418, "thing")
    assert config.data.map.endswith("coco9k.map")
    assert sorted(output_order(config.model)) == list(range(28269))
