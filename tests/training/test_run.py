"""Runs of the training function on drawn shapes: resume, signals, compilations, NaN, devices."""

import dataclasses
import gzip
import json
import math
import os
import shutil
import signal
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_runs import BATCH, assert_same_update, lines, small_run, state_of, updated

from yolojax import train as script
from yolojax.config import EvalConfig
from yolojax.distributed.sharding import make_mesh
from yolojax.evaluation import detection
from yolojax.loading import describe, in_words, load_model
from yolojax.tasks import build
from yolojax.training import checkpoint, run_lock
from yolojax.training.compilation import compile_train_steps, record_compilations
from yolojax.training.goodput import read_events, seconds_by_part
from yolojax.training.metrics import NotFinite, RunLog
from yolojax.training.optimizer import make_optimizer
from yolojax.training.ranking import ranking_of
from yolojax.training.state import create_state, inference_variables
from yolojax.training.step import make_train_step

PARTS = ("step", "input", "device", "host")
START_EVENTS = ("start", "setup", "compile", "training")
END_EVENTS = ("evaluation", "checkpoint", "stop")


def train(config, workdir, *more):
    script.train(config, workdir, make_mesh(jax.devices()[:1]), *more)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run of six batches without interruption, of which two are traced."""
    workdir = tmp_path_factory.mktemp("straight")
    train(small_run(), workdir, (2, 3))
    return workdir


def steps_of(workdir):
    return [line for line in lines(workdir) if "train/loss" in line]


def signal_after(monkeypatch, step, number=signal.SIGTERM):
    """Send this process a signal after `step` is dispatched."""
    record_step = RunLog.step

    def record_and_signal(self, current, *rest):
        record_step(self, current, *rest)
        if current == step:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(RunLog, "step", record_and_signal)


def test_a_run_stopped_by_a_signal_and_resumed_equals_one_without(straight, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        signal_after(patch, 3)
        train(small_run(), tmp_path)
    # The other run saved it while the next step took its buffers.
    chex.assert_trees_all_equal(state_of(tmp_path), state_of(straight, 3))
    train(small_run(), tmp_path)
    chex.assert_trees_all_equal(state_of(tmp_path), state_of(straight))
    timely = {"train/images_per_sec", "train/input_wait", *(f"train/{part}_ms" for part in PARTS)}
    for ours, theirs in zip(steps_of(tmp_path), steps_of(straight), strict=True):
        assert timely < ours.keys()
        for name in ours.keys() - timely:  # the batch's fingerprint among them
            assert ours[name] == theirs[name], (ours["step"], name)
    events = [line["event"] for line in read_events(tmp_path)]
    assert events == [*START_EVENTS, "checkpoint", "stop", *START_EVENTS, *END_EVENTS]
    assert seconds_by_part(read_events(tmp_path))["lost"] == 0  # all was saved at the signal


def test_a_run_records_its_events(straight):
    events = read_events(straight)
    assert [(line["event"], line["step"]) for line in events] == [
        *((event, 0) for event in START_EVENTS[:3]),
        ("training", 3), ("checkpoint", 3), ("training", 6),
        *((event, 6) for event in END_EVENTS),
    ]  # fmt: skip
    compiled, stop = events[2], events[-1]
    assert compiled["planned_gb"].keys() == {"64x64", "96x96"}
    assert 0 < compiled["planned_gb"]["64x64"] < compiled["planned_gb"]["96x96"] < 0.1
    assert 2 < compiled["compilations"] == stop["compilations"]
    seconds = seconds_by_part(events)
    assert sum(seconds.values()) == pytest.approx(stop["time"] - events[0]["time"])
    (goodput,) = (line["run/goodput"] for line in lines(straight) if "run/goodput" in line)
    assert 0 < goodput < 1
    assert seconds["compile"] > seconds["lost"] == seconds["down"] == 0


def test_the_parts_of_a_step_add_up(straight):
    for line in steps_of(straight):
        step, *parts = (line[f"train/{part}_ms"] for part in PARTS)
        assert step == pytest.approx(sum(parts))
        assert step == pytest.approx(1000 * BATCH / line["train/images_per_sec"])
        assert not {"train/mfu", "train/hbm_peak_gb"} & line.keys()  # unknown for a CPU


def test_two_steps_are_traced(straight):
    (trace,) = (straight / "profile").rglob("*.trace.json.gz")
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    steps = {event["args"]["step_num"] for event in events if event.get("name") == "train"}
    assert {int(step) for step in steps} == {2, 3}


def test_multi_scale_changes_the_size_during_the_run(straight):
    assert {line["train/size"] for line in steps_of(straight)} == {64, 96}


def test_a_run_writes_its_records(straight):
    for name in (
        "config.json", "env.json", "metrics.jsonl", "checkpoints", "plots/curves.png",
        "plots/train_batch0.jpg", "plots/val_batch0_pred.jpg", "eval/val.json",
    ):  # fmt: skip
        assert (straight / name).exists(), name
    assert list(straight.glob("events*"))
    result = json.loads((straight / "eval" / "val.json").read_text())
    assert {"voc07_11pt", "voc10", "coco_AP", "protocol"} <= result.keys()
    about = {"workdir": str(straight), "step": 6, "choice": "last", "averaged": True}
    assert result["checkpoint"] == about


def test_each_size_compiles_once_before_the_first_step(tmp_path, monkeypatch):
    """Counted by JAX's compilations and by the traces of the train step."""
    at_step, programs = [], []

    def make_traced(*args):
        return chex.assert_max_traces(make_train_step(*args), n=2)  # one for each size

    def compile_steps(*args):
        programs.append(compile_train_steps(*args))
        return programs[-1]

    monkeypatch.setattr(script, "make_train_step", make_traced)
    monkeypatch.setattr(script, "compile_train_steps", compile_steps)
    chex.clear_trace_counter()
    with record_compilations() as compiled:
        step = RunLog.step

        def counting(self, *args):
            at_step.append(len(compiled))
            step(self, *args)

        monkeypatch.setattr(RunLog, "step", counting)
        train(small_run(8), tmp_path)
    assert [set(sizes) for sizes in programs] == [{(64, 64), (96, 96)}]
    names = [compilation.name for compilation in compiled]
    assert names.count("jit(train_step)") == 2
    assert len(at_step) == 8
    assert at_step[-1] == at_step[0], "a step compiled something"


