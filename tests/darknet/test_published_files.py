import re
from pathlib import Path

import pytest

from yolojax.darknet import published_files
from yolojax.darknet.cfg import parse_cfg
from yolojax.darknet.config import config_from_cfg
from yolojax.darknet.published_files import PUBLISHED_FILES
from yolojax.darknet.weights import entries
from yolojax.models import NETWORKS, build_network
from yolojax.models.layers import count_outputs_of_last
from yolojax.models.network import variable_shapes
from yolojax.models.published import PUBLISHED
from yolojax.tasks import build

DOCS = Path(__file__).parents[2] / "docs" / "weights.md"
DARKNET = Path("/usr/share/darknet/cfg")  # of the Debian package `darknet`
CFGS = {  # published file: its .cfg
    "yolov1.weights": "yolov1",
    "tiny-yolov1.weights": "yolov1-tiny",
    "yolov2.weights": "yolov2",
    "yolov2-voc.weights": "yolov2-voc",
    "yolov2-tiny.weights": "yolov2-tiny",
    "yolov2-tiny-voc.weights": "yolov2-tiny-voc",
    "darknet19.weights": "darknet19",
    "darknet19_448.weights": "darknet19_448",
    "extraction.weights": "extraction",
    "darknet.weights": "darknet",
    "tiny.weights": "tiny",
}
IDS = [entry.name for entry in PUBLISHED_FILES]


def sparse(path, size):
    with open(path, "wb") as file:
        file.truncate(size)
    return path


def named(name):
    return next(entry for entry in PUBLISHED_FILES if entry.name == name)


@pytest.mark.parametrize("entry", PUBLISHED_FILES, ids=IDS)
def test_size_is_that_of_the_network_and_a_header(entry):
    published = PUBLISHED[entry.network]
    published = published._replace(boxes=entry.boxes or published.boxes)
    model = build_network(published.network, published.outputs)
    shapes = variable_shapes(model, published.image_size)
    floats = sum(e.size for e in entries(model.table[: entry.upto], shapes))
    assert entry.bytes - 4 * floats in (16, 20)


@pytest.mark.parametrize("entry", PUBLISHED_FILES, ids=IDS)
def test_a_file_is_recognised_by_its_size_and_name(entry, tmp_path):
    assert published_files.recognise(sparse(tmp_path / entry.name, entry.bytes)) is entry


def test_the_name_alone_is_not_enough(tmp_path):
    assert published_files.recognise(sparse(tmp_path / "yolov2.weights", 1000)) is None
    tiny = sparse(tmp_path / "darknet19.weights", 4_185_968)
    assert published_files.recognise(tiny).name == "tiny.weights"


@pytest.mark.parametrize(
    ("size", "name"),
    [(248_007_048, "yolov3"), (35_434_956, "yolov3-tiny"), (257_717_640, "yolov4")],
)
def test_files_of_networks_that_are_not_built_are_named(tmp_path, size, name):
    path = sparse(tmp_path / "v.weights", size)
    text = published_files.explain(path, published_files.recognise(path))
    assert f"its {size} bytes are those of {name}.weights, whose network is not built here" in text
    assert not {entry.bytes for entry in PUBLISHED_FILES} & set(published_files.NOT_BUILT)


def test_another_name_of_a_published_file_is_told(tmp_path):
    for name in ("yolov2-voc.weights", "yolo-voc.weights", "mine.weights"):
        path = sparse(tmp_path / name, 202_704_264)
        text = published_files.explain(path, published_files.recognise(path))
        assert ("taken for yolov2-voc.weights by its length" in text) == (name == "mine.weights")


def test_two_files_of_one_size_need_a_name(tmp_path):
    candidates = "darknet19.weights and darknet19_448.weights have 83427120 bytes"
    with pytest.raises(ValueError, match=candidates):
        published_files.recognise(sparse(tmp_path / "backbone.weights", 83_427_120))


