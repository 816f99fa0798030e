"""`explain`: the picture in the source, its loss, and a whole run."""

from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolojax.config import Config, DataConfig, ModelConfig
from yolojax.data.records import BadRecord, Record
from yolojax.data.sources.shapes import load_shapes
from yolojax.data.transforms import letterbox
from yolojax.distributed.sharding import make_mesh
from yolojax.explain import explain_picture, make_watch
from yolojax.explain.observe import make_programs, observe
from yolojax.explain.pictures import batch_of_one, find_record, one_of
from yolojax.losses.terms import LossTerms, SumOfTerms
from yolojax.tasks import Task, build
from yolojax.training import checkpoint
from yolojax.training.optimizer import make_optimizer
from yolojax.training.state import create_state

ANCHORS = ((1.0, 1.0), (2.0, 3.0))
V2 = Config(
    model=ModelConfig("yolov2_tiny_voc", ("cat", "dog"), ANCHORS, width=1 / 16),
    data=DataConfig(image_size=(64, 96), max_boxes=4, train="shapes:val"),
)
V1 = Config(model=ModelConfig("yolov1_tiny", ("cat", "dog"), side=3), data=V2.data)
TREE = Config(
    model=ModelConfig("yolo9000", ("thing", "cat", "dog"), ANCHORS, tree=(-1, 0, 0)), data=V2.data
)
RAW = {"v2": (1, 2, 3, 2 * 7), "v1": (1, 9 * (2 + 5 * 2)), "tree": (1, 2, 3, 2 * 8)}
CONFIGS = {"v2": V2, "v1": V1, "tree": TREE}
TERMS = ["coord", "object", "noobject", "class"]


def a_batch(boxes, labels):
    """The boxes of one picture, padded to four."""
    padded = np.zeros((1, 4, 4), np.float32)
    padded[0, : len(boxes)] = np.reshape(boxes, (-1, 4))
    labels = np.array([[*labels] + [0] * (4 - len(labels))], np.int32)
    mask = np.arange(4)[None] < len(boxes)
    image = np.full((1, 64, 96, 3), 90, np.uint8)
    return {"image": image, "boxes": padded, "labels": labels, "mask": mask}


def seen_in(config, raw, batch, loss=None, seen=10**6):
    """(loss, view) of a network whose output is `raw`."""
    task = build(config)
    model = SimpleNamespace(apply=lambda variables, image, train: variables)
    task = task._replace(model=model, loss=loss or task.loss)
    return observe(make_programs(task, config), jnp.asarray(raw), batch, seen, config.model.classes)


TWO = a_batch([(0.4, 0.1, 0.6, 0.4), (0.7, 0.6, 0.9, 1.0)], [1, 0])


@pytest.mark.parametrize("kind", list(CONFIGS))
def test_maps_and_terms_are_those_of_the_loss(kind):
    config = CONFIGS[kind]
    raw = np.random.default_rng(0).normal(size=RAW[kind]).astype(np.float32)
    loss, view = seen_in(config, raw, TWO, seen=0)  # with the pull to the priors
    truths = {name: TWO[name] for name in ("boxes", "labels", "mask")}
    scalar, metrics = jax.jit(build(config).loss)(raw, truths, 0)
    assert loss == pytest.approx(float(scalar))
    assert list(view.terms) == TERMS
    for name, (value, cells) in view.terms.items():
        assert value == pytest.approx(float(metrics[f"loss_{name}"]), rel=1e-5)
        assert cells.shape == view.objectness.shape
        assert cells.sum() == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("kind", list(CONFIGS))
def test_cells_are_those_of_the_centres(kind):
    raw = np.random.default_rng(1).normal(size=RAW[kind]).astype(np.float32)
    _, view = seen_in(CONFIGS[kind], raw, TWO | {"labels": TWO["labels"] + (kind == "tree")})
    found = dict(
        zip(view.responsible.gt_index.tolist(), view.responsible.cell.tolist(), strict=True)
    )
    # The centres are (.5, .25) and (.8, .8), in a grid of 2 x 3 or 3 x 3.
    assert found == {0: [0, 1], 1: [2, 2] if kind == "v1" else [1, 2]}
    on = view.terms["class"][1] > 0
    assert sorted(np.argwhere(on).tolist()) == sorted(found.values())


