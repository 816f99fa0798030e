import math
from typing import get_args

import pytest

from yolojax.config import CONFIGS, Config, checked, field_types, read_config, with_overrides
from yolojax.config_ranges import (
    CHOICES,
    COUNT,
    RANGES,
    TRAINING_CHOICES,
    Range,
    check_ranges,
    value_of,
)
from yolojax.config_values import required_kind
from yolojax.data.classification import CROPS, VIEWS
from yolojax.data.transforms import MIN_SIDE
from yolojax.training.optimizer import POLICIES


def parts(kind):
    """The types of the single values in a field of this type."""
    inner = get_args(required_kind(kind))
    return {part for one in inner for part in parts(one)} if inner else {required_kind(kind)}


NUMERIC = [name for name, kind in field_types().items() if parts(kind) & {int, float}]


def test_every_field_of_numbers_has_a_range():
    assert RANGES.keys() == set(NUMERIC)
    assert CHOICES.keys() < field_types().keys() - RANGES.keys()


def test_the_choices_are_those_of_the_code():
    assert set(CHOICES["data.augment.geometry"]) == set(MIN_SIDE)
    assert set(CHOICES["data.resize"]) == set(CROPS)
    assert set(CHOICES["data.classifier_view"]) == {"", *VIEWS}
    assert set(TRAINING_CHOICES["optimizer.policy"]) == set(POLICIES)


@pytest.mark.parametrize("variant", ["", ":smoke"])
def test_every_shipped_config_is_in_range(variant):
    names = [path.stem for path in sorted(CONFIGS.glob("*.py"))]
    assert len(names) > 10
    for name in names:
        checked(read_config(name + variant))


def with_value(name, value):
    """A Config with all numbers of the field `name` replaced by `value`."""
    kind = required_kind(field_types()[name])
    if get_args(kind):
        (inner, *_) = get_args(kind)
        if not get_args(inner):
            return with_overrides(Config(), [f"{name}=({value!r},{value!r})"])
        first = "'a'" if str in get_args(inner) else repr(value)
        return with_overrides(Config(), [f"{name}=(({first},{value!r}),)"])
    return with_overrides(Config(), [f"{name}={value!r}"])


@pytest.mark.parametrize("name", NUMERIC)
def test_a_value_outside_is_refused_and_one_at_the_edge_is_not(name):
    wanted, whole = RANGES[name], float not in parts(field_types()[name])
    edges = ((wanted.low, wanted.has_low, -1), (wanted.high, wanted.has_high, 1))
    for edge, inside, outward in edges:
        if edge == math.inf:
            continue
        if inside:
            check_ranges(with_value(name, int(edge) if whole else edge))
        beyond = int(edge) + outward if whole else edge + outward * max(1, abs(edge)) / 100
        with pytest.raises(ValueError, match=rf"^config\.{name} (is|holds) .*: must be ") as caught:
            check_ranges(with_value(name, beyond))
        assert wanted.rule(beyond) in str(caught.value)


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("name", [name for name in NUMERIC if float in parts(field_types()[name])])
def test_infinity_and_nan_are_refused(name, number):
    config, (owner, _, field) = Config(), name.rpartition(".")
    owner = value_of(config, owner)
    setattr(owner, field, (number,) if isinstance(getattr(owner, field), tuple) else number)
    with pytest.raises(ValueError, match=rf"^config\.{name} (is|holds) {number}: must be "):
        check_ranges(config)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("eval.iou_threshold=45", r"is 45: must be from 0 to 1 \(45 percent is 0\.45\)\."),
        ("data.augment.flip=50", r"must be from 0 to 1 \(50 percent is 0\.5\)"),
        ("optimizer.learning_rate=-1", "optimizer.learning_rate is -1: must be from 0 to 1000"),
        ("optimizer.momentum=1", "must be from 0 to below 1"),
        ("log_every=0", r"config.log_every is 0: must be 1 or more\."),
        ("optimizer.clip_norm=0", "must be above 0 .*None is no clipping"),
        ("data.augment.geometry=crob", "config.data.augment.geometry is 'crob'.*mean 'crop'"),
        ("data.resize=cv", "config.data.resize is 'cv'"),
        ("data.on_bad_record=ignore", "config.data.on_bad_record"),
        ("optimizer.policy=step", "Did you mean 'steps'"),
        ("optimizer.step_images=(9, 8) optimizer.step_scales=(1., 1.)", "step_images.*must rise"),
        ("optimizer.step_images=(8, 9)", "step_scales is .*one scale for each of step_images"),
        ("optimizer.images=63", "optimizer.images is 63: must be at least one batch"),
        ("optimizer.subdivisions=3", "optimizer.subdivisions is 3: must divide"),
        ("optimizer.burn_in_images=9000000", "burn_in_images is 9000000: must be at most the run"),
        ("data.classifier.scales=(2, 1)", "data.classifier.scales"),
        ("data.augment.geometry=crop data.augment.jitter=.5", "below 0.5 with geometry 'crop'"),
        ("model.classes=('a', 'b') loss.class_weights=(1,)", "class_weights has 1 numbers.* 2 cl"),
        ("model.anchors=((30., 30.),)", r"pixels\? Divided by 32 they are \(0.938, 0"),
    ],
)  # fmt: skip
def test_the_likely_meaning_is_said(overrides, message):
    words = [word.replace(" ", ", ") for word in overrides.replace(", ", ",").split()]
    with pytest.raises(ValueError, match=message):
        checked(with_overrides(Config(), words))


def test_a_model_that_is_only_used_needs_no_training_that_works():
    wrong = ["model.anchors=((30., 30.),)", "optimizer.images=1", "optimizer.policy=sgdr"]
    config = with_overrides(Config(), wrong)
    assert checked(config, training=False) == config


def test_anchors_may_be_as_large_as_the_largest_grid():
    checked(with_overrides(Config(), ["model.anchors=((19., 19.),)", "data.image_size=64,64"]))
    checked(with_overrides(Config(), ["model.anchors=((32., 30.),)", "data.multiscale=(1024,)"]))


def test_a_range_reads_as_words():
    assert Range(0, 1).rule(2) == "from 0 to 1"
    assert Range(0, 1, has_high=False).rule(1) == "from 0 to below 1"
    assert Range(0, 9, has_low=False).rule(0) == "above 0 and at most 9"
    assert Range(0, has_low=False).rule(0) == "above 0"
    assert COUNT.rule(0) == "1 or more"
    assert COUNT.rule(2**31) == "at most 2147483647"
    assert Range(0, 1).rule(math.nan) == "a finite number"
