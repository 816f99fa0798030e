"""Whole runs of train.py on drawn shapes: resume, signals, compilations, NaN, device counts."""

import gzip
import json
import math
import os
import signal
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import monitoring

from configs.yolov2_voc import smoke
from yolojax import train as script
from yolojax.config import Config
from yolojax.distributed.sharding import make_mesh, to_devices
from yolojax.evaluation import detection
from yolojax.tasks import build
from yolojax.training import checkpoint
from yolojax.training.compilation import compile_train_steps
from yolojax.training.goodput import read_events, seconds_by_part
from yolojax.training.metrics import NotFinite, RunLog
from yolojax.training.optimizer import make_optimizer
from yolojax.training.state import create_state, inference_variables
from yolojax.training.step import jit_train_step, make_train_step

BATCH = 8
PARTS = ("step", "input", "device", "host")
OF_A_START = ("start", "setup", "compile", "training")
AT_END = ("evaluation", "checkpoint", "stop")


def tiny(batches=6):
    """A run of `batches` over two image sizes, drawn anew for every batch."""
    config = Config()
    config.model.classes = ("circle", "square", "triangle", "star")
    config.model.anchors = ((0.7, 0.7), (1.5, 1.5))
    smoke(config)
    config.model.name = "yolov2_tiny_voc"
    config.data.multiscale_every = 1
    config.data.image_size, config.data.multiscale = (64, 64), (64, 96)
    config.data.multiscale_last = 0
    config.optimizer.images = batches * BATCH
    config.optimizer.ema_decay = 0.99
    config.checkpoint.every_images = 3 * BATCH
    config.eval.batch_size, config.log_every = 8, 1
    config.data.val = "shapes:val"
    return config


def train(config, workdir, *more):
    script.train(config, workdir, make_mesh(jax.devices()[:1]), *more)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """An undisturbed run of six batches, of which two are traced."""
    workdir = tmp_path_factory.mktemp("straight")
    train(tiny(), workdir, (2, 3))
    return workdir


def state_of(workdir, step=None):
    """The state of checkpoint `step`, of the newest by default."""
    config = checkpoint.load_config(workdir)
    with checkpoint.open_manager(workdir, 2) as manager:
        like = checkpoint.abstract_state(build(config), config)
        return jax.device_get(checkpoint.restore(manager, like, step or manager.latest_step()))


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def steps_of(workdir):
    return [line for line in lines(workdir) if "train/loss" in line]


def signal_after(monkeypatch, step, number=signal.SIGTERM):
    """Send this process a signal once `step` has been dispatched."""
    note = RunLog.step

    def noting(self, now, *rest):
        note(self, now, *rest)
        if now == step:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(RunLog, "step", noting)


