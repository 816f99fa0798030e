"""Comparisons of runs, and the errors and commands for runs that cannot be compared."""

import json
import shlex

import numpy as np
import pytest
from evaluated_runs import CLASSES, make_classifier_run, make_run

from yolojax.config import Config
from yolojax.evaluation.compare import OLD_TEXTS, compare, config_differences, flatten

IMAGES = 40
ALL = np.ones((IMAGES, 2), bool)
HALF = np.arange(IMAGES)[:, None] % 2 == [0, 0]
CELLS = ALL * [True, False]  # every cell, no platelet


def test_compare_detectors(tmp_path):
    first, second = make_run(tmp_path / "a", HALF), make_run(tmp_path / "b", ALL)
    result = compare([first, second])
    json.dumps(result, allow_nan=False)
    assert (result["source"], result["images"], result["metric"]) == (
        "voc:bccd:test", IMAGES, "voc10",
    )  # fmt: skip
    assert result["runs"]["b"]["value"] == 1.0
    assert list(result["differences"]) == ["b"]
    overall = result["differences"]["b"]["all"]
    assert overall["difference"] == pytest.approx(1 - result["runs"]["a"]["value"])
    assert overall["beyond_noise"]
    assert result["config"] == {}
    assert result["runs"]["b"]["errors"]["correct"] == 1.0
    assert result["runs"]["a"]["speed"] == {"input": 1.0, "network": 2.0}


def test_each_class_and_each_run_against_the_first(tmp_path):
    folders = [make_run(tmp_path / n, h) for n, h in zip("abc", (CELLS, ALL, CELLS), strict=True)]
    result = compare(folders, resamples=50)
    better, same = result["differences"]["b"]["per_class"], result["differences"]["c"]["per_class"]
    assert better["cell"]["interval"] == [0, 0]
    assert better["platelet"]["difference"] == 1
    assert better["platelet"]["beyond_noise"]
    assert all(same[name]["difference"] == 0 for name in CLASSES)


def test_another_evaluation_by_name(tmp_path):
    for name in "ab":
        make_run(tmp_path / name, HALF)
        make_run(tmp_path / name, ALL if name == "b" else HALF, name="test")
    folders = [tmp_path / "a", tmp_path / "b"]
    assert compare(folders)["differences"]["b"]["all"]["difference"] == 0
    assert compare(folders, "test")["differences"]["b"]["all"]["difference"] > 0


def test_runs_with_equal_names_are_named_by_path(tmp_path):
    folders = [make_run(tmp_path / x / "run", ALL) for x in "ab"]
    assert list(compare(folders, resamples=5)["runs"]) == list(map(str, folders))


def test_config_differences_have_dotted_names(tmp_path):
    config = Config()
    config.loss.box_loss, config.data.image_size = "giou", (64, 96)
    first, second = make_run(tmp_path / "a", ALL), make_run(tmp_path / "b", ALL, config=config)
    old = json.loads((first / "config.json").read_text())
    del old["loss"]["focal_gamma"]  # of a time before that field: its default is no difference
    (first / "config.json").write_text(json.dumps(old))
    assert compare([first, second], resamples=5)["config"] == {
        "data.image_size": {"a": [416, 416], "b": [64, 96]},
        "loss.box_loss": {"a": "squared", "b": "giou"},
    }


def test_a_field_of_some_runs_only_is_a_difference():
    assert flatten({"a": {"b": (1, 2)}, "c": None}) == {"a.b": [1, 2], "c": None}
    configs = {"x": {"a": 1, "b": 0}, "y": {"a": True}, "weights": {}}
    assert config_differences(configs) == {"a": {"x": 1, "y": True}, "b": {"x": 0, "y": None}}


def command_in(error):
    """Return the arguments of the eval command at the end of the message."""
    return shlex.split(str(error.value).rpartition("yolojax eval ")[2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iou_threshold": 0.6}, "eval.iou_threshold is 0.6, in .*a 0.45"),
        ({"metric": "coco_AP"}, "eval.metric is 'coco_AP', in .*a 'voc10'"),
        ({"source": "voc:bccd:val"}, "source is 'voc:bccd:val', in .*a 'voc:bccd:test'"),
        ({"max_detections": 9, "top_k": 7}, "eval.top_k is 7.*; eval.max_detections is 9"),
    ],
)
def test_another_protocol_raises_with_a_command(change, message, tmp_path):
    first, second = make_run(tmp_path / "a", ALL), make_run(tmp_path / "b", ALL, **change)
    with pytest.raises(ValueError, match=message) as error:
        compare([first, second])
    expected = [f"--workdir={second}", "--name=val", "--data=voc:bccd:test"]
    assert command_in(error) == expected