def test_the_anchor_has_the_best_shape_and_the_centre_of_its_cell():
    _, view = seen_in(V2, np.zeros(RAW["v2"], np.float32), TWO)
    assert view.drawn_as == "anchor"
    assert view.responsible.anchor.tolist() == [0, 0]
    np.testing.assert_allclose(view.responsible.boxes[0], (1 / 3, 0, 2 / 3, 0.5), atol=1e-6)


def test_the_iou_is_that_of_the_predicted_box():
    raw = np.zeros(RAW["v2"], np.float32)  # every box is its anchor's
    exact = a_batch([(1 / 3, 0, 2 / 3, 0.5)], [0])
    _, view = seen_in(V2, raw, exact)
    np.testing.assert_allclose(view.responsible.iou, [1], rtol=1e-5)


@pytest.mark.parametrize("kind", list(CONFIGS))
def test_a_box_whose_position_is_taken_is_not_assigned(kind):
    twice = a_batch([(0.4, 0.1, 0.6, 0.4), (0.42, 0.1, 0.6, 0.4)], [1, 0])
    raw = np.zeros(RAW[kind], np.float32)
    _, view = seen_in(CONFIGS[kind], raw, twice)
    # YOLOv1 assigns the first box of a cell, YOLOv2 the last of an anchor position.
    assert view.responsible.gt_index.tolist() == [0 if kind == "v1" else 1]


def test_detections_are_shown():
    raw = np.full(RAW["v2"], -20, np.float32)
    raw[0, 1, 2, :7] = (0, 0, 0, 0, 2, 5, 0)  # .88 of an object, .99 of a cat
    _, view = seen_in(V2, raw, TWO)
    boxes, labels, scores = view.detections
    np.testing.assert_allclose(boxes, [(2 / 3, 0.5, 1, 1)], atol=1e-5)
    assert labels.tolist() == [0]
    assert scores == pytest.approx([0.875], abs=1e-3)
    assert np.unravel_index(view.objectness.argmax(), (2, 3)) == (1, 2)


def test_a_picture_without_boxes_has_objectness_only():
    _, view = seen_in(V2, np.zeros(RAW["v2"], np.float32), a_batch([], []))
    assert len(view.boxes) == len(view.responsible.gt_index) == 0
    assert view.terms["coord"][0] == 0
    assert view.terms["noobject"][0] == pytest.approx(12 / 8)  # half of .5 squared


def test_a_label_alone_has_no_cell():
    batch = a_batch([], []) | {"label": np.array([2], np.int32)}
    raw = np.random.default_rng(2).normal(size=RAW["tree"]).astype(np.float32)
    _, view = seen_in(TREE, raw, batch)
    value, cells = view.terms["class"]
    assert value > 0
    assert cells is None


@SumOfTerms
def own(raw, batch, seen):
    """A user's loss with a term in each cell and one of the whole image."""
    cells = jnp.square(raw).reshape(1, 2, 3, 2, 7)
    return LossTerms({"odd": jnp.ones(1), "squares": cells})


def test_terms_of_a_user_s_loss_are_shown():
    _, view = seen_in(V2, np.ones(RAW["v2"], np.float32), TWO, own)
    assert view.responsible is None
    assert view.terms["odd"] == (1, None)
    np.testing.assert_array_equal(view.terms["squares"][1], np.full((2, 3), 14))


def test_a_loss_without_terms_has_its_value():
    loss = lambda raw, batch, seen: (raw.sum(), {})  # noqa: E731
    value, view = seen_in(V2, np.ones(RAW["v2"], np.float32), TWO, loss)
    assert value == np.prod(RAW["v2"])
    assert view.terms == {}
    assert view.responsible is None


def test_classifiers_are_refused():
    task = Task(model=None, decode=None, loss=None, head="classes")
    with pytest.raises(ValueError, match=r"darknet19 is a classifier: .* no grid"):
        make_programs(task, Config(model=ModelConfig("darknet19")))