def test_a_missing_file_raises(tmp_path):
    for path in (tmp_path, tmp_path / "yolov2.weights"):
        with pytest.raises(FileNotFoundError, match=re.escape(str(path))):
            published_files.recognise(path)


@pytest.mark.parametrize(
    "entry", [e for e in PUBLISHED_FILES if "9000" not in e.name], ids=lambda e: e.name
)
def test_every_config_builds_its_network(entry):
    config = published_files.config_of(entry)
    task = build(config)
    published = PUBLISHED[entry.network]
    assert len(config.model.classes) == published.classes
    assert task.head == NETWORKS[published.network].head
    assert (task.model.epsilon, config.data.image_size) == ("cpu", published.image_size)
    boxes = entry.boxes or published.boxes
    assert count_outputs_of_last(task.model.table) == published._replace(boxes=boxes).outputs


def test_input_and_thresholds_are_those_of_darknet():
    v1, v2 = (published_files.config_of(named(n)) for n in ("yolov1.weights", "yolov2-voc.weights"))
    assert (v1.data.letterbox, v1.data.image_size) == (False, (448, 448))
    assert (v1.eval.score_threshold, v1.eval.iou_threshold) == (0.001, 0.5)
    assert (v2.data.letterbox, v2.data.image_size) == (True, (416, 416))
    assert (v2.eval.score_threshold, v2.eval.iou_threshold) == (0.005, 0.45)
    assert v1.data.resize == v2.data.resize == "darknet"


def test_every_network_has_its_recipe():
    v1, v2, tiny, classifier = (
        published_files.config_of(named(f"{name}.weights"))
        for name in ("yolov1", "yolov2", "yolov2-tiny", "darknet19_448")
    )
    assert (v1.data.augment.geometry, v1.data.augment.jitter) == ("crop", 0.2)
    assert (v1.loss.coord_weight, v1.loss.noobject_weight, v1.optimizer.images) == (
        5,
        0.5,
        40000 * 64,
    )
    assert (v2.data.augment.geometry, v2.data.augment.jitter) == ("letterbox", 0.3)
    assert (v2.loss.rescore, tiny.loss.rescore, tiny.data.augment.jitter) == (True, False, 0.2)
    assert v2.optimizer.images == tiny.optimizer.images == 500200 * 64
    assert (classifier.optimizer.policy, classifier.optimizer.batch_size) == ("poly", 128)
    assert classifier.data.classifier.scales == (1, 512 / 448)


@pytest.mark.skipif(not DARKNET.is_dir(), reason="the original .cfg files are not installed")
@pytest.mark.parametrize(("name", "cfg"), CFGS.items())
def test_recipe_equals_the_cfg(name, cfg):
    text = (DARKNET / f"{cfg}.cfg").read_text()
    ours, theirs = published_files.config_of(named(name)), parse_cfg(text, cfg)
    batch = {"batch": ours.optimizer.batch_size, "subdivisions": ours.optimizer.subdivisions}
    theirs = theirs._replace(net=theirs.net._replace(**batch))  # these stand in its comments
    again = config_from_cfg(theirs, name=cfg, classes=ours.model.classes, text=text)
    again.eval.metric = ours.eval.metric
    assert ours == again


def test_two_releases_of_yolov1_differ_in_their_boxes():
    assert published_files.config_of(named("yolov1.weights")).model.boxes == 3
    assert published_files.config_of(named("yolov1.weights (2016)")).model.boxes == 2


def test_yolo9000_needs_its_cfg():
    with pytest.raises(ValueError, match=r"9418 classes form a tree.*--cfg yolo9000\.cfg"):
        published_files.config_of(named("yolo9000.weights"))


def test_every_published_network_has_a_file():
    assert {entry.network for entry in PUBLISHED_FILES} == set(PUBLISHED)


@pytest.mark.parametrize("entry", PUBLISHED_FILES, ids=IDS)
def test_docs_list_every_file_with_its_size(entry):
    assert any(
        line.startswith(f"| {entry.name} ") and f"| {entry.bytes:,} " in line
        for line in DOCS.read_text().splitlines()
    )