def test_the_command_sets_missing_fields(tmp_path):
    config = Config()
    config.eval.score_threshold = 0.1
    first = make_run(tmp_path / "a", ALL, iou_threshold=0.5)
    second = make_run(tmp_path / "b", ALL, config=config, score_threshold=0.005)
    with pytest.raises(ValueError, match="another protocol") as error:
        compare([first, second])
    flags = ["--config.eval.score_threshold=0.005", "--config.eval.iou_threshold=0.5"]
    assert command_in(error)[-2:] == flags


def test_a_missing_evaluation_raises_with_a_command(tmp_path):
    first, second = make_run(tmp_path / "a", ALL), make_run(tmp_path / "b", ALL)
    make_run(tmp_path / "a", ALL, name="test")
    with pytest.raises(FileNotFoundError, match=r"b/eval/test\.json: not found") as error:
        compare([first, second], "test")
    assert command_in(error) == [f"--workdir={second}", "--name=test", "--data=voc:bccd:test"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError) as error:
        compare([tmp_path / "empty", first])
    assert "--weights=FILE" in command_in(error)  # no run was trained there
    (second / "eval" / "val_matches.npz").unlink()
    with pytest.raises(FileNotFoundError, match=r"val_matches\.npz: not found"):
        compare([first, second])


def test_other_images_raise(tmp_path):
    first, second = make_run(tmp_path / "a", ALL), make_run(tmp_path / "b", ALL[:-1])
    with pytest.raises(ValueError, match="id of image 39 is none and 'picture39'") as error:
        compare([first, second])
    assert command_in(error)[0] == f"--workdir={second}"


def test_a_result_of_an_older_version_is_compared(tmp_path):
    first, second = make_run(tmp_path / "a", HALF), make_run(tmp_path / "b", ALL)
    path = first / "eval" / "val.json"
    result = json.loads(path.read_text())
    for old, new in OLD_TEXTS.items():
        result["protocol"] = {k: old if v == new else v for k, v in result["protocol"].items()}
    result["protocol"]["kept"] = "score > 0.005, at most 100 an image"
    assert "excuses" in result["protocol"]["coco"]
    path.write_text(json.dumps(result))
    assert compare([first, second], resamples=5)["differences"]["b"]["all"]["difference"] > 0


@pytest.mark.parametrize("content", ["{broken", "[1]"])
def test_a_damaged_result_raises(content, tmp_path):
    first, second = make_run(tmp_path / "a", ALL), make_run(tmp_path / "b", ALL)
    (second / "eval" / "val.json").write_text(content)
    with pytest.raises(ValueError, match=r"b/eval/val\.json: "):
        compare([first, second])


def test_one_run_or_a_duplicate_raises(tmp_path):
    first = make_run(tmp_path / "a", ALL)
    for folders in ([first], [first, tmp_path / "b" / ".." / "a"]):
        with pytest.raises(ValueError, match="two or more different runs"):
            compare(folders)


def test_compare_classifiers(tmp_path):
    labels = np.arange(100) % 2
    first = make_classifier_run(tmp_path / "a", labels == 0, labels)
    second = make_classifier_run(tmp_path / "b", labels < 2, labels)
    result = compare([first, second])
    json.dumps(result, allow_nan=False)
    found = result["differences"]["b"]
    assert (found["all"]["difference"], found["all"]["beyond_noise"]) == (0.5, True)
    assert [found["per_class"][name]["difference"] for name in CLASSES] == [0, 1]
    assert result["runs"]["a"]["numbers"] == {"top1": 0.5, "top5": 1.0}
    assert result["runs"]["a"]["errors"] is None
    make_classifier_run(second, labels < 2, 1 - labels)
    with pytest.raises(ValueError, match="images or their labels"):
        compare([first, second])
    with pytest.raises(ValueError, match="the same classes and the same kind"):
        compare([first, make_run(tmp_path / "c", ALL, source="folder:x:val", metric="top1")])