def one_size():
    config = small_run()
    config.data.multiscale = ()
    return config


def test_a_loss_that_is_not_finite_stops_the_run_and_saves_the_batch(tmp_path):
    config = one_size()
    config.optimizer.learning_rate = 1e30
    with pytest.raises(NotFinite, match=r"step \d: the loss is .*not finite: loss") as caught:
        train(config, tmp_path)
    step = int(str(caught.value).split()[1].rstrip(":"))
    saved = np.load(tmp_path / "broken" / f"batch_{step}.npz")
    assert saved["image"].shape[0] == BATCH
    assert all(math.isfinite(line["train/loss"]) for line in steps_of(tmp_path))


def test_a_gradient_that_is_not_finite_is_not_saved(tmp_path, monkeypatch):
    """The loss of the step is finite; only the next parameters would not be."""

    def breaking(*args):
        step = make_train_step(*args)

        def broken(state, batch):
            state, numbers = step(state, batch)
            return state, numbers | {"grad_norm": jnp.where(state.step == 3, jnp.nan, 1.0)}

        return broken

    monkeypatch.setattr(script, "make_train_step", breaking)
    with pytest.raises(NotFinite, match=r"step 3: .* grad_norm"):
        train(one_size(), tmp_path)  # a checkpoint is due at step 3
    assert not list((tmp_path / "checkpoints").glob("[0-9]*"))


