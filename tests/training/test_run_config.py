"""What may change in the config of a run, and the history of what did."""

import dataclasses
import json
from dataclasses import replace

import pytest

from yolojax.config import Config, DataConfig, LossConfig, ModelConfig, OptimizerConfig
from yolojax.tasks import build
from yolojax.training import run_config
from yolojax.training.run_config import HISTORY, MODEL_FIELDS, Change, differences, short

DETECTOR = ModelConfig("yolov2", ("cat", "dog"), ((1.0, 1.0), (2.0, 2.0)), width=1 / 32)
CONFIG = Config(model=DETECTOR, data=DataConfig(image_size=(64, 64)))
YOLOV1 = Config(
    model=ModelConfig("fast_yolo", ("cat", "dog"), side=1, width=1 / 64),
    data=DataConfig(image_size=(64, 64)),
)
DATA = {"train": {"pictures": 5, "boxes": 9, "digest": "a"}, "val": {"pictures": 2, "digest": "b"}}


def check(before, now):
    run_config.check("runs/a", before, now, build(now))


def of_model(**fields):
    return replace(CONFIG, model=replace(DETECTOR, **fields))


def history(folder):
    return [json.loads(line) for line in (folder / HISTORY).read_text().splitlines()]


def test_the_table_decides_about_every_field_of_the_model():
    assert MODEL_FIELDS.keys() == {field.name for field in dataclasses.fields(ModelConfig)}
    assert all(reason for _, reason in MODEL_FIELDS.values())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"classes": ("dog", "cat")},
            r"model.classes \('cat', 'dog'\), the config has \('dog', 'c",
        ),
        ({"classes": ("cat", "dog", "bird")}, r".*, the config has \('cat', 'dog', 'bird'\); "),
        ({"class_names": ("Katze", "Hund")}, "model.class_names"),
        ({"anchors": ((1.0, 1.0), (2.0, 3.0))}, "model.anchors"),
        ({"width": 0.5}, r"model.width 0.03125, the config has 0.5; use another --workdir, and "),
        ({"location": "anchor"}, "model.location 'sigmoid', the config has 'anchor'"),
        ({"class_activation": "sigmoid"}, "model.class_activation"),
        ({"name": "yolov2_tiny_voc"}, "model.name 'yolov2', the config has 'yolov2_tiny_voc'"),
    ],
)
def test_a_change_of_the_meaning_is_refused(fields, words):
    with pytest.raises(ValueError, match=f"runs/a was trained with {words}.*init_from=runs/a"):
        check(CONFIG, of_model(**fields))


def test_what_does_not_change_the_meaning_may_change():
    config = of_model(dtype="bfloat16", fast_forms="off", precision="float32", epsilon="cpu")
    config = replace(
        config,
        data=DataConfig("voc:x", "voc:y", image_size=(96, 96)),
        loss=LossConfig(box_loss="giou", coord_weight=2.0),
        optimizer=OptimizerConfig(images=64, learning_rate=1.0, ema_decay=None),
        seed=3,
    )
    check(CONFIG, config)
    check(CONFIG, replace(CONFIG, loss=LossConfig(name="region")))


def test_the_loss_of_another_head_is_refused():
    other = replace(CONFIG, loss=LossConfig(name="classification"))
    with pytest.raises(ValueError, match=r"loss\.name 'region', the config has 'classification'"):
        check(CONFIG, other)


def test_an_average_is_neither_begun_nor_ended():
    other = replace(CONFIG, optimizer=OptimizerConfig(ema_decay=0.9))
    with pytest.raises(ValueError, match=r"ema_decay None, the config has 0\.9"):
        check(CONFIG, other)
    check(other, replace(other, optimizer=OptimizerConfig(ema_decay=0.5)))


def test_another_input_size_is_refused_if_parameters_depend_on_it():
    larger = DataConfig(image_size=(128, 128))
    check(CONFIG, replace(CONFIG, data=larger))
    with pytest.raises(ValueError, match=r"data.image_size \(64, 64\), the config has \(128, 128"):
        check(YOLOV1, replace(YOLOV1, data=larger))