def test_six_steps_equal_three_a_signal_and_three_more(straight, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        signal_after(patch, 3)
        train(tiny(), tmp_path)
    # Saved while the undisturbed run went on and gave its buffers to the next step.
    jax.tree.map(np.testing.assert_array_equal, state_of(tmp_path), state_of(straight, 3))
    train(tiny(), tmp_path)
    jax.tree.map(np.testing.assert_array_equal, state_of(tmp_path), state_of(straight))
    timely = {"train/images_per_sec", "train/input_wait", *(f"train/{part}_ms" for part in PARTS)}
    for ours, theirs in zip(steps_of(tmp_path), steps_of(straight), strict=True):
        assert timely < ours.keys()
        for name in ours.keys() - timely:  # the batch's fingerprint among them
            assert ours[name] == theirs[name], (ours["step"], name)
    events = [line["event"] for line in read_events(tmp_path)]
    assert events == [*OF_A_START, "checkpoint", "stop", *OF_A_START, *AT_END]
    assert seconds_by_part(read_events(tmp_path))["lost"] == 0  # the signal has saved all


def test_a_run_leaves_its_ledger(straight):
    ledger = read_events(straight)
    assert [(line["event"], line["step"]) for line in ledger] == [
        *((event, 0) for event in OF_A_START[:3]),
        ("training", 3), ("checkpoint", 3), ("training", 6),
        *((event, 6) for event in AT_END),
    ]  # fmt: skip
    compiled, stop = ledger[2], ledger[-1]
    assert compiled["planned_gb"].keys() == {"64x64", "96x96"}
    assert 0 < compiled["planned_gb"]["64x64"] < compiled["planned_gb"]["96x96"] < 0.1
    assert 2 < compiled["compilations"] == stop["compilations"]
    seconds = seconds_by_part(ledger)
    assert sum(seconds.values()) == pytest.approx(stop["time"] - ledger[0]["time"])
    (goodput,) = (line["run/goodput"] for line in lines(straight) if "run/goodput" in line)
    assert 0 < goodput < 1
    assert seconds["compile"] > seconds["lost"] == seconds["down"] == 0


def test_the_parts_of_a_step_add_up(straight):
    for line in steps_of(straight):
        step, *parts = (line[f"train/{part}_ms"] for part in PARTS)
        assert step == pytest.approx(sum(parts))
        assert step == pytest.approx(1000 * BATCH / line["train/images_per_sec"])
        assert not {"train/mfu", "train/hbm_peak_gb"} & line.keys()  # nothing is known of a CPU


def test_two_steps_are_traced(straight):
    (trace,) = (straight / "profile").rglob("*.trace.json.gz")
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    steps = {event["args"]["step_num"] for event in events if event.get("name") == "train"}
    assert {int(step) for step in steps} == {2, 3}


def test_multi_scale_changes_the_size_during_the_run(straight):
    assert {line["train/size"] for line in steps_of(straight)} == {64, 96}


def test_a_run_leaves_its_records(straight):
    for name in (
        "config.json", "env.json", "metrics.jsonl", "checkpoints", "plots/curves.png",
        "plots/train_batch0.jpg", "plots/val_batch0_pred.jpg", "eval/val.json",
    ):  # fmt: skip
        assert (straight / name).exists(), name
    assert list(straight.glob("events*"))
    assert {"voc07_11pt", "voc10", "coco_AP", "protocol"} <= json.loads(
        (straight / "eval" / "val.json").read_text()
    ).keys()


def test_each_size_compiles_once_and_nothing_compiles_during_the_run(tmp_path, monkeypatch):
    compiled, at_step, steps = [], [], []

    def listen(name, *_, **__):
        if "backend_compile" in name:
            compiled.append(name)

    def compile_steps(*args):
        programs = compile_train_steps(*args)
        steps.append(programs)
        return programs

    note = RunLog.step

    def counting(self, *args):
        at_step.append(len(compiled))
        note(self, *args)

    monkeypatch.setattr(RunLog, "step", counting)
    monkeypatch.setattr(script, "compile_train_steps", compile_steps)
    monitoring.register_event_duration_secs_listener(listen)
    try:
        before = len(compiled)
        train(tiny(8), tmp_path)
    finally:
        monitoring.clear_event_listeners()
    assert [set(programs) for programs in steps] == [{(64, 64), (96, 96)}]
    assert len(at_step) == 8
    assert at_step[0] > before, "the listener hears nothing"
    assert at_step[-1] == at_step[0], "a step compiled something"


def test_a_loss_that_is_not_finite_stops_the_run_and_saves_the_batch(tmp_path):
    config = tiny()
    config.optimizer.learning_rate = 1e30
    with pytest.raises(NotFinite, match=r"step \d: the loss is .*not finite: loss") as caught:
        train(config, tmp_path)
    step = int(str(caught.value).split()[1].rstrip(":"))
    saved = np.load(tmp_path / "broken" / f"batch_{step}.npz")
    assert saved["image"].shape[0] == BATCH
    assert all(math.isfinite(line["train/loss"]) for line in steps_of(tmp_path))


def test_a_gradient_that_is_not_finite_is_not_saved(tmp_path, monkeypatch):
    """The loss of the step is finite: only the parameters after it would be broken."""

    def breaking(*args):
        step = make_train_step(*args)

        def broken(state, batch):
            state, numbers = step(state, batch)
            return state, numbers | {"grad_norm": jnp.where(state.step == 3, jnp.nan, 1.0)}

        return broken

    monkeypatch.setattr(script, "make_train_step", breaking)
    with pytest.raises(NotFinite, match=r"step 3: .* grad_norm"):
        train(tiny(), tmp_path)  # a checkpoint is due at step 3
    assert not list((tmp_path / "checkpoints").glob("[0-9]*"))


def test_what_was_trained_is_saved_though_it_cannot_be_evaluated(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ValueError("the evaluation is broken")

    monkeypatch.setattr(detection, "evaluate_source", fail)
    with pytest.raises(ValueError, match="is broken"):
        train(tiny(), tmp_path)
    assert int(state_of(tmp_path).step) == 6


def test_a_finished_run_stays_as_it_is(straight):
    before = lines(straight)
    train(tiny(), straight)
    assert lines(straight) == before


def test_another_network_leaves_the_run_as_it_is(straight):
    config = tiny()
    config.model.width *= 2
    with pytest.raises(ValueError, match="does not fit the network"):
        train(config, straight)
    assert checkpoint.load_config(straight) == tiny()


def test_a_batch_size_that_does_not_divide_what_was_seen_is_refused(straight):
    config = tiny()
    config.optimizer.batch_size = 5
    with pytest.raises(ValueError, match="batch_size is 5, but 48 images are done"):
        train(config, straight)


def test_the_average_is_what_is_evaluated(straight):
    _, best = checkpoint.restore_best(straight)
    variables = inference_variables(best)
    state = state_of(straight)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(variables), state.ema)
    kernel = state.params["output"]["kernel"]
    assert not np.array_equal(state.ema["params"]["output"]["kernel"], kernel)


def test_the_newest_and_the_best_are_kept(tmp_path):
    config = tiny()
    task, optimizer = build(config), make_optimizer(config.optimizer)
    state = create_state(task, optimizer, config, make_mesh(jax.devices()[:1]))
    scores = {1: 0.2, 2: 0.9, 3: None, 4: 0.5, 5: None}
    with checkpoint.open_manager(tmp_path, keep=2) as manager:
        for step, score in scores.items():
            checkpoint.save(manager, state._replace(step=jnp.int32(step)), config, score)
    with checkpoint.open_manager(tmp_path, keep=2) as manager:
        assert list(manager.all_steps()) == [2, 4, 5]
        assert checkpoint.best_step(manager) == 2


def test_an_unfinished_last_line_is_dropped(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"ste')
    mesh = make_mesh(jax.devices()[:1])
    with RunLog(tmp_path, tiny(), step=2, done=2, total=6, mesh=mesh, broken=tmp_path):
        pass
    assert lines(tmp_path) == [{"step": 1}, {"step": 2}]


def updated(devices, subdivisions):
    """State and metrics after one update on `devices`, from one seed and batch."""
    config = tiny()
    config.optimizer.subdivisions = subdivisions
    config.optimizer.batch_size = 16
    mesh, task, optimizer = make_mesh(devices), build(config), make_optimizer(config.optimizer)
    state = create_state(task, optimizer, config, mesh)
    step = jit_train_step(make_train_step(config, task, optimizer), mesh)
    random = np.random.default_rng(0)
    corner = random.uniform(0, 0.6, (16, 30, 2))
    batch = {
        "image": random.integers(0, 255, (16, 64, 64, 3), np.uint8),
        "boxes": np.concatenate([corner, corner + 0.3], -1).astype(np.float32),
        "labels": random.integers(0, 4, (16, 30)).astype(np.int32),
        "mask": random.random((16, 30)) < 0.2,
        "image_id": np.arange(16, dtype=np.int32),
    }
    return jax.device_get(step(state, to_devices(batch, mesh)))


@pytest.mark.parametrize("subdivisions", [1, 2])
def test_one_device_and_eight_make_the_same_update(subdivisions):
    one, one_metrics = updated(jax.devices()[:1], subdivisions)
    eight, metrics = updated(jax.devices(), subdivisions)
    # Sums over the batch are taken in another order. The momentum after one update is the gradient:
    # in float32, through nine layers, a few rounding errors decide a leaky ReLU or a maximum.
    for name, tolerance in (("opt_state", 1e-3), ("params", 1e-5), ("batch_stats", 1e-5)):
        ours, theirs = (jax.tree.leaves(getattr(s, name)) for s in (one, eight))
        # Gradients that cancel to nothing (a bias in front of BN) are all rounding error.
        floor = 1e-3 * np.sqrt(sum(np.sum(leaf**2) for leaf in ours))
        for a, b in zip(ours, theirs, strict=True):
            assert np.linalg.norm(a - b) <= tolerance * max(np.linalg.norm(a), floor), name
    assert metrics["loss"] == pytest.approx(one_metrics["loss"], rel=1e-5)
    assert (int(one.step), int(one.seen)) == (1, 16)


def test_a_checkpoint_moves_to_another_number_of_devices(straight, tmp_path):
    config = checkpoint.load_config(straight)
    task, optimizer = build(config), make_optimizer(config.optimizer)
    two = create_state(task, optimizer, config, make_mesh(jax.devices()[:2]))
    with checkpoint.open_manager(straight, 2) as manager:
        moved = checkpoint.resume(manager, two)
    assert moved.step.sharding.num_devices == 2
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(moved), state_of(straight))


def test_batch_that_the_devices_cannot_share_is_refused(tmp_path):
    config = tiny()
    config.optimizer.batch_size = 12
    with pytest.raises(ValueError, match="batch_size is 12; it must be a multiple of 8"):
        script.train(config, tmp_path, make_mesh())


def test_config_survives_the_disk(tmp_path):
    checkpoint.save_config(tmp_path, tiny())
    assert checkpoint.load_config(tmp_path) == tiny()


def test_missing_and_damaged_config_say_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="--workdir of a training run"):
        checkpoint.load_config(tmp_path)
    (tmp_path / "config.json").write_text('{"model": {"nam": "x"}}')
    with pytest.raises(ValueError, match="not a config of this version"):
        checkpoint.load_config(Path(tmp_path))
