"""Whole runs of train.py on drawn shapes: resume, signals, compilations, NaN, device counts."""

import json
import math
import os
import signal
from pathlib import Path

import jax
import numpy as np
import pytest
from jax import monitoring

import train as script
from configs.yolov2_voc import smoke
from yolojax.config import Config
from yolojax.tasks import build
from yolojax.training import checkpoint
from yolojax.training.metrics import NotFinite, RunLog
from yolojax.training.optimizer import make_optimizer
from yolojax.training.sharding import make_mesh, to_devices
from yolojax.training.state import create_state
from yolojax.training.step import jit_train_step, make_train_step

BATCH = 8


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


def train(config, workdir):
    script.train(config, workdir, make_mesh(jax.devices()[:1]))


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """An undisturbed run of six batches, and the number of programs it compiled for its steps."""
    workdir = tmp_path_factory.mktemp("straight")
    train(tiny(), workdir)
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
    timeless = ("train/images_per_sec", "train/input_wait")
    for ours, theirs in zip(steps_of(tmp_path), steps_of(straight), strict=True):
        for name in ours.keys() - timeless:  # the batch's fingerprint among them
            assert ours[name] == theirs[name], (ours["step"], name)


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


def test_nothing_compiles_after_the_first_step_of_each_size(tmp_path, monkeypatch):
    """Two sizes are two train steps, compiled before the first batch; later ones wait for none."""
    compiled = []
    monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if "backend_compile" in name else None
    )
    counts = []
    note = RunLog.step

    def counting(self, *args):
        counts.append(len(compiled))
        note(self, *args)

    monkeypatch.setattr(RunLog, "step", counting)
    train(tiny(8), tmp_path)
    assert len(counts) == 8
    assert counts[-1] == counts[0], "a step compiled something"
    monitoring.clear_event_listeners()


def test_a_loss_that_is_not_finite_stops_the_run_and_saves_the_batch(tmp_path):
    config = tiny()
    config.optimizer.learning_rate = 1e30
    with pytest.raises(NotFinite, match=r"step \d: the loss is (nan|inf).*loss_\w+") as caught:
        train(config, tmp_path)
    step = int(str(caught.value).split()[1].rstrip(":"))
    saved = np.load(tmp_path / "broken" / f"batch_{step}.npz")
    assert saved["image"].shape[0] == BATCH
    assert not list((tmp_path / "checkpoints").glob("[0-9]*")), "a broken state was saved"
    assert all(math.isfinite(line["train/loss"]) for line in steps_of(tmp_path))


def run_steps(devices, count=2):
    """States after `count` updates on the given devices, from the same seed and batches."""
    config = tiny()
    config.optimizer.subdivisions = 1
    mesh, task, optimizer = make_mesh(devices), build(config), make_optimizer(config.optimizer)
    state = create_state(task, optimizer, config, mesh)
    step = jit_train_step(make_train_step(config, task, optimizer), mesh)
    random = np.random.default_rng(0)
    for _ in range(count):
        corner = random.uniform(0, 0.6, (BATCH, 30, 2))
        batch = {
            "image": random.integers(0, 255, (BATCH, 64, 64, 3), np.uint8),
            "boxes": np.concatenate([corner, corner + 0.3], -1).astype(np.float32),
            "labels": random.integers(0, 4, (BATCH, 30)).astype(np.int32),
            "mask": random.random((BATCH, 30)) < 0.2,
            "image_id": np.arange(BATCH, dtype=np.int32),
        }
        state, metrics = step(state, to_devices(batch, mesh))
    return jax.device_get((state, metrics))


def test_one_device_and_eight_make_the_same_update():
    (one, one_metrics), (eight, metrics) = (
        run_steps(jax.devices()[:1], 1),
        run_steps(jax.devices(), 1),
    )
    # Sums over the batch are taken in another order: float32 rounding, through 23 layers of BN.
    for name in ("params", "batch_stats"):
        a, b = (jax.tree.leaves(getattr(state, name)) for state in (one, eight))
        for x, y in zip(a, b, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
    assert metrics["loss"] == pytest.approx(one_metrics["loss"], rel=1e-5)
    assert (int(one.step), int(one.seen)) == (1, BATCH)


def test_a_checkpoint_moves_to_another_number_of_devices(straight, tmp_path):
    config = checkpoint.load_config(straight)
    task, optimizer = build(config), make_optimizer(config.optimizer)
    two = create_state(task, optimizer, config, make_mesh(jax.devices()[:2]))
    with checkpoint.open_manager(straight, 2) as manager:
        moved = checkpoint.resume(manager, two)
    assert moved.step.sharding.num_devices == 2
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(moved), state_of(straight))


def test_a_checkpoint_of_another_network_is_refused(straight):
    config = checkpoint.load_config(straight)
    config.model.width *= 2
    task, optimizer = build(config), make_optimizer(config.optimizer)
    state = create_state(task, optimizer, config, make_mesh())
    with (
        checkpoint.open_manager(straight, 2) as manager,
        pytest.raises(ValueError, match="does not fit the network"),
    ):
        checkpoint.resume(manager, state)


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