def test_lists_and_whole_numbers_are_no_difference():
    config = replace(CONFIG, model=replace(DETECTOR, classes=["cat", "dog"]))
    assert differences(CONFIG, replace(config, optimizer=OptimizerConfig(momentum=0.9))) == []
    now = replace(CONFIG, optimizer=OptimizerConfig(learning_rate=1))
    (change,) = differences(CONFIG, now)
    assert str(change) == "optimizer.learning_rate: 0.001 -> 1.0"


def test_a_run_keeps_what_only_its_start_reads(capsys):
    before = replace(CONFIG, init_from="a.weights")
    assert run_config.continued(before, CONFIG).init_from == "a.weights"
    assert capsys.readouterr().out == ""
    assert run_config.continued(before, replace(CONFIG, init_from="b")).init_from == "a.weights"
    assert "init_from=b has no effect" in capsys.readouterr().out


def test_long_values_are_shown_where_they_differ():
    names = tuple(f"class {i}" for i in range(80))
    assert short(names, (*names[:5], "x", *names[6:])) == ("entry 6 'class 5'", "entry 6 'x'")
    assert short(names, names[:-1]) == ("entry 80 'class 79'", "no entry 80")
    text = "[net]\n" + "filters=8\n" * 20
    assert short(text, text.replace("8", "9", 1)) == ("line 2 'filters=8'", "line 2 'filters=9'")
    assert short(1, 2.5) == ("1", "2.5")


def test_the_history_holds_the_data_and_each_change_from_its_step_on(tmp_path):
    rate = Change("optimizer.learning_rate", 0.1, 0.2)
    assert run_config.record_start(tmp_path, 0, [], DATA) == []
    assert run_config.record_start(tmp_path, 10, [], DATA) == []
    assert len(history(tmp_path)) == 1
    run_config.record_start(tmp_path, 20, [rate], DATA)
    first, second = history(tmp_path)
    assert (first["step"], first["changes"], first["data"]) == (0, {}, DATA)
    assert (second["step"], second["changes"]) == (20, {rate.field: [0.1, 0.2]})


def test_a_start_replaces_the_starts_that_no_checkpoint_has_seen(tmp_path):
    """Started at 20 with another rate, killed before a checkpoint, and started with the old one."""
    run_config.record_start(tmp_path, 0, [], DATA)
    run_config.record_start(tmp_path, 20, [Change("seed", 0, 1)], DATA)
    run_config.record_start(tmp_path, 20, [], DATA)
    assert [line["step"] for line in history(tmp_path)] == [0]
    run_config.record_start(tmp_path, 0, [], DATA)
    assert [line["step"] for line in history(tmp_path)] == [0]


def test_changed_annotations_are_told_and_recorded(tmp_path):
    run_config.record_start(tmp_path, 0, [], DATA)
    fewer = DATA | {"train": {"pictures": 4, "boxes": 8, "digest": "c"}}
    counts = "(5 pictures, 9 boxes then, 4 pictures, 8 boxes now)"
    told = [f"train: annotations changed since step 7 {counts}"]
    assert run_config.record_start(tmp_path, 7, [], fewer) == told
    assert history(tmp_path)[1]["notes"] == told
    assert history(tmp_path)[1]["data"] == fewer
    assert run_config.record_start(tmp_path, 9, [], fewer) == []
    other = fewer | {"val": {"pictures": 2, "digest": "x"}}
    counts = "(2 pictures then, 2 pictures now)"
    told = [f"val: annotations changed since step 9 {counts}"]
    assert run_config.record_start(tmp_path, 9, [], other) == told


def test_a_run_of_an_older_version_gets_a_history_from_here_on(tmp_path):
    assert run_config.record_start(tmp_path, 30, [], DATA) == []
    assert [line["step"] for line in history(tmp_path)] == [30]


def test_a_damaged_line_of_the_history_is_skipped(tmp_path, capsys):
    run_config.record_start(tmp_path, 0, [], DATA)
    with (tmp_path / HISTORY).open("a") as file:
        file.write('{"step": 5, "da\n{"step": 6, "data": [1], "changes": {}}\n')
    run_config.record_start(tmp_path, 7, [], DATA)
    assert f"{HISTORY}, line 2: damaged, skipped" in capsys.readouterr().err
    assert [line["step"] for line in history(tmp_path)] == [0, 6]