def test_the_state_is_saved_if_the_evaluation_fails(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ValueError("the evaluation is broken")

    monkeypatch.setattr(detection, "evaluate_source", fail)
    with pytest.raises(ValueError, match="is broken"):
        train(small_run(), tmp_path)
    assert int(state_of(tmp_path).step) == 6


def test_a_finished_run_is_left_unchanged(straight, capsys):
    def content():
        names = ("metrics.jsonl", "config.json", "env.json", "config_history.jsonl")
        return [(straight / name).read_bytes() for name in names]

    before, config = content(), small_run()
    config.loss.box_loss = "giou"
    train(config, straight)
    assert content() == before
    told = "nothing is left to train: the run keeps its own\n  loss.box_loss: 'squared' -> 'giou'"
    assert told in capsys.readouterr().out


@pytest.fixture
def copied(straight, tmp_path):
    return Path(shutil.copytree(straight, tmp_path / "copy"))


def begin(config, workdir, monkeypatch):
    """Start a run and end it before it trains."""
    monkeypatch.setattr(script, "compile_train_steps", fail_to_begin)
    with pytest.raises(InterruptedError):
        train(config, workdir)


def fail_to_begin(*_):
    raise InterruptedError


def test_what_changes_in_a_run_is_told_and_recorded(copied, monkeypatch, capsys):
    config = small_run(9)
    config.optimizer.learning_rate, config.eval.metric = 0.5, "coco_AP"
    config.data.train = "shapes:val"
    begin(config, copied, monkeypatch)
    first, second = (copied / "config_history.jsonl").read_text().splitlines()
    assert json.loads(first)["step"] == 0
    assert json.loads(second)["step"] == 6
    assert json.loads(second)["changes"] == {
        "data.train": ["shapes:train", "shapes:val"],
        "optimizer.images": [48, 72],
        "optimizer.learning_rate": [small_run().optimizer.learning_rate, 0.5],
        "eval.metric": ["voc10", "coco_AP"],
    }
    assert checkpoint.load_config(copied) == config
    said = capsys.readouterr().out
    assert "differs from that of step 6, from here on" in said
    assert "train: annotations changed since step 6 (" in said
    assert "begins a new ranking of checkpoints (eval.metric: 'voc10' -> 'coco_AP')" in said
    assert not (copied / "run.lock").exists()


def test_a_model_is_loaded_with_the_config_of_its_checkpoint(copied):
    fields = json.loads((copied / "config.json").read_text())
    fields["model"]["classes"] = ["w", "x", "y", "z"]
    (copied / "config.json").write_text(json.dumps(fields))
    model = load_model(copied)
    assert model.config == small_run()
    assert describe(copied) == small_run()
    assert (model.source["step"], model.source["choice"]) == (6, "best")
    assert (model.source["averaged"], model.source["metric"]) == (True, "voc10")
    assert in_words(model.source) == (
        f"{copied}: checkpoint of step 6, the best by voc10 on shapes:val; averaged parameters"
    )


def test_a_checkpoint_of_another_model_is_not_continued(copied, capsys):
    config = small_run(9)
    config.model.classes = config.model.classes[::-1]
    with pytest.raises(ValueError, match=r"was trained with model\.classes"):
        train(config, copied)
    assert checkpoint.load_config(copied) == small_run()
    assert "shapes" not in capsys.readouterr().out  # before the data is opened


def test_a_workdir_in_which_another_process_trains_is_refused(straight):
    with run_lock.hold(straight), pytest.raises(ValueError, match=r"process \d+ on .* trains here"):
        train(small_run(9), straight)


def test_another_network_is_refused_and_leaves_the_run_unchanged(straight):
    config = small_run()
    config.model.cfg = config.model.cfg.replace("filters=8", "filters=16")
    message = (
        r"model\.cfg line 7 'filters=8', the config has line 7 'filters=16'; use another --wor"
    )
    with pytest.raises(ValueError, match=message):
        train(config, straight)
    assert checkpoint.load_config(straight) == small_run()


def test_a_batch_size_that_does_not_divide_the_images_seen_is_refused(straight):
    config = small_run()
    config.optimizer.batch_size = 5
    with pytest.raises(ValueError, match="batch_size is 5, but 48 images are done"):
        train(config, straight)


def test_the_averaged_parameters_are_evaluated(straight):
    variables = inference_variables(checkpoint.restore_best(straight).state)
    state = state_of(straight)
    chex.assert_trees_all_equal(jax.device_get(variables), state.ema)
    layer = list(state.params)[-1]
    kernel = state.params[layer]["kernel"]
    assert not np.array_equal(state.ema["params"][layer]["kernel"], kernel)


def test_the_newest_and_the_best_checkpoints_remain(tmp_path):
    config = small_run()
    task, optimizer = build(config), make_optimizer(config.optimizer)
    state = create_state(task, optimizer, config, make_mesh(jax.devices()[:1]))
    scores = {1: 0.2, 2: 0.9, 3: None, 4: 0.5, 5: None}
    with checkpoint.open_manager(tmp_path, keep=2) as manager:
        for step, score in scores.items():
            checkpoint.save(manager, state._replace(step=jnp.int32(step)), config, score)
    with checkpoint.open_manager(tmp_path, keep=2) as manager:
        assert list(manager.all_steps()) == [2, 4, 5]
        assert checkpoint.best(manager).step == 2
        assert checkpoint.best(manager).ranking == ranking_of(config)
        coco = dataclasses.replace(config, eval=EvalConfig(metric="coco_AP"))
        (note,) = checkpoint.ranking_notes(manager, ranking_of(coco))
        assert (
            "eval.metric: 'voc10' -> 'coco_AP'); until then the best one is that of step 2" in note
        )
        assert checkpoint.ranking_notes(manager, ranking_of(config)) == []


def write_metrics(workdir, *entries):
    text = "".join(f"{json.dumps(entry)}\n" for entry in entries)
    (workdir / "metrics.jsonl").write_text(text)


def open_log(workdir, step):
    mesh = make_mesh(jax.devices()[:1])
    with RunLog(workdir, small_run(), step, step, total=6, mesh=mesh, broken=workdir):
        pass


def test_an_unfinished_last_line_is_dropped(tmp_path):
    write_metrics(tmp_path, {"step": 1, "images": 8}, {"step": 2, "images": 16})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "images": 24}\n{"ste')
    open_log(tmp_path, step=2)
    assert lines(tmp_path) == [{"step": 1, "images": 8}, {"step": 2, "images": 16}]


@pytest.mark.parametrize(
    "damaged",
    [b'{"step": 1, "ima', b"\xff\xfe\x00", b"[" * 100_000, b'{"step": "2", "images": 16}', b"7"],
)
def test_a_damaged_line_does_not_block_a_resume(damaged, tmp_path, capsys):
    kept = {"step": 2, "images": 16, "eval/voc10": 0.5}
    (tmp_path / "metrics.jsonl").write_bytes(damaged + b"\n" + json.dumps(kept).encode() + b"\n")
    open_log(tmp_path, step=2)
    assert lines(tmp_path) == [kept]
    assert f"{tmp_path}/metrics.jsonl, line 1: damaged, skipped" in capsys.readouterr().err


@pytest.mark.parametrize("subdivisions", [1, 2])
def test_one_device_and_eight_make_the_same_update(subdivisions):
    config = small_run()
    config.optimizer.subdivisions, config.optimizer.batch_size = subdivisions, 16
    one, one_metrics = updated(config, jax.devices()[:1])
    eight, metrics = updated(config, jax.devices())
    assert_same_update(one, eight)
    assert float(metrics["loss"]) == pytest.approx(float(one_metrics["loss"]), rel=1e-5)
    assert (int(one.step), int(one.seen)) == (1, 16)


def test_a_checkpoint_moves_to_another_number_of_devices(straight, tmp_path):
    config = checkpoint.load_config(straight)
    task, optimizer = build(config), make_optimizer(config.optimizer)
    two = create_state(task, optimizer, config, make_mesh(jax.devices()[:2]))
    with checkpoint.open_newest(straight, 2) as (manager, newest):
        moved = checkpoint.restore(manager, two, newest)
    assert moved.step.sharding.num_devices == 2
    chex.assert_trees_all_equal(jax.device_get(moved), state_of(straight))


def test_a_batch_that_the_devices_do_not_divide_is_refused(tmp_path):
    config = small_run()
    config.optimizer.batch_size = 12
    with pytest.raises(ValueError, match="batch_size is 12; it must be a multiple of 8"):
        script.train(config, tmp_path, make_mesh())


def test_a_saved_config_loads_equal(tmp_path):
    checkpoint.save_config(tmp_path, small_run())
    assert checkpoint.load_config(tmp_path) == small_run()


def test_a_run_without_a_checkpoint_begins_again_and_says_so(tmp_path, capsys):
    checkpoint.print_restart(tmp_path, small_run())
    checkpoint.save_config(tmp_path, small_run())
    checkpoint.print_restart(tmp_path, small_run())
    assert capsys.readouterr().out == ""
    checkpoint.print_restart(tmp_path, small_run(9))
    assert "starts again, with another config than before\n  optimizer.images: 48 -> 72" in (
        capsys.readouterr().out
    )


def test_a_missing_or_damaged_config_is_an_error_with_a_way_out(tmp_path):
    with pytest.raises(FileNotFoundError, match="--workdir of a training run"):
        checkpoint.load_config(tmp_path)
    (tmp_path / "config.json").write_text('{"model": {"nam": "x"}}')
    with pytest.raises(ValueError, match="not a config of this version"):
        checkpoint.load_config(Path(tmp_path))