class Pictures(list):
    """A Source."""

    name, classes, skipped = "some:pictures", ("cat", "dog"), ()

    def __getitem__(self, index):
        if super().__getitem__(index) is None:
            raise BadRecord("broken")
        return super().__getitem__(index)


def a_record(image_id, image):
    boxes = np.array([[0, 0, 0.5, 0.5], [0.5, 0, 1, 1], [0, 0.5, 1, 1]], np.float32)
    flags = np.array([False, True, False]), np.array([False, False, True])
    return Record(image_id, image, boxes, np.array([1, 0, 0]), *flags, np.ones(3, np.float32))


def some_pictures():
    files = [a_record(name, Path(f"photos/{name}.jpg")) for name in ("000005", "000007", "2")]
    return Pictures([*files, None, a_record("drawn", np.zeros((8, 8, 3), np.uint8))])


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ("000007", 1),
        ("photos/000007.jpg", 1),
        (str(Path("photos/000007.jpg").resolve()), 1),
        ("000007.jpg", 1),
        ("drawn", 4),
        ("1", 1),
        ("2", 2),  # the id, which here is the index too
        ("4", 4),
    ],
)
def test_pictures_are_found_by_id_file_and_index(wanted, index):
    assert find_record(some_pictures(), wanted) == index


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [("000006", "near it are '00000"), ("5", "index in 0..4"), ("zebra", "one is '000005'")],
)
def test_an_unknown_picture_names_near_ones(wanted, hint):
    with pytest.raises(ValueError, match=f"{wanted}' is no picture of some:pictures.*{hint}"):
        find_record(some_pictures(), wanted)


def test_the_batch_has_the_input_of_evaluation_and_the_boxes_of_training():
    image = np.random.default_rng(0).integers(0, 255, (50, 100, 3), np.uint8)
    batch = batch_of_one(a_record("a", image), V2)
    np.testing.assert_array_equal(batch["image"][0], letterbox(image, (64, 96))[0])
    assert batch["mask"].tolist() == [[True, False, False, False]]  # neither difficult nor crowd
    assert batch["labels"][0, 0] == 1
    np.testing.assert_allclose(batch["boxes"][0, 0], (0, 8 / 64, 0.5, 32 / 64), atol=1e-6)
    assert "label" not in batch


def test_the_first_picture_with_boxes_of_a_batch_is_drawn():
    batch = {"mask": np.array([[False], [True], [True]]), "image_id": np.arange(3)}
    assert one_of(batch)["image_id"].tolist() == [1]
    assert one_of({"mask": np.zeros((2, 1), bool), "image_id": np.arange(2)})["image_id"] == [0]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that has seen 64 images: its folder, config and state."""
    config = Config(model=ModelConfig(**vars(V2.model)), data=DataConfig(**vars(V2.data)))
    config.model.classes = load_shapes("val").classes
    task, mesh = build(config), make_mesh(jax.devices()[:1])
    state = create_state(task, make_optimizer(config.optimizer), config, mesh)
    state = state._replace(step=jnp.int32(1), seen=jnp.int32(64))
    workdir = tmp_path_factory.mktemp("runs") / "tiny"
    checkpoint.save_config(workdir, config)
    with checkpoint.open_manager(workdir, keep=1) as manager:
        checkpoint.save(manager, state, config)
    return workdir, config, state


def test_a_picture_of_a_run_is_explained(run, monkeypatch):
    views = []
    monkeypatch.setattr("yolojax.explain.api.draw_loss", lambda view: views.append(view) or "drawn")
    found = explain_picture(run[0], "val_00003")
    assert found.figure == "drawn"
    assert found.image_id == "val_00003"
    assert found.loss == pytest.approx(sum(found.terms.values()), rel=1e-5)
    assert views[0].title == f"tiny · val_00003 · step 1 · loss {found.loss:.4g}"
    assert explain_picture(run[0], "3", data="shapes:train").image_id == "train_00003"


def test_no_figures_by_default(run):
    workdir, config, state = run
    assert make_watch(build(config), config, state, workdir) is None
