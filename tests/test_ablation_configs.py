"""The overlays in configs/ablation and configs/box_terms, row by row."""

import copy
import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from yolojax.ablation.rows import read_rows
from yolojax.models.network import variable_shapes
from yolojax.tasks import build

CONFIGS = Path(__file__).parents[1] / "configs"
# Of each row of the ablation: network, location, anchors, side of images in :small and in full.
ROWS = [
    ("yolov1_paper", "sigmoid", 0, 192, 448),
    ("yolov1", "sigmoid", 0, 192, 448),
    ("yolov1", "sigmoid", 0, 192, 448),
    ("yolov2_extraction", "anchor", 9, 160, 416),
    ("yolov2_plain", "anchor", 9, 160, 416),
    ("yolov2_plain", "sigmoid", 5, 160, 416),
    ("yolov2", "sigmoid", 5, 160, 416),
    ("yolov2", "sigmoid", 5, 160, 416),
    ("yolov2", "sigmoid", 5, 224, 544),
]
FORMS = ("", ":small", ":smoke")


def on_shapes(config):
    """`config` for data that needs no download."""
    config = copy.deepcopy(config)
    config.data.train, config.data.val = "shapes:val", "shapes:val"
    config.model.classes = ("circle", "square", "triangle", "star")
    return config


@pytest.fixture(scope="module", params=FORMS)
def ablation(request):
    return request.param, read_rows(f"{CONFIGS / 'ablation'}{request.param}", on_shapes)


@pytest.fixture(scope="module", params=FORMS)
def box_terms(request):
    return read_rows(f"{CONFIGS / 'box_terms'}{request.param}", on_shapes)


def assert_loss_is_a_scalar(config):
    task, size = build(config), config.data.image_size
    shapes = variable_shapes(task.model, size)
    batch = {
        "boxes": jax.ShapeDtypeStruct((2, 3, 4), jnp.float32),
        "labels": jax.ShapeDtypeStruct((2, 3), jnp.int32),
        "mask": jax.ShapeDtypeStruct((2, 3), jnp.bool_),
    }

    def run(variables, image, batch):
        raw = task.model.apply(variables, image)
        return task.loss(raw, batch, 64)[0], task.decode(raw)

    image = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    loss, found = jax.eval_shape(run, shapes, image, batch)
    assert loss.shape == ()
    assert found.boxes.shape[::2] == (2, 4)


def test_the_rows_are_those_of_the_paper_s_table(ablation):
    form, rows = ablation
    for row, (network, location, anchors, small, full) in zip(rows, ROWS, strict=True):
        model = row.config.model
        assert (model.name, model.location, len(model.anchors)) == (network, location, anchors)
        if form != ":smoke":
            side = small if form else full
            assert row.config.data.image_size == (side, side)


def test_every_row_but_the_classifier_differs_from_the_previous_one(ablation):
    form, rows = ablation
    same = [row.name for row in rows if row.not_run]
    assert same == (["c_hires_classifier"] if form else [])


def test_what_is_no_row_s_subject_is_the_same_in_all(ablation):
    _, rows = ablation
    first, *others = (row.config for row in rows)
    for config in others:
        for field in ("batch_size", "images", "momentum", "weight_decay", "ema_decay"):
            assert getattr(config.optimizer, field) == getattr(first.optimizer, field)
        assert (config.seed, config.model.width) == (first.seed, first.model.width)
        assert (config.eval, config.data.augment) == (first.eval, first.data.augment)


def test_every_row_of_the_ablation_has_a_loss_and_boxes(ablation):
    for row in ablation[1]:
        assert_loss_is_a_scalar(row.config)


def test_multi_scale_is_round_the_size_before(ablation):
    form, rows = ablation
    wanted = {":small": (128, 160, 192, 224), ":smoke": (64, 96)}
    assert rows[7].config.data.multiscale == wanted.get(form, tuple(range(320, 609, 32)))
    assert rows[6].config.data.multiscale == ()


def test_rows_of_the_full_form_start_from_a_classifier():
    rows = read_rows(str(CONFIGS / "ablation"), on_shapes)
    started = [row.config.init_from.removeprefix("runs/") for row in rows]
    assert started[:2] == ["extraction_plain.weights", "extraction"]
    assert started[2:] == ["extraction_448"] * 2 + ["darknet19_448"] * 5


def test_hand_picked_anchors_are_faster_rcnn_s(ablation):
    form, rows = ablation
    if form:
        return
    sides = [(w * h) ** 0.5 * 600 / 13 for w, h in rows[3].config.model.anchors]
    assert sides == pytest.approx([128] * 3 + [256] * 3 + [512] * 3, rel=1e-3)
    assert rows[3].config.optimizer.step_scales == (0.1, 0.1)


def test_box_terms_differ_in_the_loss_alone(box_terms):
    first, *others = (row.config for row in box_terms)
    assert [row.config.loss.box_loss for row in box_terms] == ["squared", "iou", "giou", "ciou"]
    for config in others:
        assert_loss_is_a_scalar(config)
        assert dataclasses.replace(config, loss=first.loss) == first


@pytest.mark.parametrize("name", ["ablation", "box_terms"])
def test_another_form_is_refused(name):
    with pytest.raises(ValueError, match="forms :small and :smoke, got 'smal'"):
        read_rows(f"{CONFIGS / name}:smal", on_shapes)
